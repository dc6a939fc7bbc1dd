"""`multipart/form-data` bodies: fields and files as openai-python takes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["multipart"]


def multipart(fields: Mapping[str, object], files: Mapping[str, object]) -> tuple[bytes, str]:
    """Return a body and its content type.

    Args:
        fields: Values; lists become `name[]` once an item, dicts `name[key]`; None is left out.
        files: Bytes, a path, an open binary file, or (name, content[, type]); a list of them
            becomes `name[]`.

    Raises:
        InvalidArgumentError: a file is of another kind or cannot be read.
    """
    from uuid import uuid4

    boundary = f"dure-{uuid4().hex}"
    parts = [
        part(boundary, f'form-data; name="{quoted(name)}"', None, value.encode())
        for name, value in flat(fields)
    ]
    for name, given in files.items():
        many = isinstance(given, list)
        for item in given if isinstance(given, list) else [given]:
            filename, content, kind = file_of(item, name)
            field = f"{name}[]" if many else name
            what = f'form-data; name="{quoted(field)}"; filename="{quoted(filename)}"'
            parts.append(part(boundary, what, kind, content))
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def part(boundary: str, disposition: str, kind: str | None, content: bytes) -> bytes:
    """Return one part."""
    head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n"
    if kind is not None:
        head += f"Content-Type: {kind}\r\n"
    return head.encode() + b"\r\n" + content + b"\r\n"


def quoted(name: str) -> str:
    """Return a name that cannot leave its quotes."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def flat(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of every scalar."""
    for name, value in fields.items():
        key = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, dict):
            yield from flat(value, key)
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            if item is not None:
                text = str(item).lower() if isinstance(item, bool) else str(item)
                yield (f"{key}[]" if isinstance(value, list | tuple) else key), text


def file_of(given: Any, argument: str) -> tuple[str, bytes, str]:  # noqa: ANN401 - what users have
    """Return file name, content and content type."""
    kind = "application/octet-stream"
    if isinstance(given, tuple):
        name, content, *rest = given
        _, data, guessed = file_of(content, argument)
        return name or "upload", data, rest[0] if rest and rest[0] else guessed
    if isinstance(given, bytes | bytearray | memoryview):
        return "upload", bytes(given), kind
    if isinstance(given, str | os.PathLike):
        from mimetypes import guess_type

        path = Path(given)
        try:
            return path.name, path.read_bytes(), guess_type(path.name)[0] or kind
        except OSError as wrong:
            text = f"{path} cannot be read: {wrong.strerror}"
            raise InvalidArgumentError(text, argument=argument) from wrong
    content = given.read() if hasattr(given, "read") else None
    if not isinstance(content, bytes):
        raise InvalidArgumentError(
            f"{argument} must be bytes, a path, a file opened with 'rb', or (name, content)",
            argument=argument,
        )
    return Path(str(getattr(given, "name", "upload"))).name, content, kind
