"""HWPX and HWP 5 files written by hand, record by record as their specifications say."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from tests.python.files.compound import compound

_PARAGRAPH = "http://www.hancom.co.kr/hwpml/2011/paragraph"
_SECTION = "http://www.hancom.co.kr/hwpml/2011/section"
_HEAD = "http://www.hancom.co.kr/hwpml/2011/head"


def hwpx_bytes(
    sections: list[str], *, title: str = "제목", extra: dict[str, str] | None = None
) -> bytes:
    """Return a HWPX file whose sections hold this XML inside `hs:sec`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/hwp+zip", zipfile.ZIP_STORED)
        archive.writestr(
            "Contents/content.hpf",
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<opf:package xmlns:opf="http://www.idpf.org/2007/opf/"><opf:metadata>'
            f"<opf:title>{title}</opf:title></opf:metadata></opf:package>",
        )
        archive.writestr(
            "Contents/header.xml",
            f'<hh:head xmlns:hh="{_HEAD}"><hh:refList><hh:styles>'
            '<hh:style id="0" name="바탕글" engName="Normal"/>'
            '<hh:style id="2" name="개요 1" engName="Outline 1"/>'
            '<hh:style id="3" name="개요 2" engName="Outline 2"/>'
            "</hh:styles></hh:refList></hh:head>",
        )
        for i, inside in enumerate(sections):
            archive.writestr(
                f"Contents/section{i}.xml",
                f'<hs:sec xmlns:hs="{_SECTION}" xmlns:hp="{_PARAGRAPH}">{inside}</hs:sec>',
            )
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return out.getvalue()


def hwpx_p(text: str, style: int = 0, inside: str = "") -> str:
    """Return a paragraph; `inside` is XML that hangs on its run."""
    return (
        f'<hp:p id="1" styleIDRef="{style}"><hp:run charPrIDRef="0">{inside}'
        f"<hp:t>{text}</hp:t></hp:run></hp:p>"
    )


def hwpx_table(rows: list[list[str]]) -> str:
    """Return a table; each cell says where it stands behind its text, as the format has it."""
    out = '<hp:tbl id="1">'
    for r, row in enumerate(rows):
        out += "<hp:tr>"
        for c, cell in enumerate(row):
            out += (
                f"<hp:tc><hp:subList>{hwpx_p(cell)}</hp:subList>"
                f'<hp:cellAddr colAddr="{c}" rowAddr="{r}"/></hp:tc>'
            )
        out += "</hp:tr>"
    return out + "</hp:tbl>"


def record(tag: int, level: int, data: bytes) -> bytes:
    """Return one record of HWP 5."""
    size = len(data)
    head = tag | level << 10 | min(size, 0xFFF) << 20
    return struct.pack("<I", head) + (struct.pack("<I", size) if size >= 0xFFF else b"") + data


def hwp_p(text: str, *, style: int = 0, level: int = 0, table: bool = False) -> bytes:
    """Return the records of a paragraph; `table` puts the control of one behind its text."""
    tab = struct.pack("<H", 9) + bytes(12) + struct.pack("<H", 9)
    units = tab.join(part.encode("utf-16-le") for part in text.split("\t"))
    if table:
        units += struct.pack("<H", 11) + b" lbt" + bytes(8) + struct.pack("<H", 11)
    units += struct.pack("<H", 13)
    header = struct.pack("<IIHBB", len(units) // 2, 0, 0, style, 0) + bytes(10)
    return record(66, level, header) + record(67, level + 1, units)


def hwp_table(rows: list[list[str]]) -> bytes:
    """Return a paragraph with a table in it."""
    out = hwp_p("", table=True) + record(71, 1, b" lbt" + bytes(40))
    out += record(77, 2, struct.pack("<IHH", 0, len(rows), len(rows[0])) + bytes(14))
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            where = struct.pack("<HHIHHHH", 1, 0, 0, c, r, 1, 1) + bytes(20)
            out += record(72, 2, where) + hwp_p(cell, level=2)
    return out


def hwp_bytes(sections: list[bytes], *, flags: int = 1) -> bytes:
    """Return a HWP 5 file whose sections hold these records."""
    styles = b""
    for local, english in [("바탕글", "Normal"), ("개요 1", "Outline 1"), ("개요 2", "Outline 2")]:
        data = b""
        for name in (local, english):
            data += struct.pack("<H", len(name)) + name.encode("utf-16-le")
        styles += record(26, 0, data + bytes(8))
    header = b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05010000, flags)
    streams = {"FileHeader": header.ljust(256, b"\0"), "DocInfo": packed(styles, flags)}
    for i, body in enumerate(sections):
        streams[f"BodyText/Section{i}"] = packed(body, flags)
    return compound(streams)


def packed(data: bytes, flags: int) -> bytes:
    """Return data as a stream keeps it."""
    if not flags & 1:
        return data
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()
