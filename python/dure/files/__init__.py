"""Files into text, with hard limits: `load(path)` gives a `dure.Document`.

Text that only has to be decoded (txt, md, csv, source code) is read here, under caps. All else
(html, json, pdf, docx, pptx, xlsx, eml, epub, hwpx, hwp) is parsed in a child process with limits
on memory and time, so that a hostile file costs one child. What cannot be read is a
`FileRefusedError` that names the file and the reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dure import _core
from dure._regular import open_regular
from dure.chunks import Document
from dure.files._decode import decode
from dure.files._kinds import Kind, kind_of
from dure.files._limits import Limits, refuse

if TYPE_CHECKING:
    from dure.files._render import Parsed

__all__ = ["Limits", "aload", "load", "parse", "read"]


def load(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Document:
    """Read one file into a document.

    Args:
        path: A regular file of a known type; its name, its first bytes and its parser agree.
        limits: Caps on size, pages, memory and time; None: the defaults of `Limits`.

    Returns:
        A document whose `id` is the resolved path, whose `pages` say where pages, slides, sheets,
        chapters or sections begin, and whose `metadata` holds `source` (path), `kind`, `mode` (how
        to chunk it), `bytes` (length), `digest` (128 bits of the SHA-256 of the bytes,
        hexadecimal) and what the file says of itself, such as `title`.

    Raises:
        FileRefusedError: Unknown type, empty, unreadable, damaged, encrypted, or over a limit;
            `.path` and `.reason` say which and why.
        MissingExtraError: Its type needs a library that is not installed.
    """
    return parse(path, read(path, limits=limits), limits=limits)


def parse(path: str | os.PathLike[str], raw: bytes, *, limits: Limits | None = None) -> Document:
    """Turn the bytes of a file into a document: `load` after `read`.

    Args:
        path: What the file is called; its suffix says what it should be.
        raw: All of its bytes.
        limits: As for `load`.

    Raises:
        FileRefusedError: As `load`.
        MissingExtraError: As `load`.
    """
    name = os.fspath(path)
    limits = limits or Limits()
    kind = kind_of(name, raw)
    parsed = _text_of(name, kind, raw, limits)
    if not parsed["text"].strip():
        raise refuse(name, "no text in it")
    if len(parsed["text"]) > limits.text_chars:
        raise refuse(name, f"more than {limits.text_chars:,} characters of text")
    metadata = {
        "source": name,
        "kind": kind.name,
        "mode": kind.mode,
        "bytes": len(raw),
        "digest": _core.base.sha256(raw)[:16].hex(),
        **parsed["metadata"],
    }
    document = str(Path(name).resolve())
    return Document(parsed["text"], document, metadata=metadata, pages=parsed["pages"])


async def aload(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Document:
    """`load` in a thread, for use in a running loop."""
    import asyncio

    return await asyncio.to_thread(load, path, limits=limits)


def read(path: str | os.PathLike[str], *, limits: Limits | None = None) -> bytes:
    """Return all bytes of a regular file; never waits at a pipe or a device.

    Raises:
        FileRefusedError: Not a regular file, unreadable, empty, or larger than the limit.
    """
    name = os.fspath(path)
    limits = limits or Limits()
    descriptor, size = open_regular(name)
    with os.fdopen(descriptor, "rb") as file:
        if size > limits.file_bytes:
            raise refuse(name, f"larger than {limits.file_bytes:,} bytes")
        try:
            raw = file.read(limits.file_bytes + 1)
        except OSError as failed:
            raise refuse(name, failed.strerror or "cannot be read") from failed
    if len(raw) > limits.file_bytes:
        raise refuse(name, f"larger than {limits.file_bytes:,} bytes")
    if not raw:
        raise refuse(name, "empty")
    return raw


def _text_of(name: str, kind: Kind, raw: bytes, limits: Limits) -> Parsed:
    if not kind.in_child:
        text, encoding = decode(name, raw)
        if kind.name == "csv":
            _check_fields(name, text, limits)
        return {"text": text, "pages": [], "metadata": {"encoding": encoding}}
    from dure.files._child import parse_in_child

    if kind.name not in {"json", "jsonl"}:
        return parse_in_child(name, kind, raw, limits)
    text, encoding = decode(name, raw)
    parse_in_child(name, kind, text.encode("utf-8", "surrogatepass"), limits)  # only checks it
    return {"text": text, "pages": [], "metadata": {"encoding": encoding}}


def _check_fields(name: str, text: str, limits: Limits) -> None:
    """Refuse a field that is too long: mostly a quote that nothing closes."""
    import re

    lines = text.split("\n")
    if max(map(len, lines)) <= limits.field_chars and not any(x.count('"') % 2 for x in lines):
        return  # no field goes on over a line
    quoted = re.compile(r'"[^"]*(?:""[^"]*)*')
    at = 0
    while (field := quoted.search(text, at)) is not None:
        at = field.end() + 1
        if field.end() - field.start() > limits.field_chars:
            line = text.count("\n", 0, field.start()) + 1
            most = f"{limits.field_chars:,} characters"
            raise refuse(name, f"a quoted field from line {line} on has more than {most}")
    if any(
        field.end() - field.start() > limits.field_chars
        for field in re.finditer(r'[^,;\t\n"]+', text)
    ):
        raise refuse(name, f"a field has more than {limits.field_chars:,} characters")
