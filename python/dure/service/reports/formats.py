"""Reports and exports as CSV, JSON and HTML; no cell is a formula, no text is markup."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from html import escape
from typing import Any

__all__ = ["csv_of", "html_of", "safe_cell", "text_of", "to_csv", "to_json"]

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("calls", "input_tokens", "output_tokens", "tokens", "cost_pico", "cost_usd")


def safe_cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


async def to_csv(
    names: Sequence[str], rows: AsyncIterator[Sequence[object]]
) -> AsyncIterator[bytes]:
    """Give a table as CSV, line by line."""
    yield _line(names).encode()
    async for row in rows:
        yield _line(row).encode()


async def to_json(
    names: Sequence[str], rows: AsyncIterator[Sequence[object]]
) -> AsyncIterator[bytes]:
    """Give a table as a JSON array of objects, one by one."""
    before = b"["
    async for row in rows:
        one = dict(zip(names, row, strict=True))
        yield before + json.dumps(one, ensure_ascii=False).encode()
        before = b",\n"
    yield b"[]" if before == b"[" else b"]"


def csv_of(kind: str, content: dict[str, Any]) -> str:
    """Return a report as CSV."""
    if kind == "forecast":
        lines = [_line(("day", "tokens", "low", "high"))]
        lines += [
            _line((one["day"], one["tokens"], one["low"], one["high"])) for one in content["days"]
        ]
        return "".join(lines)
    lines = [_line(("part", "name", *_COLUMNS))]
    for part, name in (("days", "day"), ("models", "model"), ("users", "user_id")):
        lines += [
            _line((name, one[name], *(one[column] for column in _COLUMNS))) for one in content[part]
        ]
    return "".join(lines)


def text_of(kind: str, content: dict[str, Any]) -> str:
    """Return a report in a few lines, for a message."""
    if kind == "forecast":
        return (
            f"This month comes to {content['month_tokens']:,} tokens "
            f"({content['month_tokens_low']:,} to {content['month_tokens_high']:,}), "
            f"${content['month_cost_usd']}."
            + (
                f" The pool is used up on {content['pool_reached_on']}."
                if content["pool_reached_on"]
                else ""
            )
        )
    whole, before = content["totals"], content["before"]
    lines = [
        f"{content['start'][:10]} to {content['end'][:10]} ({content['zone']})",
        f"{whole['tokens']:,} tokens in {whole['calls']:,} calls, ${whole['cost_usd']}",
        f"before: {before['tokens']:,} tokens, ${before['cost_usd']}",
    ]
    lines += [f"{one['model']}: {one['tokens']:,} tokens" for one in content["models"][:5]]
    return "\n".join(lines)


def html_of(kind: str, content: dict[str, Any]) -> str:
    """Return a report as a page without scripts or anything from elsewhere."""
    head = text_of(kind, content).replace("\n", "\x00")
    parts = "".join(f"<p>{escape(line)}</p>" for line in head.split("\x00"))
    if kind == "forecast":
        tables = _table("days", content["days"], ("day", "tokens", "low", "high"))
    else:
        tables = "".join(
            _table(part, content[part], (name, *_COLUMNS))
            for part, name in (("days", "day"), ("models", "model"), ("users", "user_id"))
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dure: {escape(kind)}'
        f"</title></head><body><h1>{escape(kind)}</h1>{parts}{tables}</body></html>"
    )


def _table(title: str, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(row[name]))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>"
