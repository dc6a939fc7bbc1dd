"""Many requests for one who waits: in order, at most so many at once, nothing lost at its end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dure.aio import HttpClient
from dure.errors import InvalidArgumentError, TruncatedStreamError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.parametrize("engine", ["a", "b"])


@asynccontextmanager
async def serving(seen: dict[str, int]) -> AsyncIterator[str]:
    """Echo each body after a moment; "cut" is cut, "never" has no answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                body = await reader.readexactly(length)
                seen["now"] += 1
                seen["most"] = max(seen["most"], seen["now"])
                seen["all"] += 1
                await asyncio.sleep(20 if body == b"never" else 0.002)
                seen["now"] -= 1
                more = 5 if body == b"cut" else 0
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (length + more))
                writer.write(body)
                if more:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def counts() -> dict[str, int]:
    return {"now": 0, "most": 0, "all": 0}


async def test_answers_keep_their_order_and_the_limit_is_kept(engine: str) -> None:
    seen = counts()
    async with serving(seen) as url, HttpClient(transport=engine) as client:
        bodies = [b"%d" % at * 100 for at in range(300)]
        bodies[7] = b"cut"
        replies = await client.map_raw(url, (body for body in bodies), 16, headers={"X-A": "b"})
    cut = replies.pop(7)
    assert isinstance(cut, TruncatedStreamError)
    assert cut.text == "cut"
    del bodies[7]
    whole: list[Any] = list(replies)
    assert [reply.content for reply in whole] == bodies
    assert {reply.status for reply in whole} == {200}
    assert 2 <= seen["most"] <= 16
    assert seen["all"] == 300


async def test_failures_stay_in_their_places(engine: str) -> None:
    async with HttpClient(transport=engine) as client:
        ends = await client.map_raw("http://127.0.0.1:1/", [b"x"] * 5)
        assert [type(end) for end in ends] == [UnavailableError] * 5
        assert await client.map_raw("http://127.0.0.1:1/", []) == []
    ends = await client.map_raw("http://127.0.0.1:1/", [b"x"] * 10_000, 3)  # closed: no recursion
    assert {type(end) for end in ends} == {UnavailableError}


async def test_a_cancel_ends_all_of_it(engine: str) -> None:
    seen = counts()
    async with serving(seen) as url, HttpClient(transport=engine) as client:
        task = asyncio.ensure_future(client.map_raw(url, [b"never"] * 50, 5))
        while seen["now"] < 5:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.request("POST", url, body=b"x")).content == b"x"
        assert seen["all"] == 6


async def test_wrong_arguments_send_nothing(engine: str) -> None:
    wrong: list[dict[str, Any]] = [
        {"bodies": [b"x", "y"]},
        {"bodies": [b"x"], "limit": 0},
        {"bodies": [b"x"], "limit": 1.5},
        {"bodies": [b"x"], "headers": {"A": b"b"}},
        {"bodies": [b"x"], "timeout": -1},
    ]
    async with HttpClient(transport=engine) as client:
        for arguments in wrong:
            with pytest.raises(InvalidArgumentError):
                await client.map_raw("http://127.0.0.1:1/", **arguments)
