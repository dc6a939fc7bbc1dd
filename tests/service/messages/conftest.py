"""Messages need no database of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.inside import Inside


@pytest.fixture
def app(sqlite_app: Inside) -> Inside:
    """What only passes through is the same on both databases."""
    return sqlite_app
