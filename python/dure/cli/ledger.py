"""`dure ledger verify|tail|replay|export`: the append-only record of what was spent."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from dure._dollars import to_dollars

from .output import complain, counted, dollars, green, print_json, rows, say, table
from .places import data_folder

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from dure.costs import LedgerReport
    from dure.errors import StoreVersionError


def run(options: argparse.Namespace) -> int:
    """Run one of the four."""
    return _ACTIONS[options.action](options.path or data_folder(options), options)


def show(report: LedgerReport) -> None:
    """Print a verification's result."""
    rows(
        [
            ("ledger", green("adds up") if report.ok else "DIFFERS"),
            ("records", f"{report.records:,} in {counted(report.files, 'file')}"),
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

    last = deque(costs.ledger_records(path, newer=_passed_over), maxlen=options.lines)
    holds = {record["id"] for record in last if "id" in record}
    models = {  # in a second reading: a hold may be far before what speaks of it
        record["id"]: record["model"]
        for record in costs.ledger_records(path, newer=lambda _: None)
        if record["type"] == "RESERVE" and record["id"] in holds
    }
    last = deque(_explained(record, models) for record in last)
    if options.json:
        for record in last:
            say(_json_line(record))
    elif last:
        table(("time (UTC)", "model", "tokens", "dollars", "state"), map(_cells, last))
    else:
        say("no records yet")
    return 0


def _explained(record: dict[str, Any], models: dict[object, object]) -> dict[str, Any]:
    """Return the record with its time, the model of its hold, its dollars and its state."""
    return record | {
        "time": _time(int(record["at_us"])),
        "model": models.get(record.get("id")),
        "usd": f"{to_dollars(int(record['pico'])):f}",
        "state": _STATES.get(record["type"], record["type"].lower()),
    }


def _cells(record: dict[str, Any]) -> list[str]:
    amounts = ["", ""]
    if record["type"] in _WITH_AMOUNTS:
        amounts = [f"{record['tokens']:,}", dollars(int(record["pico"]))]
    return [record["time"], record["model"] or "", *amounts, record["state"]]


def _time(us: int) -> str:
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _export(path: str | Path, _options: argparse.Namespace) -> int:
    from dure import costs

    for record in costs.ledger_records(path, newer=_passed_over):
        say(_json_line(record))
    return 0


def _passed_over(error: StoreVersionError) -> None:
    complain(f"passed over: {error}")


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


_STATES = {
    "RESERVE": "held",
    "PROGRESS": "receiving",
    "SETTLE": "settled",
    "VOID": "released",
    "EXPIRE": "expired",
    "ADJUST": "corrected",
    "PRICE_VERSION": "new prices",
}
_WITH_AMOUNTS = {"RESERVE", "SETTLE", "ADJUST"}
_ACTIONS = {"verify": _verify, "tail": _tail, "replay": _replay, "export": _export}
