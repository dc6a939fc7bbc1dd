"""The pages of measured figures say what the stored results say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.page import pages

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("path", "text"), pages().items(), ids=lambda value: getattr(value, "stem", "")
)
def test_a_page_is_written_from_the_results(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run: python -m benchmarks.page"
