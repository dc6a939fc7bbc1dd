"""Prices of calls that no price book knows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.service.inside import Inside

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
def app(sqlite_app: Inside) -> Inside:
    """What only passes through is the same on both databases."""
    return sqlite_app
