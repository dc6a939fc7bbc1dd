"""What commands print: plain when piped, coloured on a terminal, one document with --json."""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "bold",
    "complain",
    "counted",
    "dim",
    "dollars",
    "green",
    "print_json",
    "rows",
    "say",
    "table",
]


def say(text: str = "", *, end: str = "\n") -> None:
    """Print to stdout at once."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def complain(message: str) -> None:
    """Print one line to stderr, whatever the message's own line breaks."""
    sys.stdout.flush()
    sys.stderr.write(f"dure: {' '.join(message.split())}\n")


def print_json(value: object) -> None:
    """Print one JSON document; Decimals and paths as strings."""
    import json

    say(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def rows(pairs: Iterable[tuple[str, object]], *, indent: str = "  ") -> None:
    """Print names and values in two columns."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        say(f"{indent}{dim(f'{name:<{width}}')}  {value}")


def counted(number: int, noun: str) -> str:
    """Return `1 file`, `2,000 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def dollars(amount: Decimal | int) -> str:
    """Return dollars to the last digit: a Decimal of dollars, or an int of pico-dollars."""
    exact = Decimal(amount).scaleb(-12) if isinstance(amount, int) else amount
    return f"${exact.normalize():f}" if exact else "$0"


def table(head: Sequence[str], body: Iterable[Sequence[object]]) -> None:
    """Print right-aligned columns; the last, which holds names, left-aligned."""
    lines = [list(head), *([str(cell) for cell in line] for line in body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        cells = [f"{cell:>{width}}" for cell, width in zip(line[:-1], widths, strict=False)]
        text = "  ".join([*cells, str(line[-1])])
        say("  " + (dim(text) if number == 0 else text))


def bold(text: str) -> str:
    """Return the text, bold on a terminal."""
    return _style("1", text)


def dim(text: str) -> str:
    """Return the text, faint on a terminal."""
    return _style("2", text)


def green(text: str) -> str:
    """Return the text, green on a terminal."""
    return _style("32", text)


def _style(code: str, text: str) -> str:
    plain = not text or not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"
