"""Writes `docs/performance/AREA.md` from `benchmarks/results/AREA.json`: goals first, then tables.

`python -m benchmarks.page`; a test checks that the pages are what the results say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PAGES = HERE.parent / "docs" / "performance"

WHAT = {
    "import": "Cost of `import dure`",
    "tokenize": "Tokens",
    "chunk": "Documents and chunks",
    "retrieval": "Search",
    "transport": "Transport",
    "client": "Calls",
    "money": "Money",
    "service": "The service",
}


def number(value: float) -> str:
    return f"{value:.4g}"


def goals_of(table: dict[str, Any]) -> list[tuple[str, float, str, float, bool]]:
    """Return (what, measured, sign, limit, reached) of each goal; none for a table of times."""
    if "goals" in table:
        keys = ("what", "value", "sign", "limit", "reached")
        return [tuple(goal[key] for key in keys) for goal in table["goals"]]
    if table["unit"] != "goals":
        return []
    found = []
    for row in table["rows"]:
        measured, wanted, holds = row["rate"], row["low"], row["equal"]
        sign = ">=" if (measured >= wanted) == holds else "<="
        found.append((row["contender"], measured, sign, wanted, holds))
    return found


def goal_lines(tables: list[dict[str, Any]]) -> Iterator[str]:
    aside = [table for table in tables if "goals" in table and table.get("note")]
    goals = [goal for table in tables if table not in aside for goal in goals_of(table)]
    if goals:
        yield f"## Goals: {sum(goal[-1] for goal in goals)} of {len(goals)} reached\n"
        yield from verdict_lines("goal", goals)
    for table in aside:  # not the area's goals: told apart, and why
        lines = goals_of(table)
        yield f"## {table['title']}: {sum(line[-1] for line in lines)} of {len(lines)} within\n"
        yield table["note"] + "\n"
        yield from verdict_lines("line", lines)


def verdict_lines(what: str, goals: list[tuple[str, float, str, float, bool]]) -> Iterator[str]:
    yield f"| {what} | measured | wanted | |"
    yield "|---|---|---|---|"
    good, bad = ("reached", "**missed**") if what == "goal" else ("within", "**not**")
    for name, measured, sign, limit, reached in goals:
        verdict = good if reached else bad
        yield f"| {name} | {number(measured)} | {sign} {number(limit)} | {verdict} |"
    yield ""


def table_lines(table: dict[str, Any]) -> Iterator[str]:
    note = f" ({table['note']})" if table["note"] else ""
    yield f"**{table['title']}**{note}\n"
    yield f"| | {table['unit']} | min..max | dure is | answers |"
    yield "|---|---|---|---|---|"
    for row in table["rows"]:
        equal = {True: "equal", False: "differ", None: "-"}[row["equal"]]
        span = f"{number(row['low'])}..{number(row['high'])}"
        ratio = f"{row['ratio']:.2f}x"
        yield f"| {row['contender']} | {number(row['rate'])} | {span} | {ratio} | {equal} |"
    yield ""


def page(result: dict[str, Any]) -> str:
    """One area: where it was measured, its goals, its tables."""
    machine = result["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    build = result["dure"]
    lines = [
        f"# {WHAT[result['area']]}\n",
        f"`scripts/bench {result['area']}`: dure {build['version']} ({build['compiler']}, "
        f"{build['build_type']}) on {where}. The median of rounds in which all take turns; "
        "`dure is`: how many times better ours is, the first line being ours.\n",
    ]
    lines += goal_lines(result["tables"])
    lines.append("## Tables\n")
    for table in result["tables"]:
        if not goals_of(table):
            lines += table_lines(table)
    return "\n".join(lines).rstrip("\n") + "\n"


def pages() -> dict[Path, str]:
    """Return each page's text, for every area that has results."""
    texts = {}
    for path in sorted((HERE / "results").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        texts[PAGES / f"{path.stem}.md"] = page(result)
    return texts


def main() -> None:
    PAGES.mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
