"""What a file may cost, and the refusal of one that costs more."""

from __future__ import annotations

from dataclasses import dataclass

from dure._regular import refuse

__all__ = ["Limits", "refuse"]


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
