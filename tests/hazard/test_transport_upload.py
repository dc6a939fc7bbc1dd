"""Uploads: exact bytes, bounded memory, back-pressure; a file that changes is a typed error."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from email.parser import BytesParser
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dure.aio import HttpClient
from dure.errors import FileRefusedError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Script = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

pytestmark = pytest.mark.parametrize("engine", ["a", "b"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    """Run a server that reads heads and leaves bodies and answers to `script`."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await script(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/files"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)


def length_of(head: bytes) -> int:
    lines = head.decode().lower().split("\r\n")
    return next(int(x.split(":")[1]) for x in lines if x.startswith("content-length:"))


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def open_paths() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this very look
            found.add(str(entry.readlink()))
    return found


async def test_the_form_is_exact(engine: str, tmp_path: Path) -> None:
    got: list[bytes] = []

    async def keep(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(head.partition(b"\r\n")[2] + await reader.readexactly(length_of(head)))
        writer.write(OK)

    odd = tmp_path / 'a "b".bin'
    odd.write_bytes(bytes(range(256)) * 3000)
    empty = tmp_path / "none.txt"
    empty.write_bytes(b"")
    async with serving(keep) as url, HttpClient(transport=engine) as client:
        for method in ("POST", "PUT"):
            reply = await client.upload(
                url,
                {"file": odd, "more": empty},
                fields={"purpose": "fine-tune, \u00e9"},
                method=method,
                headers={"Authorization": "Bearer k"},
            )
            assert (reply.status, reply.content) == (200, b"ok")
    for whole in got:
        form: Any = BytesParser().parsebytes(whole)
        assert form["authorization"] == "Bearer k"
        purpose, file, more = form.get_payload()
        assert purpose.get_payload(decode=True).decode() == "fine-tune, \u00e9"
        assert file.get_payload(decode=True) == odd.read_bytes()
        assert file.get_param("filename", header="content-disposition") == "a %22b%22.bin"
        assert more.get_payload(decode=True) == b""
        assert more.get_content_type() == "text/plain"


@pytest.mark.skipif("DURE_ASAN" in os.environ, reason="a sanitizer keeps freed memory")
async def test_a_large_file_is_never_in_memory(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for at in range(96):
            file.write(at.to_bytes(4, "big") + block[4:])
    most = 0
    digest = sha256()

    async def slowly(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal most
        left = length_of(head)
        await asyncio.sleep(0.3)  # nothing is read: the client must wait, not gather
        while left:
            part = await reader.readexactly(min(left, 1 << 16))
            digest.update(part)
            left -= len(part)
            most = max(most, resident_bytes())
        writer.write(OK)

    async with serving(slowly) as url, HttpClient(transport=engine) as client:
        await client.upload(url, {"file": Path(__file__)})  # all that is needed once is there
        digest = sha256()
        before = most = resident_bytes()
        reply = await client.upload(url, {"file": path})
    assert reply.status == 200
    assert most - before < 24 << 20, "a quarter of the file"
    assert digest.digest() != sha256().digest()


@pytest.mark.parametrize("change", ["cut", "touched"])
async def test_a_file_that_changes_is_refused(engine: str, change: str, tmp_path: Path) -> None:
    path = tmp_path / "changing.bin"
    path.write_bytes(b"x" * (16 << 20))
    whole = asyncio.Event()

    async def change_it(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        left = length_of(head) - len(await reader.readexactly(1 << 16))
        if change == "cut":
            os.truncate(path, 8 << 20)
        else:
            os.utime(path, (1, 1))
        await reader.readexactly(left)
        whole.set()
        writer.write(OK)

    async with serving(change_it) as url, HttpClient(transport=engine) as client:
        with pytest.raises(FileRefusedError, match="changed") as refused:
            await client.upload(url, {"file": path})
        assert refused.value.path == str(path)
        await asyncio.sleep(0.05)
    assert not whole.is_set(), "no server takes half a file for a whole one"


async def test_no_such_file_sends_nothing(engine: str, tmp_path: Path) -> None:
    async def never(*_: object) -> None:
        raise AssertionError

    async with serving(never) as url, HttpClient(transport=engine) as client:
        with pytest.raises(FileRefusedError, match="cannot be opened"):
            await client.upload(url, {"file": tmp_path / "none"})


async def test_an_early_answer_ends_the_upload(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "unwanted.bin"
    path.write_bytes(b"x" * (8 << 20))

    async def refuse(
        _head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()
        while await reader.read(1 << 16):
            pass

    async with serving(refuse) as url, HttpClient(transport=engine) as client:
        try:
            reply = await client.upload(url, {"file": path})
            assert (reply.status, reply.content) == (413, b"big")
        except UpstreamError:  # its end overtook it
            pass


async def test_a_cancelled_upload_leaves_nothing_open(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"x" * (8 << 20))
    stuck = asyncio.Event()

    async def hang(*_: object) -> None:
        stuck.set()
        await asyncio.sleep(30)

    async with serving(hang) as url, HttpClient(transport=engine) as client:
        uploading = asyncio.ensure_future(client.upload(url, {"file": path}))
        await stuck.wait()
        await asyncio.sleep(0.05)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
    assert str(path) not in open_paths()
