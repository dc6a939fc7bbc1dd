"""Where the bytes of files lie: a folder, or S3. Names are ids of ours, never a caller's words."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from dure.errors import MissingExtraError, NotFoundError, StorageError
from dure.service.settings import Settings

__all__ = ["FileStore", "LocalFiles", "S3Files", "file_store"]

_PIECE = 256 * 1024


class FileStore(Protocol):
    """Keeps files under names. Task-safe; memory stays bounded whatever their size."""

    async def put(self, name: str, path: Path) -> None:
        """Keep a file's bytes under a name, replacing what was there. `path` may be moved away.

        Raises:
            StorageError: there is no room, or nobody answers.
        """

    def get(self, name: str) -> AsyncGenerator[bytes]:
        """Give the bytes in pieces.

        Raises:
            NotFoundError: there is nothing of that name.
            StorageError: it cannot be read.
        """

    async def delete(self, name: str) -> None:
        """Remove it. Idempotent.

        Raises:
            StorageError: it cannot be removed.
        """


def file_store(settings: Settings, data: Path) -> FileStore:
    """Return the store that the settings name.

    Raises:
        MissingExtraError: it needs the extra `s3`.
    """
    if settings.files == "local":
        return LocalFiles(data / "files")
    bucket, _, prefix = settings.files.removeprefix("s3://").partition("/")
    return S3Files(bucket, prefix, settings.s3_endpoint)


class LocalFiles:
    """Files below a folder of mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, path: Path) -> None:
        """Move a file in."""
        target = self._folder / name

        def moved() -> None:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(path, target)

        await _in_thread(moved)

    async def get(self, name: str) -> AsyncGenerator[bytes]:
        """Give the bytes in pieces."""
        try:
            file = await asyncio.to_thread((self._folder / name).open, "rb")
        except FileNotFoundError:
            raise NotFoundError("the file's bytes are gone") from None
        except OSError as failed:
            raise _storage(failed) from None
        with file:
            while piece := await _in_thread(file.read, _PIECE):
                yield piece

    async def delete(self, name: str) -> None:
        """Unlink it."""
        await _in_thread((self._folder / name).unlink, True)


class S3Files:
    """Objects of a bucket; the client is made on first use, its calls run in threads."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None) -> None:
        """Name the place; nothing is sent.

        Raises:
            MissingExtraError: boto3 is not installed.
        """
        try:
            import boto3
        except ImportError as missing:
            raise MissingExtraError.of("s3", "boto3") from missing
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._client = boto3.client("s3", endpoint_url=endpoint)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    async def put(self, name: str, path: Path) -> None:
        """Upload a file, in parts where it is large, and remove it here."""

        def sent() -> None:
            with path.open("rb") as file:
                self._client.upload_fileobj(file, self._bucket, self._key(name))
            path.unlink()

        await _s3(sent)

    async def get(self, name: str) -> AsyncGenerator[bytes]:
        """Give the bytes as they come."""
        found = await _s3(lambda: self._client.get_object(Bucket=self._bucket, Key=self._key(name)))
        body: BinaryIO = found["Body"]
        try:
            while piece := await _s3(lambda: body.read(_PIECE)):
                yield piece
        finally:
            body.close()

    async def delete(self, name: str) -> None:
        """Delete the object."""
        await _s3(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(name)))


def _no_answer() -> StorageError:
    return StorageError("the file store does not answer as it should: look at DURE_FILES")


async def _in_thread(work: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any call
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as failed:
        raise _storage(failed) from None


async def _s3(work: Any) -> Any:  # noqa: ANN401 - any call
    """Make a call of boto3; its error, which may name keys and hosts, is not repeated."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return await asyncio.to_thread(work)
    except ClientError as failed:
        if failed.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
            raise NotFoundError("the file's bytes are gone") from None
        raise _no_answer() from None
    except (Boto3Error, BotoCoreError):
        raise _no_answer() from None
    except OSError as failed:
        raise _storage(failed) from None


def _storage(failed: OSError) -> StorageError:
    return StorageError(f"the file store refuses: {failed.strerror or 'it cannot be read'}")


def pieces_of(path: Path) -> Iterator[bytes]:
    """Give a file's bytes in pieces."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
