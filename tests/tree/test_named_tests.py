"""Every test that docs/budget-rules.md names exists, and no rule is without one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/budget-rules.md"


def rows() -> list[tuple[str, list[str]]]:
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and not set(cells[0]) <= {"-"}:
            found.append((cells[0], re.findall(r"`([A-Za-z_0-9]+)`", cells[1])))
    return [row for row in found if row[0] not in {"rule", "what"}]


def names() -> set[str]:
    found = set()
    for path in (ROOT / "tests/cpp").rglob("*.cc"):
        found |= set(re.findall(r"^TEST(?:_[FP])?\(\w+,\s*(\w+)\)", path.read_text("utf-8"), re.M))
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text("utf-8")
        found |= set(re.findall(r"^(?:async )?def (test_\w+)", text, re.M))
        found |= set(re.findall(r"^class (\w+)\(RuleBasedStateMachine\)", text, re.M))
    return found


def test_every_rule_names_tests_that_exist() -> None:
    rules, known = rows(), names()
    assert len(rules) > 60
    assert [rule for rule, tests in rules if not tests] == []
    assert sorted({test for _, tests in rules for test in tests} - known) == []
