"""ZIP containers under caps: every entry is unpacked once and counted before any is used.

What headers say is not believed, archives inside are never opened, and XML is scanned for what
makes it dangerous (document type declarations, great depth) before a library sees it.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dure.files._limits import Limits, refuse
from dure.files._xml import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 16
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError)
_SCANNED = (".xml", ".rels", ".opf", ".hpf")

# What tells the ZIP-based kinds apart: an entry that has to be there.
_MARKS = {
    "docx": "word/document.xml",
    "pptx": "ppt/presentation.xml",
    "xlsx": "xl/workbook.xml",
    "hwpx": "Contents/content.hpf",
    "epub": "META-INF/container.xml",
}
_NAMES = {
    "docx": "Word document",
    "pptx": "PowerPoint presentation",
    "xlsx": "Excel workbook",
    "hwpx": "HWPX document",
    "epub": "EPUB book",
}


class Counter:
    """Counts what is unpacked from one file, and refuses the file that unpacks to too much."""

    def __init__(self, path: str, packed: int, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._ratio = limits.unzipped_ratio * max(packed, _BLOCK)
        self._total = 0

    def add(self, size: int) -> None:
        """Count `size` more bytes."""
        self._total += size
        if self._total > self._limits.unzipped_bytes:
            raise refuse(self._path, f"unpacks to more than {self._limits.unzipped_bytes:,} bytes")
        if self._total > self._ratio:
            raise refuse(
                self._path, f"unpacks to more than {self._limits.unzipped_ratio} times its size"
            )


@contextmanager
def open_archive(path: str, kind: str, raw: bytes, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """Open a container of this kind whose every entry was unpacked, counted and found harmless.

    Raises:
        FileRefusedError: Damaged, encrypted, another kind, over a limit, or hostile.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            _check_entries(path, archive.infolist(), limits)
            _check_kind(path, kind, set(archive.namelist()))
            counter = Counter(path, len(raw), limits)
            for entry in archive.infolist():
                _check_content(path, kind, archive, entry, counter, limits)
            yield archive
    except _DAMAGE as bad:
        if type(bad).__module__.startswith("dure"):
            raise
        check_memory(bad)
        raise refuse(path, f"damaged archive: {bad}") from bad


def check_memory(bad: Exception) -> None:
    """Raise `MemoryError` where zlib had none: that is no damage of the file."""
    if isinstance(bad, zlib.error) and str(bad).startswith("Error -4"):  # Z_MEM_ERROR
        raise MemoryError from bad


def read_entry(path: str, archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one entry of an archive that `open_archive` gave."""
    try:
        return archive.read(name)
    except KeyError as missing:
        raise refuse(path, f"damaged archive: it has no {name}") from missing


def _check_entries(path: str, entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(entries) > limits.entries:
        raise refuse(path, f"{len(entries)} entries, more than {limits.entries}")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in parts[0]:
            raise refuse(path, f"hostile archive: entry {entry.filename!r} leads out of it")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise refuse(path, f"hostile archive: entry {entry.filename!r} is a link")
        if entry.flag_bits & 1:
            raise refuse(path, "encrypted")


def _check_kind(path: str, kind: str, names: set[str]) -> None:
    if _MARKS[kind] in names:
        return
    for other, mark in _MARKS.items():
        if mark in names:
            raise refuse(path, f"named as a .{kind} file, but holds {other}")
    raise refuse(path, f"damaged {_NAMES[kind]}: it has no {_MARKS[kind]}")


def _check_content(
    path: str,
    kind: str,
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    counter: Counter,
    limits: Limits,
) -> None:
    scanned = entry.filename.lower().endswith(_SCANNED)
    scan = Scan(path, limits, named_type=kind == "epub") if scanned else None
    with archive.open(entry) as stream:
        while block := stream.read(_BLOCK):
            counter.add(len(block))
            if scan is not None:
                scan.feed(block)
    if scan is not None:
        scan.close()
