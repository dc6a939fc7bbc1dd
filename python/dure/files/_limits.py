"""What a file may cost, and the refusal of one that costs more."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from dure._check import integer
from dure._regular import refuse
from dure.errors import InvalidArgumentError

__all__ = ["Limits", "refuse"]

_MOST = 1 << 62
_MOST_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one file.

    Attributes:
        file_bytes: Size of the file.
        text_chars: Size of the text that comes out of it, in code points.
        pages: Pages of a PDF; slides, sheets, chapters, sections of the others.
        seconds: Processor and wall time of the parser.
        memory_bytes: Address space of the parser beyond what it starts with.
        unzipped_bytes: All entries of an archive together, counted while they are unpacked.
        unzipped_ratio: That size over the size of the file.
        entries: Entries of an archive, parts of a mail.
        cells: Cells of a workbook.
        depth: How deep XML may be nested.
        field_chars: One field of a CSV file, in code points.
    """

    file_bytes: int = 100_000_000
    text_chars: int = 50_000_000
    pages: int = 2000
    seconds: float = 60.0
    memory_bytes: int = 1 << 30
    unzipped_bytes: int = 200_000_000
    unzipped_ratio: int = 100
    entries: int = 10_000
    cells: int = 5_000_000
    depth: int = 256
    field_chars: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse what is no limit.

        Raises:
            TypeError: One is no number.
            InvalidArgumentError: One is below 1 (`seconds`: not above 0), or beyond all machines.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "seconds":
                sound = 1 <= integer(value, field.name) < _MOST
            elif isinstance(value, int | float) and not isinstance(value, bool):
                sound = math.isfinite(value) and 0 < value <= _MOST_SECONDS
            else:
                raise TypeError(f"seconds must be a number, not {type(value).__name__}")
            if not sound:
                raise InvalidArgumentError(
                    f"{field.name}={value} is no limit: it has to be above 0 and finite",
                    argument=field.name,
                )
