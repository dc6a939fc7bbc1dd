"""Both databases, each empty for each test."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from dure.db.engine import sqlite_url

from tests.postgres import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import URL

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str | URL, str | None]:
    """Address and schema of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "service.db"), None
    url: str = request.getfixturevalue("postgres_url")
    return url, f"db_{next(_numbers)}"
