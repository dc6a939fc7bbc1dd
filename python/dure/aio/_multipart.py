"""`multipart/form-data`, written while it is sent: files are read part by part, never whole."""

from __future__ import annotations

import asyncio
import os
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dure.errors import FileRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from os import PathLike

    from dure._core.net import HttpUpload

PART = 256 << 10  # bytes that are read at once


class _File:
    """A file as it was when the form was made."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(fspath(path))
        try:
            self.file: BinaryIO = self.path.open("rb")
        except OSError as wrong:
            raise _refused(self.path, f"it cannot be opened: {wrong.strerror}") from None
        self._was = self._now()
        self.size = self._was[0]

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self.file.fileno())
        return found.st_size, found.st_mtime_ns

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield its bytes. The last ones come only if the file is still what it was."""
        left = self.size
        while left:
            part = await asyncio.to_thread(self.file.read, min(left, PART))
            left -= len(part)
            if not part or (not left and self._now() != self._was):
                raise _refused(self.path, "it changed while it was sent")
            yield part


class Form:
    """The body of one request: its parts, its size, its content type."""

    def __init__(
        self, files: Mapping[str, str | PathLike[str]], fields: Mapping[str, str] | None
    ) -> None:
        from secrets import token_hex

        boundary = f"dure-{token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._parts: list[bytes | _File] = []
        for name, value in (fields or {}).items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
            self._parts.append(f"{head}{value}\r\n".encode())
        try:
            for name, path in files.items():
                file = _File(path)
                self._parts += [_head(boundary, name, file.path).encode(), file, b"\r\n"]
        except BaseException:
            self.close()
            raise
        self._parts.append(f"--{boundary}--\r\n".encode())
        self.size = sum(p.size if isinstance(p, _File) else len(p) for p in self._parts)

    async def feed(self, upload: HttpUpload) -> None:
        """Hand everything over, no faster than it is sent.

        Raises:
            FileRefusedError: a file is shorter or newer than when the form was made.
        """
        for part in self._parts:
            async for piece in part.parts() if isinstance(part, _File) else _once(part):
                room = upload.feed(piece)
                if room is not None:
                    await room

    def close(self) -> None:
        """Close the files."""
        for part in self._parts:
            if isinstance(part, _File):
                part.file.close()


async def _once(part: bytes) -> AsyncIterator[bytes]:
    yield part


def _head(boundary: str, name: str, path: Path) -> str:
    from mimetypes import guess_type

    kind = guess_type(path.name)[0] or "application/octet-stream"
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; '
        f'filename="{_quoted(path.name)}"\r\nContent-Type: {kind}\r\n\r\n'
    )


def _quoted(name: str) -> str:
    """Return a name as browsers write it into a form (WHATWG)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _refused(path: Path, reason: str) -> FileRefusedError:
    return FileRefusedError(
        f"{path.name} is not uploaded: {reason}",
        argument="files",
        path=str(path),
        reason=reason,
    )
