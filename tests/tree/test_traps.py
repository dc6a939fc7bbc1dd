"""The tests that docs/reliability.md names against the traps of a client exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_named_test_exists() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    table = page.partition("## Traps of a client")[2].partition("\n## ")[0]
    named = [
        name
        for row in re.findall(r"^\| .* \| (.*) ?\|$", table, flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(named) >= 12
    sources = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("tests/cpp/**/*.cc")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    defined = set(re.findall(r"^(?:async )?def (\w+)\(", text, flags=re.MULTILINE))
    defined |= set(re.findall(r"^TEST(?:_F)?\(\w+,\s*(\w+)\)", text, flags=re.MULTILINE))
    assert [name for name in named if name not in defined] == []
