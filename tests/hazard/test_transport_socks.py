"""SOCKS proxies: a real one on loopback, names resolved where the scheme says."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from dure.aio import HttpClient
from dure.errors import InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME, IPV4 = 3, 1


class Socks:
    """SOCKS5 without authentication; remembers what it was asked to connect to."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.refuse = refuse
        self.asked: list[tuple[int, str]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        size = 4 if kind == IPV4 else (await reader.readexactly(1))[0]
        raw = await reader.readexactly(size)
        host = ".".join(map(str, raw)) if kind == IPV4 else raw.decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((kind, host))
        writer.write(bytes([5, 5 if self.refuse else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self.refuse:
            writer.close()
            return
        there, out = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, out), pump(there, writer))


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


@asynccontextmanager
async def proxy(*, refuse: bool = False) -> AsyncIterator[tuple[Socks, str]]:
    socks = Socks(refuse=refuse)
    server = await asyncio.start_server(socks.serve, "127.0.0.1", 0)
    try:
        yield socks, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(("scheme", "kind"), [("socks5h", NAME), ("socks5", IPV4)])
async def test_a_socks_proxy_carries_requests(scheme: str, kind: int, stub_url: str) -> None:
    url = stub_url.replace("127.0.0.1", "localhost") if kind == NAME else stub_url
    async with proxy() as (socks, place), HttpClient(proxy=f"{scheme}://{place}") as client:
        for at in range(3):
            reply = await client.request("POST", f"{url}/echo", body=b"%d" % at)
            assert reply.content == b"%d" % at
        assert socks.asked == [(kind, "localhost" if kind == NAME else "127.0.0.1")]


async def test_a_refusing_socks_proxy_is_unavailable(stub_url: str) -> None:
    async with proxy(refuse=True) as (_, place), HttpClient(proxy=f"socks5h://{place}") as client:
        with pytest.raises(UnavailableError) as refused:
            await client.request("POST", f"{stub_url}/echo", body=b"x")
        assert refused.value.stage == "proxy"


async def test_engine_b_goes_through_no_proxy(stub_url: str) -> None:
    async with HttpClient(proxy="socks5h://127.0.0.1:1", transport="b") as client:
        with pytest.raises(InvalidArgumentError, match="no proxy"):
            await client.request("POST", f"{stub_url}/echo", body=b"x")
    with pytest.raises(InvalidArgumentError, match='"a" or "b"'):
        HttpClient(transport="c")
