"""Messages need no database of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dure.service.kit.clock import SystemClock

from tests.service.inside import Hands, Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dure.testing.upstream import Upstream


@pytest.fixture
async def app(
    tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Inside]:
    """The service on SQLite: what only passes through is the same on both databases."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-behind-the-service")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    clock = Hands()
    clock.time = SystemClock().now()  # as the core's
    async with inside(tmp_path, clock) as found:
        yield found
