"""The guides' code runs, in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_page_on_tokens() -> None:
    page = (GUIDES / "tokens.md").read_text()
    blocks = BLOCK.findall(page)
    assert len(blocks) >= 10
    assert all(len(block.splitlines()) <= 20 for block in blocks)
    names: dict[str, object] = {}
    for block in blocks:
        at = page[: page.index(block)].count("\n")
        exec(compile("\n" * at + block, "docs/guides/tokens.md", "exec"), names)
