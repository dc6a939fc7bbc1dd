"""A stream's iterator in every way in which Python awaits one piece."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dure.aio import HttpClient, HttpStream
from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENGINES = pytest.mark.parametrize("engine", ["a", "b"])


@asynccontextmanager
async def ticking(count: int, pause: float = 0.0) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve `count` events, the first at once; the others once the gate is open."""
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for at in range(count):
            if at == 1:
                await gate.wait()
            writer.write(b"data: %d\n\n" % at)
            await writer.drain()
            await asyncio.sleep(pause)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", gate


def numbers(events: list[Any]) -> list[int]:
    return [int(event.data) for event in events]


@ENGINES
async def test_a_piece_may_be_gathered_and_waited_for(engine: str) -> None:
    client = HttpClient(transport=engine)
    async with (
        ticking(9) as (url, gate),
        client.stream("GET", url, events=True) as stream,
    ):
        pieces = aiter(stream)
        found = list(await asyncio.gather(anext(pieces)))
        late = asyncio.ensure_future(anext(pieces))
        done, pending = await asyncio.wait([late], timeout=0.05)
        assert (done, pending) == (set(), {late})
        gate.set()
        found.append(await late)
        found.append(await asyncio.wait_for(anext(pieces), 20))
        found += [await asyncio.shield(anext(pieces)), await anext(pieces, b"")]
        found += [event async for event in pieces]
        assert numbers(found) == list(range(9))
        assert await anext(pieces, b"") == b""


@ENGINES
async def test_a_wait_that_timed_out_loses_nothing(engine: str) -> None:
    client = HttpClient(transport=engine)
    async with (
        ticking(5) as (url, gate),
        client.stream("GET", url, events=True) as stream,
    ):
        pieces = aiter(stream)
        found = [await anext(pieces)]
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(pieces), 0.005)
        anext(pieces)  # nobody awaits it
        gate.set()
        found += [event async for event in pieces]
        assert numbers(found) == list(range(5))


@ENGINES
async def test_one_task_reads_at_a_time(engine: str) -> None:
    client = HttpClient(transport=engine)

    async def read(stream: HttpStream) -> list[Any]:
        return [event async for event in stream]

    async with (
        ticking(50, 0.001) as (url, gate),
        client.stream("GET", url, events=True) as stream,
    ):
        first = asyncio.ensure_future(read(stream))
        while not first.done() and not gate.is_set():
            await asyncio.sleep(0.02)  # it waits for the second event
            gate.set()
        seconds = await asyncio.gather(read(stream), read(stream), return_exceptions=True)
        found = await asyncio.wait_for(first, 20)
    refused = [one for one in seconds if isinstance(one, InvalidArgumentError)]
    others = [event for one in seconds if isinstance(one, list) for event in one]
    assert len(refused) + len([one for one in seconds if isinstance(one, list)]) == 2
    assert sorted(numbers([*found, *others])) == list(range(50))


async def test_a_piece_is_awaited_once_and_left_pieces_are_collected() -> None:
    client = HttpClient()
    async with (
        ticking(3) as (url, gate),
        client.stream("GET", url, events=True) as stream,
    ):
        piece = anext(aiter(stream))
        assert numbers([await piece]) == [0]
        with pytest.raises(RuntimeError, match="awaited already"):
            await piece
        left = asyncio.ensure_future(anext(aiter(stream)))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        gate.set()
        assert numbers([event async for event in stream]) == [1, 2]
