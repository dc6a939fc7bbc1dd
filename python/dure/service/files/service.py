"""Files: taken in whole or piece by piece, kept only if they are what they say they are."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import exists, select

from dure.db.base import new_id
from dure.db.tables import DocumentModel, FileModel
from dure.errors import DureError, InvalidArgumentError, NotFoundError, StorageError
from dure.service.auth.subject import Subject
from dure.service.errors import ConflictError
from dure.service.kit.state import State

from .repository import FileRepository
from .sniff import check_declared, checked, too_large
from .store import FileStore, file_store, pieces_of

__all__ = ["Files", "narrowed", "owner_of"]

_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,255}")


class Files:
    """Files of all tenants; each is its owner's, and the tenant's administrators'. Task-safe."""

    def __init__(self, state: State) -> None:
        """Open the store that the settings name.

        Raises:
            MissingExtraError: it needs the extra `s3`.
        """
        self._state = state
        self._most = state.settings.max_file_bytes
        self._coming = state.data / "files" / "coming"
        self._store: FileStore | None = None

    @property
    def store(self) -> FileStore:
        """Where bytes lie, opened on first use."""
        if self._store is None:
            self._store = file_store(self._state.settings, self._state.data)
        return self._store

    async def begin(
        self, who: Subject, name: str, size: int, media_type: str, sha256: str | None
    ) -> FileModel:
        """Make room for a file whose bytes follow.

        Raises:
            MediaTypeError: name and type are not taken, or do not agree.
            TooLargeError: it is over the limit.
        """
        if size > self._most:
            raise too_large(self._most)
        row = self._row(who, name, size, media_type, check_declared(checked_name(name), media_type))
        row.sha256 = sha256
        async with self._state.database.write() as work:
            FileRepository(work, who.org_id).add(row)
        return row

    def _row(self, who: Subject, name: str, size: int, media_type: str, kind: str) -> FileModel:
        return FileModel(
            id=new_id("file"),
            org_id=who.org_id,
            owner_id=owner_of(who),
            name=name,
            media_type=media_type.partition(";")[0].strip().lower() or "application/octet-stream",
            kind=kind,
            size=size,
            received=0,
            sha256=None,
            state="receiving",
            reason=None,
            created_at=self._state.clock.now(),
        )

    async def append(
        self, who: Subject, file_id: str, offset: int, pieces: AsyncIterator[bytes]
    ) -> FileModel:
        """Take the bytes from `offset` on; the last one makes the file ready, or failed.

        What came before a connection broke is kept: ask for the file and go on at `received`.

        Raises:
            NotFoundError: it is not the caller's.
            ConflictError: `offset` is not where the file goes on, or it has all its bytes.
            TooLargeError: there are more bytes than were announced.
        """
        row = await self.one(who, file_id)
        if row.state != "receiving":
            raise ConflictError("The file has all its bytes.", code="already_received")
        if offset != row.received:
            raise ConflictError(
                f"The file goes on at byte {row.received}, not at {offset}.", code="wrong_offset"
            )
        path = self._path(row.id)
        try:
            await self._written(path, offset, row.size, pieces)
        finally:
            await self._counted(who, row, offset, path)
        return (
            await self.one(who, file_id) if row.received < row.size else await self._end(who, row)
        )

    async def _written(
        self, path: Path, offset: int, size: int, pieces: AsyncIterator[bytes]
    ) -> None:
        left = size - offset
        try:
            await asyncio.to_thread(path.parent.mkdir, 0o700, True, True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as failed:
            raise _no_room(failed) from None
        try:
            await asyncio.to_thread(os.ftruncate, handle, offset)
            os.lseek(handle, offset, os.SEEK_SET)
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    raise too_large(size)
                await asyncio.to_thread(_write_all, handle, piece)
            await asyncio.to_thread(os.fsync, handle)
        except OSError as failed:
            raise _no_room(failed) from None
        finally:
            os.close(handle)

    async def _counted(self, who: Subject, row: FileModel, offset: int, path: Path) -> None:
        """Note how much is here; of two that wrote at once one is told so."""
        there = path.stat().st_size if path.exists() else 0
        async with self._state.database.write() as work:
            known = await FileRepository(work, who.org_id).one(row.id, None, lock=True)
            if known is None:
                raise NotFoundError("no such file")
            if known.received != offset or known.state != "receiving":
                raise ConflictError("Another request writes this file.", code="wrong_offset")
            row.received = known.received = min(there, row.size)

    async def whole(
        self, who: Subject, name: str, media_type: str, pieces: AsyncIterator[bytes]
    ) -> FileModel:
        """Take a file in one go.

        Raises:
            MediaTypeError, TooLargeError, FileRefusedError: it is not taken; nothing is kept.
        """
        row = self._row(who, name, 0, media_type, check_declared(checked_name(name), media_type))
        path = self._path(row.id)
        try:
            await self._written(path, 0, self._most, pieces)
            row.size = row.received = path.stat().st_size
            if not row.size:
                raise InvalidArgumentError("the file is empty", argument="file")
            await self._look_at(row, path)
            await self.store.put(_place(row), path)
        finally:
            path.unlink(missing_ok=True)
        row.state = "ready"
        async with self._state.database.write() as work:
            FileRepository(work, who.org_id).add(row)
        return row

    async def _look_at(self, row: FileModel, path: Path) -> None:
        """Check what came, and note its hash.

        Raises:
            MediaTypeError, FileRefusedError, InvalidArgumentError: it is not what was announced.
        """
        row.kind = await asyncio.to_thread(checked, row.name, row.media_type, path)
        found = await asyncio.to_thread(_sha256, path)
        if row.sha256 is not None and row.sha256 != found:
            raise InvalidArgumentError("the bytes have another SHA-256", argument="sha256")
        row.sha256 = found

    async def _end(self, who: Subject, row: FileModel) -> FileModel:
        """Make a file ready that has all its bytes, or failed with the reason."""
        path = self._path(row.id)
        reason = None
        try:
            await self._look_at(row, path)
            await self.store.put(_place(row), path)
        except StorageError:
            raise
        except DureError as refused:
            reason = getattr(refused, "reason", None) or str(refused)
            path.unlink(missing_ok=True)
        async with self._state.database.write() as work:
            known = await FileRepository(work, who.org_id).one(row.id, None, lock=True)
            if known is None:
                raise NotFoundError("no such file")
            known.kind, known.sha256, known.reason = row.kind, row.sha256, reason
            known.state = "ready" if reason is None else "failed"
            return known

    async def one(self, who: Subject, file_id: str) -> FileModel:
        """Return what is known of a file.

        Raises:
            NotFoundError: it is not the caller's.
        """
        async with self._state.database.read() as work:
            row = await FileRepository(work, who.org_id).one(file_id, narrowed(who))
        if row is None:
            raise NotFoundError("no such file")
        return row

    def content(self, row: FileModel) -> AsyncGenerator[bytes]:
        """Give the bytes of a file that is ready.

        Raises:
            ConflictError: it is not.
        """
        if row.state != "ready":
            raise ConflictError(f"The file is {row.state}.", code="not_ready")
        return self.store.get(_place(row))

    async def delete(self, who: Subject, file_id: str) -> None:
        """Remove a file and its bytes.

        Raises:
            NotFoundError: it is not the caller's.
            ConflictError: a document is made of it: delete that.
        """
        async with self._state.database.write() as work:
            files = FileRepository(work, who.org_id)
            row = await files.one(file_id, narrowed(who), lock=True)
            if row is None:
                raise NotFoundError("no such file")
            used = select(exists().where(DocumentModel.file_id == file_id))
            if await work.scalar(used):
                raise ConflictError("A document is made of this file.", code="in_use")
            await files.remove(row)
        await self.forget_bytes(row)

    async def forget_bytes(self, row: FileModel) -> None:
        """Remove the bytes of a file whose row is gone. Idempotent."""
        self._path(row.id).unlink(missing_ok=True)
        await self.store.delete(_place(row))

    def _path(self, file_id: str) -> Path:
        return self._coming / file_id


def owner_of(who: Subject) -> str:
    """Return whom what the caller makes belongs to."""
    return who.user_id or who.key_id or ""


def narrowed(who: Subject) -> str | None:
    """Return whose files the caller sees; None: everybody's in the tenant."""
    return None if who.role == "admin" else owner_of(who)


def checked_name(name: str) -> str:
    """Return a file's name.

    Raises:
        InvalidArgumentError: it is a path, too long, or holds control characters.
    """
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise InvalidArgumentError("a file's name is no path", argument="name")
    return name


def _place(row: FileModel) -> str:
    return f"{row.org_id}/{row.id}"


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    for piece in pieces_of(path):
        found.update(piece)
    return found.hexdigest()


def _write_all(handle: int, piece: bytes) -> None:
    left: Any = memoryview(piece)
    while left:
        left = left[os.write(handle, left) :]


def _no_room(failed: OSError) -> StorageError:
    return StorageError(f"the file cannot be kept: {failed.strerror}")
