"""The guides' code runs, in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run(name: str, at_least: int) -> dict[str, Any]:
    page = (GUIDES / name).read_text()
    blocks = BLOCK.findall(page)
    assert len(blocks) >= at_least
    assert all(len(block.splitlines()) <= 20 for block in blocks)
    names: dict[str, Any] = {}
    for block in blocks:
        at = page[: page.index(block)].count("\n")
        exec(compile("\n" * at + block, f"docs/guides/{name}", "exec"), names)
    return names


def test_the_page_on_tokens() -> None:
    run("tokens.md", 10)


def test_the_page_on_plain_http() -> None:
    names = run("http.md", 5)
    assert names["status"] == 200
    assert names["text"]
    assert len(names["good"]) == 200
    assert [event.type for event in names["events"]] == ["message", "message"]


def test_the_page_on_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("search.md", 3)
    assert [row.id for row in names["copy"].scroll().rows] == ["a"]
    assert names["hits"].plan["vector"] == "flat"
    names["store"].close()
