"""The examples of the how-to pages, as code to run."""

from __future__ import annotations

import re
from pathlib import Path

GUIDES = Path(__file__).parents[3] / "docs/guides"


def blocks(page: str) -> list[str]:
    """Return the Python examples of a page of docs/guides, in order."""
    text = (GUIDES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
