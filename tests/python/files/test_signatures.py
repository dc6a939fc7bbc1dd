"""The table of signatures: real files of other kinds are named, prose is never taken for one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import struct
import sys
import tarfile
import wave
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest
from dure import files
from dure.errors import FileRefusedError
from dure.files._kinds import _SIGNATURES, signature_of

from tests.python.files.compound import compound
from tests.python.files.pdfs import pdf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def made(write: object, *arguments: object) -> bytes:
    out = io.BytesIO()
    with write(out, *arguments) as file:  # type: ignore[operator]
        if isinstance(file, zipfile.ZipFile):
            file.writestr("a", "b")
        elif isinstance(file, tarfile.TarFile):
            file.addfile(tarfile.TarInfo("a"))
        else:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
    return out.getvalue()


def tar(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        file.addfile(tarfile.TarInfo("a"))
    return out.getvalue()


def png() -> bytes:
    def part(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = part(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")


def sqlite() -> bytes:
    with sqlite3.connect(":memory:") as base:
        base.execute("create table t (a)")
        return base.serialize()


def executable() -> bytes:
    with open(sys.executable, "rb") as file:  # noqa: PTH123
        return file.read(4096)


REAL: dict[str, Callable[[], bytes]] = {
    "pdf": lambda: pdf(["x"]),
    "zip": lambda: made(zipfile.ZipFile, "w"),
    "ole": lambda: compound({"a": b"b"}),
    "gzip": lambda: gzip.compress(b"x"),
    "bzip2": lambda: bz2.compress(b"x"),
    "xz": lambda: lzma.compress(b"x"),
    "png": png,
    "wave": lambda: made(wave.open, "wb"),
    "sqlite": sqlite,
    "elf": executable,
    "tar": lambda: tar(tarfile.PAX_FORMAT),
}


@pytest.mark.parametrize("what", REAL)
def test_real_files_are_known(tmp_path: Path, what: str) -> None:
    raw = REAL[what]()
    assert signature_of(raw) == what
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    with pytest.raises(FileRefusedError) as caught:
        files.load(path)
    assert caught.value.reason == f"named as a .txt file, but holds {what}"


def test_both_forms_of_tar_are_known() -> None:
    assert signature_of(tar(tarfile.GNU_FORMAT)) == "tar"


def test_every_signature_is_found_and_refused_as_text(tmp_path: Path) -> None:
    assert len({what for what, _ in _SIGNATURES}) >= 25
    for what, parts in _SIGNATURES:
        raw = bytearray(300)
        for offset, magic in parts:
            raw[offset : offset + len(magic)] = magic
        assert signature_of(bytes(raw)) == what
        (tmp_path / "a.md").write_bytes(raw)
        with pytest.raises(FileRefusedError, match=f"holds {what}"):
            files.load(tmp_path / "a.md")


@pytest.mark.parametrize(
    "text",
    [
        "ID3 is an algorithm for decision trees.",
        "RIFFs and licks: a guide for guitar players.",
        "BZhang wrote this.",
        "MMXXVI was a good year.",
        "Rar! said the lion.",
        "The ftyp box of a file",
        "OggSound, PAR1 and fLaC are names.",
        "PK는 약자다.",
        "SQLite format 3 is described here.",
        "%!PS is how PostScript begins",
        "GIF files are pictures.",
    ],
)
def test_prose_is_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert files.load(path).text == text
