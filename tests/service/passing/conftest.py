"""Prices of calls that no price book knows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dure.service.kit.clock import SystemClock

from tests.service.inside import Hands, Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dure.testing.upstream import Upstream

PRICES = {
    "dall-e-3": {"image": "0.04"},
    "tts-1": {"character": "0.000015"},
    "whisper-1": {"minute": "0.006"},
    "batches": {"call": "1.5"},
}


@pytest.fixture(autouse=True)
def prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_CALL_PRICES", json.dumps(PRICES))


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
