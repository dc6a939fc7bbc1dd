"""A small HTTP server on loopback, in its own thread, for the hazard tests of the transport."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

EVENTS = 5


async def _reply(
    path: str, body: bytes, writer: asyncio.StreamWriter, release: asyncio.Event
) -> None:
    if path.startswith("/sse"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for at in range(EVENTS):
            event = f"data: {at}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.write(b"0\r\n\r\n")
        return
    if path.startswith("/cut"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()
        return
    if path.startswith("/big"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")
        for _ in range(128):
            writer.write(b"x" * 65536)
            await writer.drain()
        return
    if path.startswith("/slow"):
        await asyncio.wait([asyncio.ensure_future(release.wait())], timeout=30)
    elif path.startswith("/later"):
        await asyncio.sleep(0.3)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body)


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    release: asyncio.Event,
    connections: set[asyncio.StreamWriter],
) -> None:
    connections.add(writer)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            length = next(
                (int(x.split(":")[1]) for x in lines if x.lower().startswith("content-length:")), 0
            )
            body = await reader.readexactly(length)
            await _reply(lines[0].split()[1], body, writer, release)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
        connections.discard(writer)


@contextmanager
def serving() -> Iterator[str]:
    """Run the server while the block runs; gives its URL, without a slash at the end."""
    ready = threading.Event()
    place: list[str] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        done = asyncio.Event()
        connections: set[asyncio.StreamWriter] = set()
        serve = partial(_serve, release=done, connections=connections)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
        place.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        stop.append((asyncio.get_running_loop(), done))
        ready.set()
        await done.wait()
        server.close()
        while connections:
            for writer in list(connections):
                writer.close()
            await asyncio.sleep(0.005)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    ready.wait()
    try:
        yield place[0]
    finally:
        loop, done = stop[0]
        loop.call_soon_threadsafe(done.set)
        thread.join()


@pytest.fixture(scope="session")
def stub_url() -> Iterator[str]:
    """The URL of a loopback server that echoes bodies; some paths do other things, see _reply."""
    with serving() as url:
        yield url
