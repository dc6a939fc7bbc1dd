"""`dure ledger verify|tail|replay|export`: the append-only record of what was spent."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from .output import complain, dollars, green, print_json, rows, say, table
from .places import data_folder

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from dure.costs import LedgerReport


def run(options: argparse.Namespace) -> int:
    """Run one of the four."""
    return _ACTIONS[options.action](options.path or data_folder(options), options)


def show(report: LedgerReport) -> None:
    """Print a verification's result."""
    rows(
        [
            ("ledger", green("adds up") if report.ok else "DIFFERS"),
            ("records", f"{report.records:,} in {report.files:,} files"),
            ("open holds", f"{report.open_holds:,}"),
            ("spent", dollars(report.spent_pico)),
            ("held", dollars(report.held_pico)),
        ]
    )


def _verify(path: str | Path, options: argparse.Namespace) -> int:
    from dure import costs

    report = costs.verify_ledger(path)
    if options.json:
        print_json(report.to_dict())
    else:
        show(report)
    if not report.ok:
        complain(f"the ledger does not add up: {report.first_difference}")
    return 0 if report.ok else 1


def _tail(path: str | Path, options: argparse.Namespace) -> int:
    from dure import costs

    last = deque(costs.ledger_records(path), maxlen=options.lines)
    if options.json:
        for record in last:
            say(_json_line(record))
    else:
        names = ("epoch", "seq", "type", "model", "pico")
        table(names, [[record.get(name, "") for name in names] for record in last])
    return 0


def _export(path: str | Path, _options: argparse.Namespace) -> int:
    from dure import costs

    for record in costs.ledger_records(path):
        say(_json_line(record))
    return 0


def _replay(path: str | Path, options: argparse.Namespace) -> int:
    from dure import costs

    totals: dict[str, Any] = costs.replay_ledger(path)
    if options.json:
        print_json(totals)
        return 0
    rows([("calls", f"{totals['calls']:,}"), ("spent", dollars(int(totals["spent_pico"])))])
    for kind in ("model", "service", "scope"):
        for name, pico in sorted(totals[f"by_{kind}"].items()):
            rows([(f"{kind} {name}", dollars(int(pico)))])
    return 0


def _json_line(record: dict[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False, default=str)


_ACTIONS = {"verify": _verify, "tail": _tail, "replay": _replay, "export": _export}
