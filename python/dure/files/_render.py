"""Text as Markdown writes it: what all loaders of structured documents share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from dure.files._limits import Limits, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence


class Parsed(TypedDict):
    """Text, offsets of pages in code points, and what the file says of itself."""

    text: str
    pages: list[int]
    metadata: dict[str, Any]


class Pages:
    """Joins pages with a blank line between two, and counts while they come."""

    def __init__(self, path: str, limits: Limits, unit: str = "pages") -> None:
        self._path = path
        self._limits = limits
        self._unit = unit
        self._parts: list[str] = []
        self._starts: list[int] = []
        self._length = 0

    def add(self, text: str) -> None:
        """Begin a page with this text."""
        self._starts.append(self._length)
        if len(self._starts) > self._limits.pages:
            raise refuse(self._path, f"more than {self._limits.pages} {self._unit}")
        self._parts.append(text.rstrip() + "\n\n")
        self._length += len(self._parts[-1])
        check_length(self._path, self._length, self._limits)

    def parsed(self, metadata: dict[str, Any]) -> Parsed:
        """Return all pages; metadata without a value is left out."""
        known = {name: value for name, value in metadata.items() if value}
        return {"text": "".join(self._parts), "pages": self._starts, "metadata": known}


def check_length(path: str, length: int, limits: Limits) -> None:
    """Refuse a file of too much text."""
    if length > limits.text_chars:
        raise refuse(path, f"more than {limits.text_chars:,} characters of text")


def heading(level: int, text: str) -> str:
    """Return a heading of level 1 to 6."""
    return "#" * max(1, min(6, level)) + " " + one_line(text)


def one_line(text: str) -> str:
    """Return the text without line feeds and repeated space."""
    return " ".join(text.split())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row is its header; columns that are empty at the edges go."""
    used = [i for row in rows for i, cell in enumerate(row) if cell.strip()]
    if not used:
        return ""
    first, end = min(used), max(used) + 1
    lines = []
    for row in rows:
        cells = [one_line(cell).replace("|", "\\|") for cell in row[first:end]]
        cells += [""] * (end - first - len(cells))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([lines[0], "|" + "---|" * (end - first), *lines[1:]])
