"""The tests that tables of promises, traps and incidents in docs/ name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


TABLES = {
    "## Traps of a client": ("docs/reliability.md", 12),
    "## What the transport promises": ("docs/reliability.md", 100),
    "## What else the tokenizer promises": ("docs/reliability.md", 40),
    "## The OWASP API Security Top 10": ("docs/security-audit.md", 25),
    "## What has happened to others": ("docs/security-audit.md", 25),
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_named_test_exists(heading: str) -> None:
    path, least = TABLES[heading]
    page = (ROOT / path).read_text(encoding="utf-8")
    table = page.partition(heading)[2].partition("\n## ")[0]
    named = [
        name
        for row in re.findall(r"^\| .* \| (.*) ?\|$", table, flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert len(named) >= least
    sources = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("tests/cpp/**/*.cc")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    defined = set(re.findall(r"^(?:async )?def (\w+)\(", text, flags=re.MULTILINE))
    defined |= set(re.findall(r"^TEST(?:_F|_P)?\(\w+,\s*(\w+)\)", text, flags=re.MULTILINE))
    assert [name for name in named if name not in defined] == []
