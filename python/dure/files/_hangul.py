"""Hangul word processor files: HWPX (ZIP and XML) and HWP 5 (compound file with records).

Both become paragraphs with their outline levels as headings, and tables as Markdown writes them.
Sources: the formats' published specifications (KS X 6101; "HWP document file format 5.0").
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dure.errors import MissingExtraError
from dure.files._archive import Counter, check_memory, open_archive, read_entry
from dure.files._limits import Limits, refuse
from dure.files._render import Pages, Parsed, heading, one_line, table
from dure.files._xml import scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from zipfile import ZipFile

_OUTLINE = re.compile(r"(?:개요|Outline)\s*(\d+)", re.IGNORECASE)


def _level(*names: str) -> int:
    """Return the outline level that a style's name says; 0 for none."""
    found = next((m for name in names if (m := _OUTLINE.fullmatch(name.strip()))), None)
    return int(found[1]) if found else 0


@dataclass(slots=True)
class _Table:
    """A table in the making: cells by place, each a list of paragraphs."""

    cells: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    def text(self) -> str:
        rows: dict[int, dict[int, str]] = {}
        for (row, column), paragraphs in self.cells.items():
            rows.setdefault(row, {})[column] = " ".join(paragraphs)
        return table(
            [
                [rows[row].get(column, "") for column in range(max(rows[row]) + 1)]
                for row in sorted(rows)
            ]
        )


# HWPX


def parse_hwpx(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return the sections in order, a page each."""
    pages = Pages(path, limits, "sections")
    with open_archive(path, "hwpx", raw, limits) as archive:
        _check_encryption(path, archive, limits)
        styles = _hwpx_styles(path, archive, limits)
        title = _hwpx_title(path, archive, limits)
        for name in _sections(archive.namelist(), r"Contents/section(\d+)\.xml"):
            section = _Section(styles, limits)
            scan(
                path,
                read_entry(path, archive, name),
                limits,
                start=section.start,
                end=section.end,
                text=section.text,
            )
            pages.add("\n\n".join(section.blocks))
    return pages.parsed({"title": title})


def _sections(names: Iterable[str], pattern: str) -> list[str]:
    found = [(int(m[1]), name) for name in names if (m := re.fullmatch(pattern, name))]
    return [name for _, name in sorted(found)]


def _check_encryption(path: str, archive: ZipFile, limits: Limits) -> None:
    if "META-INF/manifest.xml" not in archive.namelist():
        return
    seen: set[str] = set()
    raw = read_entry(path, archive, "META-INF/manifest.xml")
    scan(path, raw, limits, start=lambda name, _: seen.add(name))
    if "encryption-data" in seen:
        raise refuse(path, "encrypted")


def _hwpx_styles(path: str, archive: ZipFile, limits: Limits) -> dict[str, int]:
    levels: dict[str, int] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "style" and "id" in attributes:
            level = _level(attributes.get("name", ""), attributes.get("engName", ""))
            if level:
                levels[attributes["id"]] = level

    if "Contents/header.xml" in archive.namelist():
        scan(path, read_entry(path, archive, "Contents/header.xml"), limits, start=start)
    return levels


def _hwpx_title(path: str, archive: ZipFile, limits: Limits) -> str:
    parts: list[str] = []
    inside = [False]

    def start(name: str, _: dict[str, str]) -> None:
        inside[0] = name == "title"

    def end(_: str) -> None:
        inside[0] = False

    def text(data: str) -> None:
        if inside[0]:
            parts.append(data)

    raw = read_entry(path, archive, "Contents/content.hpf")
    scan(path, raw, limits, start=start, end=end, text=text)
    return one_line("".join(parts))


@dataclass(slots=True)
class _Paragraph:
    level: int
    parts: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)  # tables and notes that hang on it


_SPACES = {"tab": "\t", "lineBreak": "\n", "nbSpace": "\u00a0", "fwSpace": " ", "hyphen": "-"}


class _Section:
    """Builds the blocks of a section from its events; paragraphs nest through table cells."""

    def __init__(self, styles: dict[str, int], limits: Limits) -> None:
        self.blocks: list[str] = []
        self._styles = styles
        self._most = limits.cells
        self._open: list[_Paragraph] = []
        self._tables: list[tuple[_Table, int]] = []  # with the number of paragraphs around it
        self._cell: list[tuple[int, int]] = []
        self._in_text = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "p":
            self._open.append(_Paragraph(self._styles.get(attributes.get("styleIDRef", ""), 0)))
        elif name == "t":
            self._in_text += 1
        elif name == "tbl":
            self._tables.append((_Table(), len(self._open)))
        elif name == "tr" and self._tables:
            self._cell.append((self._next_row(), 0))
        elif name == "tc" and self._cell:
            row, column = self._cell[-1]
            self._tables[-1][0].cells[row, column] = []
        elif name == "cellAddr" and self._cell and self._tables:
            self._move(attributes)
        elif self._in_text and name in _SPACES:
            self.text(_SPACES[name])

    def end(self, name: str) -> None:
        if name == "p" and self._open:
            self._close(self._open.pop())
        elif name == "t":
            self._in_text -= 1
        elif name == "tc" and self._cell:
            row, column = self._cell[-1]
            self._cell[-1] = (row, column + 1)
        elif name == "tr" and self._cell:
            self._cell.pop()
        elif name == "tbl" and self._tables:
            self._put_aside(self._tables.pop()[0].text())

    def text(self, data: str) -> None:
        if self._in_text and self._open:
            self._open[-1].parts.append(data)

    def _next_row(self) -> int:
        return 1 + max((row for row, _ in self._tables[-1][0].cells), default=-1)

    def _move(self, attributes: dict[str, str]) -> None:
        """Put the cell where it says that it stands: its address comes after its text."""
        cells = self._tables[-1][0].cells
        found = cells.pop(self._cell[-1], [])
        row = _number(attributes.get("rowAddr"), self._cell[-1][0], self._most)
        column = _number(attributes.get("colAddr"), self._cell[-1][1], 16_384)
        cells[row, column] = found
        self._cell[-1] = (row, column)

    def _close(self, paragraph: _Paragraph) -> None:
        text = "".join(paragraph.parts).strip()
        in_table = self._tables and len(self._open) >= self._tables[-1][1]
        if in_table and self._cell:
            cell = self._tables[-1][0].cells.setdefault(self._cell[-1], [])
            cell.extend(one for one in (text, *paragraph.after) if one)
        elif self._open:  # a note or a caption inside another paragraph
            self._open[-1].after.extend(one for one in (text, *paragraph.after) if one)
        else:
            if text:
                self.blocks.append(heading(paragraph.level, text) if paragraph.level else text)
            self.blocks.extend(paragraph.after)

    def _put_aside(self, text: str) -> None:
        if text:
            (self._open[-1].after if self._open else self.blocks).append(text)


def _number(text: str | None, otherwise: int, most: int) -> int:
    return int(text) if text and text.isdecimal() and int(text) < most else otherwise


# HWP 5

_HEADER = b"HWP Document File"
_COMPRESSED = 1
_SECRET = {1: "encrypted", 2: "a copy for distribution: its text is encrypted"} | dict.fromkeys(
    (4, 8, 10), "encrypted"
)
_BEGIN = 0x10
_STYLE = _BEGIN + 10
_PARA_HEADER, _PARA_TEXT = _BEGIN + 50, _BEGIN + 51
_CTRL_HEADER, _LIST_HEADER, _TABLE = _BEGIN + 55, _BEGIN + 56, _BEGIN + 61
_WIDE = {1, 2, 3, 4, 5, 6, 7, 8, 9, *range(11, 13), *range(14, 24)}  # 8 code units, not 1
_SINGLE = {10: "\n", 24: "-", 30: "\u00a0", 31: " "}


def parse_hwp(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return the sections in order, a page each."""
    try:
        import olefile  # type: ignore[import-untyped, unused-ignore]
    except ImportError as missing:
        raise MissingExtraError.of("files", "olefile") from missing
    try:
        with olefile.OleFileIO(io.BytesIO(raw)) as ole:
            names = ["/".join(parts) for parts in ole.listdir(streams=True, storages=False)]
            if len(names) > limits.entries:
                raise refuse(path, f"{len(names)} entries, more than {limits.entries}")
            if "FileHeader" not in names:
                raise refuse(path, "named as a .hwp file, but holds another compound file")
            streams = {
                name: ole.openstream(name).read()
                for name in names
                if name in {"FileHeader", "DocInfo"} or name.startswith("BodyText/")
            }
    except (OSError, ValueError, IndexError, struct.error, AttributeError, TypeError) as bad:
        if type(bad).__module__.startswith("dure"):
            raise
        raise refuse(path, f"damaged HWP document: {bad}") from bad
    return _hwp_text(path, streams, len(raw), limits)


def _hwp_text(path: str, streams: dict[str, bytes], packed: int, limits: Limits) -> Parsed:
    compressed = _hwp_flags(path, streams["FileHeader"]) & _COMPRESSED
    counter = Counter(path, packed, limits)
    pages = Pages(path, limits, "sections")
    try:
        records = _unpacked(streams.get("DocInfo", b""), compressed, counter)
        levels = [_hwp_style(data) for tag, _, data in _records(records) if tag == _STYLE]
        names = _sections(streams, r"BodyText/Section(\d+)")
        if not names:
            raise refuse(path, "damaged HWP document: it has no sections")
        for name in names:
            body = _unpacked(streams[name], compressed, counter)
            pages.add("\n\n".join(_hwp_blocks(_records(body), levels, limits)))
    except (zlib.error, struct.error, IndexError) as bad:
        check_memory(bad)
        raise refuse(path, f"damaged HWP document: {bad}") from bad
    return pages.parsed({})


def _hwp_flags(path: str, header: bytes) -> int:
    if not header.startswith(_HEADER) or len(header) < 40:
        raise refuse(path, "damaged HWP document: its header is not one")
    flags: int = struct.unpack_from("<I", header, 36)[0]
    for bit, reason in _SECRET.items():
        if flags >> bit & 1:
            raise refuse(path, reason)
    return flags


def _unpacked(data: bytes, compressed: int, counter: Counter) -> bytes:
    """Return a stream's records; counted while they are unpacked."""
    if not compressed:
        counter.add(len(data))
        return data
    engine = zlib.decompressobj(-15)
    out = bytearray()
    while not engine.eof:
        block = engine.decompress(data, 1 << 20)
        data = engine.unconsumed_tail
        counter.add(len(block))
        out += block
        if not (block or data or engine.eof):
            raise zlib.error("a compressed stream ends too early")
    return bytes(out)


def _records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield tag, level and content of each record."""
    at = 0
    while at + 4 <= len(data):
        (head,) = struct.unpack_from("<I", data, at)
        at += 4
        size = head >> 20
        if size == 0xFFF:
            (size,) = struct.unpack_from("<I", data, at)
            at += 4
        if at + size > len(data):
            raise struct.error(f"a record ends {at + size - len(data)} bytes behind its stream")
        yield head & 0x3FF, head >> 10 & 0x3FF, data[at : at + size]
        at += size


def _hwp_style(data: bytes) -> int:
    """Return the outline level of a style record: its names, Korean and English, say it."""
    names = []
    at = 0
    for _ in range(2):
        (length,) = struct.unpack_from("<H", data, at)
        names.append(data[at + 2 : at + 2 + 2 * length].decode("utf-16-le", "replace"))
        at += 2 + 2 * length
    return _level(*names)


class _Body:
    """Builds blocks from records, whose levels say what stands inside what."""

    def __init__(self, levels: list[int], limits: Limits) -> None:
        self.blocks: list[str] = []
        self._levels = levels
        self._most = limits.cells
        self._tables: list[tuple[int, _Table]] = []  # with the level of their records
        self._cell: list[tuple[int, int]] = []
        self._style = 0

    def take(self, tag: int, level: int, data: bytes) -> None:
        while self._tables and level < self._tables[-1][0]:
            self._close_table()
        if tag == _TABLE:
            self._tables.append((level, _Table()))
            self._cell.append((0, -1))
        elif tag == _LIST_HEADER and self._tables and level == self._tables[-1][0]:
            self._open_cell(data)
        elif tag == _PARA_HEADER:
            style = data[10] if len(data) > 10 else 0
            self._style = self._levels[style] if style < len(self._levels) else 0
        elif tag == _PARA_TEXT:
            self._put(_hwp_string(data).strip(), self._style)

    def close(self) -> None:
        while self._tables:
            self._close_table()

    def _open_cell(self, data: bytes) -> None:
        row, column = self._cell[-1][0], self._cell[-1][1] + 1
        if len(data) >= 12:
            column, row = struct.unpack_from("<HH", data, 8)
        self._cell[-1] = (row, column)
        self._tables[-1][1].cells.setdefault((row, column), [])

    def _close_table(self) -> None:
        _, found = self._tables.pop()
        self._cell.pop()
        self._put(found.text(), 0)

    def _put(self, text: str, level: int) -> None:
        if not text:
            return
        if self._tables and self._cell[-1][1] >= 0:
            self._tables[-1][1].cells.setdefault(self._cell[-1], []).append(text)
        else:
            self.blocks.append(heading(level, text) if level else text)


def _hwp_blocks(
    records: Iterable[tuple[int, int, bytes]], levels: list[int], limits: Limits
) -> list[str]:
    body = _Body(levels, limits)
    for tag, level, data in records:
        body.take(tag, level, data)
    body.close()
    return body.blocks


def _hwp_string(data: bytes) -> str:
    """Return the text of a paragraph: UTF-16 in which small code units are controls."""
    units = struct.unpack(f"<{len(data) // 2}H", data[: len(data) // 2 * 2])
    kept = bytearray()
    at = 0
    while at < len(units):
        unit = units[at]
        if unit >= 32:
            kept += struct.pack("<H", unit)
        elif unit in _SINGLE or unit == 9:
            kept += ("\t" if unit == 9 else _SINGLE[unit]).encode("utf-16-le")
        at += 8 if unit in _WIDE else 1
    return kept.decode("utf-16-le", "replace")
