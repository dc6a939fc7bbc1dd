"""`dure saving`: what one token log costs at two models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError

from .output import bold, complain, dollars, print_json, rows
from .places import data_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator


def run(options: argparse.Namespace) -> int:
    """Price the log twice; exit code 1 if less is saved than `--at-least` asks."""
    from dure import models

    found = models.saving(_log(options), before=options.before, after=options.after)
    enough = options.at_least is None or found.percent >= options.at_least
    if options.json:
        print_json(found.to_dict())
    else:
        rows(
            [
                ("calls", f"{found.calls:,}"),
                (f"at {found.before}", dollars(found.before_usd)),
                (f"at {found.after}", dollars(found.after_usd)),
                ("saved", bold(f"{found.percent:.2f} %")),
            ]
        )
    if not enough:
        complain(f"{found.percent:.2f} % is saved, less than the {options.at_least} % asked for")
    return 0 if enough else 1


def _log(options: argparse.Namespace) -> Iterator[Any]:
    """Return the usages: of a file, else of the ledger's calls that gave text."""
    if options.file is None:
        return _of_ledger(data_folder(options))
    if options.file == "-":
        return _of_lines(sys.stdin, "-")
    return _of_lines(Path(options.file).read_text(encoding="utf-8").splitlines(), options.file)


def _of_ledger(folder: Path) -> Iterator[dict[str, int]]:
    from dure import costs

    for record in costs.ledger_records(folder):
        units: Any = record.get("units") or {}
        tokens = dict.fromkeys(("input", "output"), 0)
        for unit, count in units.items():
            kind = unit.partition(".")[0]
            if kind in tokens:
                tokens[kind] += count
        if record["type"] == "SETTLE" and tokens["output"]:
            yield {"prompt_tokens": tokens["input"], "completion_tokens": tokens["output"]}


def _of_lines(lines: Iterable[str], name: str) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise InvalidArgumentError(
                f"{name} line {number} is no JSON object with a usage", argument="file"
            )
        yield value
