"""What a file is: its name, what was declared, and its bytes have to agree."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dure.errors import FileRefusedError
from dure.files import Limits
from dure.files._kinds import kind_of, signature_of
from dure.service.errors import MediaTypeError, TooLargeError

__all__ = ["check_declared", "checked", "kind_by_name"]

_HEAD = 4096
_ANY = "application/octet-stream"  # says nothing
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DECLARED: dict[str, frozenset[str]] = {
    "pdf": frozenset(("application/pdf",)),
    "docx": frozenset((f"{_OFFICE}.wordprocessingml.document",)),
    "pptx": frozenset((f"{_OFFICE}.presentationml.presentation",)),
    "xlsx": frozenset((f"{_OFFICE}.spreadsheetml.sheet",)),
    "eml": frozenset(("message/rfc822",)),
    "epub": frozenset(("application/epub+zip",)),
    "hwpx": frozenset(("application/hwp+zip", "application/vnd.hancom.hwpx", "application/owpml")),
    "hwp": frozenset(("application/x-hwp", "application/haansofthwp",
                      "application/vnd.hancom.hwp")),
    "html": frozenset(("text/html", "application/xhtml+xml")),
    "markdown": frozenset(("text/markdown", "text/x-markdown", "text/plain")),
    "csv": frozenset(("text/csv", "application/csv", "text/plain", "application/vnd.ms-excel")),
    "jsonl": frozenset(("application/jsonl", "application/x-ndjson", "application/x-jsonlines",
                        "application/json", "text/plain")),
    "json": frozenset(("application/json", "text/json", "text/plain")),
    "png": frozenset(("image/png",)),
    "jpeg": frozenset(("image/jpeg",)),
    "gif": frozenset(("image/gif",)),
    "webp": frozenset(("image/webp",)),
    "wave": frozenset(("audio/wav", "audio/x-wav", "audio/wave")),
    "mp3": frozenset(("audio/mpeg", "audio/mp3")),
    "ogg": frozenset(("audio/ogg", "application/ogg")),
    "flac": frozenset(("audio/flac", "audio/x-flac")),
}  # fmt: skip
_MEDIA = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".gif": "gif",
    ".webp": "webp",
    ".wav": "wave",
    ".mp3": "mp3",
    ".ogg": "ogg",
    ".flac": "flac",
}
_ZIPPED = frozenset(("docx", "pptx", "xlsx", "hwpx", "epub"))
_INSIDE = {"docx": "word/", "pptx": "ppt/", "xlsx": "xl/"}


def kind_by_name(name: str) -> str:
    """Return the kind that a name stands for.

    Raises:
        MediaTypeError: no kind that is taken.
    """
    suffix = Path(name).suffix.lower()
    if suffix in _MEDIA:
        return _MEDIA[suffix]
    if not suffix:
        raise MediaTypeError("the file's name has no extension, so its type is not known")
    try:
        return kind_of(name, _specimen(suffix)).name
    except FileRefusedError as refused:
        raise MediaTypeError(f"{refused.reason}") from None


def check_declared(name: str, media_type: str) -> str:
    """Return the kind of a file whose name and declared type agree.

    Raises:
        MediaTypeError: they do not, or the kind is not taken.
    """
    kind = kind_by_name(name)
    declared = media_type.partition(";")[0].strip().lower() or _ANY
    known = _DECLARED.get(kind)
    agrees = declared == _ANY or (declared in known if known is not None else _is_textual(declared))
    if not agrees:
        raise MediaTypeError(f"{Path(name).suffix} files are not declared as {declared}")
    return kind


def checked(name: str, media_type: str, path: Path) -> str:
    """Return the kind of a whole file: name, declared type and bytes agree.

    Raises:
        MediaTypeError: they do not.
        FileRefusedError: an archive unpacks to too much.
    """
    kind = check_declared(name, media_type)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if kind in set(_MEDIA.values()):
        found = signature_of(head)
        if found != kind and not (kind == "mp3" and head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
            raise MediaTypeError(f"{Path(name).suffix} is not what the file holds")
        return kind
    try:
        kind_of(name, head)
    except FileRefusedError as refused:
        raise MediaTypeError(refused.reason) from None
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16
    textual = kind not in _DECLARED or kind in {"csv", "json", "jsonl", "markdown", "html"}
    if textual and b"\0" in head and not wide:
        raise MediaTypeError("named as text, but holds bytes that no text has")
    if kind in _ZIPPED:
        _check_archive(name, kind, path)
    return kind


def _check_archive(name: str, kind: str, path: Path) -> None:
    """Refuse an archive of another kind, or one that unpacks to too much, by its directory."""
    limits = Limits()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise MediaTypeError(f"named as .{kind}, but cannot be opened as one") from None
    inside = _INSIDE.get(kind)
    if inside is not None and not any(one.filename.startswith(inside) for one in entries):
        raise MediaTypeError(f"named as .{kind}, but holds another archive")
    size = sum(one.file_size for one in entries)
    packed = max(1, path.stat().st_size)
    if (
        len(entries) > limits.entries
        or size > limits.unzipped_bytes
        or size / packed > limits.unzipped_ratio
    ):
        refused = FileRefusedError(f"{name}: it unpacks to too much", path=name)
        refused.reason, refused.http_status = "it unpacks to too much", 422
        raise refused


def too_large(most: int) -> TooLargeError:
    """Return the refusal of a file over the limit."""
    return TooLargeError(f"The file is larger than {most} bytes.")


def _is_textual(declared: str) -> bool:
    return declared.startswith("text/") or declared in {
        "application/javascript", "application/x-sh", "application/xml", "application/toml",
        "application/yaml", "application/x-yaml", "application/sql", "application/x-python",
        "application/typescript", "application/x-tex", "application/x-subrip",
    }  # fmt: skip


def _specimen(suffix: str) -> bytes:
    """Return first bytes with which a name alone is looked at."""
    if suffix == ".pdf":
        return b"%PDF-"
    if suffix == ".hwp":
        return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    return b"PK\x03\x04" if suffix.removeprefix(".") in _ZIPPED else b"text"
