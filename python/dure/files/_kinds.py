"""What a file is: its name and its first bytes have to agree."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dure.files._limits import refuse


class Kind(NamedTuple):
    """A type of file: its name, the chunker's mode for its text, and where it is parsed."""

    name: str
    mode: str
    in_child: bool = False


_CODE = Kind("code", "code")
_TEXT = Kind("text", "text")
_KINDS = {
    ".pdf": Kind("pdf", "page", in_child=True),
    ".docx": Kind("docx", "markdown", in_child=True),
    ".pptx": Kind("pptx", "page", in_child=True),
    ".xlsx": Kind("xlsx", "markdown", in_child=True),
    ".eml": Kind("eml", "markdown", in_child=True),
    ".epub": Kind("epub", "markdown", in_child=True),
    ".hwpx": Kind("hwpx", "markdown", in_child=True),
    ".hwp": Kind("hwp", "markdown", in_child=True),
    **dict.fromkeys([".html", ".htm", ".xhtml"], Kind("html", "markdown", in_child=True)),
    ".md": Kind("markdown", "markdown"),
    ".markdown": Kind("markdown", "markdown"),
    **dict.fromkeys([".csv", ".tsv"], Kind("csv", "csv")),
    ".jsonl": Kind("jsonl", "jsonl", in_child=True),
    ".ndjson": Kind("jsonl", "jsonl", in_child=True),
    ".json": Kind("json", "code", in_child=True),
    **dict.fromkeys([".txt", ".text", ".rst", ".log", ".tex", ".srt", ".vtt"], _TEXT),
}
_CODE_SUFFIXES = """
.py .pyi .pyx .c .h .cc .cpp .cxx .hpp .hh .inc .cu .java .kt .kts .scala .go .rs .swift .m .mm .js
.mjs .cjs .jsx .ts .tsx .vue .svelte .css .scss .less .rb .php .pl .pm .lua .r .jl .hs .ml .mli .ex
.exs .erl .clj .fs .cs .vb .dart .zig .nim .sh .bash .zsh .fish .ps1 .bat .sql .proto .thrift
.graphql .toml .yaml .yml .ini .cfg .conf .properties .xml .cmake .mk .gradle .dockerfile .tf .asm
.s .v .sv .vhd .el .lisp .scm .ipynb
"""
_KINDS.update(dict.fromkeys(_CODE_SUFFIXES.split(), _CODE))

# What it is, and what has to stand where. Each is long enough, or holds a byte that no text has, so
# that prose does not pass for it ("ID3 is an algorithm"). Sources: the formats' specifications.
_SIGNATURES: tuple[tuple[str, tuple[tuple[int, bytes], ...]], ...] = (
    ("pdf", ((0, b"%PDF-"),)),
    ("zip", ((0, b"PK\x03\x04"),)),
    ("zip", ((0, b"PK\x05\x06"),)),
    ("ole", ((0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),)),
    ("gzip", ((0, b"\x1f\x8b\x08"),)),
    ("bzip2", ((0, b"BZh"), (4, b"1AY&SY"))),
    ("xz", ((0, b"\xfd7zXZ\x00"),)),
    ("7z", ((0, b"7z\xbc\xaf\x27\x1c"),)),
    ("rar", ((0, b"Rar!\x1a\x07"),)),
    ("zstd", ((0, b"\x28\xb5\x2f\xfd"),)),
    ("lz4", ((0, b"\x04\x22\x4d\x18"),)),
    ("png", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("jpeg", ((0, b"\xff\xd8\xff"),)),
    ("gif", ((0, b"GIF87a"),)),
    ("gif", ((0, b"GIF89a"),)),
    ("tiff", ((0, b"II*\x00"),)),
    ("tiff", ((0, b"MM\x00*"),)),
    ("webp", ((0, b"RIFF"), (8, b"WEBP"))),
    ("wave", ((0, b"RIFF"), (8, b"WAVE"))),
    ("avi", ((0, b"RIFF"), (8, b"AVI "))),
    ("ogg", ((0, b"OggS\x00"),)),
    ("flac", ((0, b"fLaC\x00"),)),
    ("mp3", ((0, b"ID3\x02"),)),
    ("mp3", ((0, b"ID3\x03"),)),
    ("mp3", ((0, b"ID3\x04"),)),
    ("mp4", ((0, b"\x00\x00"), (4, b"ftyp"))),
    ("matroska", ((0, b"\x1aE\xdf\xa3"),)),
    ("elf", ((0, b"\x7fELF"),)),
    ("class", ((0, b"\xca\xfe\xba\xbe"),)),
    ("wasm", ((0, b"\x00asm"),)),
    ("sqlite", ((0, b"SQLite format 3\x00"),)),
    ("parquet", ((0, b"PAR1\x15"),)),
    ("rtf", ((0, b"{\\rtf1"),)),
    ("postscript", ((0, b"%!PS-Adobe-"),)),
    ("tar", ((257, b"ustar\x00"),)),
    ("tar", ((257, b"ustar  \x00"),)),
)
_ZIPS = {"docx", "pptx", "xlsx", "hwpx", "epub"}
_CONTAINER = {"pdf": "pdf", "hwp": "ole", **dict.fromkeys(_ZIPS, "zip")}  # what has to come first
_PDF_HEADER = 1024  # bytes at the start of a PDF somewhere in which its signature stands
_ENCRYPTED = "EncryptedPackage".encode(
    "utf-16-le"
)  # the stream that an Office file with a password has

# Formats of old that we do not read, and what to save them as.
_OLD = {
    **dict.fromkeys([".doc", ".dot", ".rtf", ".odt"], ".docx"),
    **dict.fromkeys([".ppt", ".pps", ".odp"], ".pptx"),
    **dict.fromkeys([".xls", ".xlsb", ".ods"], ".xlsx"),
    **dict.fromkeys([".msg", ".mbox"], ".eml"),
    **dict.fromkeys([".mobi", ".azw", ".azw3"], ".epub"),
}


def signature_of(raw: bytes) -> str | None:
    """Return what the first bytes say, or None for what may be text."""
    for what, parts in _SIGNATURES:
        if all(raw.startswith(magic, offset) for offset, magic in parts):
            return what
    return None


def kind_of(path: str, raw: bytes) -> Kind:
    """Return the kind of the file, or refuse it."""
    suffix = Path(path).suffix.lower()
    kind = _KINDS.get(suffix)
    if kind is None and suffix in _OLD:
        raise refuse(path, f"unknown type {suffix!r}: save it as {_OLD[suffix]}")
    if kind is None and suffix:
        raise refuse(
            path, f"unknown type {suffix!r}: save it as text or as another kind of dure.files"
        )
    found = signature_of(raw)
    if kind is None and found == "pdf":
        return _KINDS[".pdf"]
    if kind is None:
        kind = _TEXT  # README, LICENSE, Makefile: text, or refused when it is decoded
    if kind.name == "pdf" and found is None and b"%PDF-" in raw[:_PDF_HEADER]:
        found = "pdf"
    if found != _CONTAINER.get(kind.name):
        raise refuse(path, _mismatch(suffix, kind, found, raw))
    return kind


def _mismatch(suffix: str, kind: Kind, found: str | None, raw: bytes) -> str:
    """Return why name and first bytes do not agree."""
    if found == "ole" and kind.name in _ZIPS and _ENCRYPTED in raw:
        return "encrypted"
    said = f"a {suffix} file" if suffix else "text"
    return f"named as {said}, but holds {found or 'something else'}"
