"""Whose answer it is, where it may come from, and what a wrong argument brings to light."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from dure.aio import HttpClient, Timeout
from dure.errors import DeadlineError, DureError, InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
STRAY = HEAD % 5 + b"stray"
SECRET = "sk-canary-0123456789"


@asynccontextmanager
async def serving(
    answer: Answer, *, context: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncIterator[str]:
    """Answer each request (its head is given) on TCP, or on the Unix socket of `path`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await answer(await reader.readuntil(b"\r\n\r\n"), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(serve, path)
        url = "http://model"
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        scheme = "https" if context else "http"
        url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield url
    finally:
        server.close()


@pytest.mark.parametrize("place", ["later", "behind the body"])
async def test_an_unasked_reply_over_tls_is_never_an_answer(place: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    said = asyncio.Event()

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        own = b"own" + head.split()[1]
        stray = b"" if said.is_set() else STRAY
        writer.write(HEAD % len(own))
        await writer.drain()
        await asyncio.sleep(0.02)
        if place == "later":
            writer.write(own)
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(stray)
        else:
            writer.write(own + stray)  # one record: what is left of it is in nobody's socket
        await writer.drain()
        said.set()

    async with serving(answer, context=context) as url:
        client = HttpClient(ca=tmp_path / "ca.pem")
        for at in range(4):
            reply = await client.request("GET", f"{url}/{at}")
            assert reply.content == b"own/%d" % at
            assert reply.reused_connection == (at > 1)
            await said.wait()
        await client.aclose()


@pytest.mark.parametrize("engine", ["a", "b"])
async def test_a_unix_socket_and_the_traceparent(engine: str, tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(HEAD % 2 + b"ok")

    path = tmp_path / "model.sock"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(answer, path=path) as url:
        client = HttpClient(uds=path, transport=engine, traceparent=lambda: trace)
        assert (await client.request("GET", url + "/x")).content == b"ok"
        async with client.stream("GET", url + "/x") as stream:
            assert [piece async for piece in stream] == [b"ok"]
        await client.aclose()
    assert len(heads) == 2
    for head in heads:
        assert head.lower().count(b"traceparent: " + trace.encode()) == 1
        assert b"host: model\r\n" in head.lower()
    client = HttpClient(uds=tmp_path / "none.sock", transport=engine)
    with pytest.raises(UnavailableError, match=r"none\.sock") as caught:
        await client.request("GET", "http://model/")
    assert caught.value.tried == str(tmp_path / "none.sock")
    await client.aclose()


@pytest.mark.parametrize("engine", ["a", "b"])
async def test_each_limit_of_a_timeout_is_kept(engine: str) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/half" in head:
            writer.write(HEAD % 4 + b"ha")

    async with serving(answer) as url:
        client = HttpClient(transport=engine, timeout=Timeout(total=30, idle=30, first_byte=0.05))
        with pytest.raises(DeadlineError) as caught:
            await client.request("GET", url + "/none")
        assert caught.value.stage == "first_byte"
        with pytest.raises(DeadlineError) as caught:
            await client.request("GET", url + "/half", timeout=Timeout(total=30, idle=0.05))
        assert caught.value.stage == "idle"
        with pytest.raises(DeadlineError) as caught:
            await client.request("GET", url + "/half", timeout=0.05)
        assert caught.value.stage == "total"
        await client.aclose()


@pytest.mark.parametrize("engine", ["a", "b"])
async def test_a_stream_has_no_end_of_its_own(engine: str) -> None:
    size, part = 257 << 20, bytes(1 << 20)

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        assert head
        writer.write(HEAD % size)
        for _ in range(size // len(part)):
            writer.write(part)
            await writer.drain()

    async with serving(answer) as url:
        client = HttpClient(transport=engine)
        got = 0
        async with client.stream("GET", url) as stream:
            async for some in stream:
                got += len(some)
        assert got == size
        await client.aclose()


WRONG: dict[str, dict[str, Any]] = {
    "half a character in a header": {"headers": {"Authorization": SECRET + "\ud800"}},
    "a header that is bytes": {"headers": {"Authorization": SECRET.encode()}},
    "a name that is no text": {"headers": {1: SECRET}},
    "a body of text": {"body": SECRET},
    "a body that may change": {"body": bytearray(SECRET.encode())},
    "a timeout of text": {"timeout": SECRET},
    "a timeout of texts": {"timeout": Timeout.__new__(Timeout)},
    "a timeout that is no number": {"timeout": float("nan")},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_argument_is_typed_and_shows_nothing(wrong: str) -> None:
    async with HttpClient(timeout=5) as client:
        arguments: dict[str, Any] = {"headers": {"Authorization": SECRET}, **WRONG[wrong]}
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: client.request("POST", "http://127.0.0.1:1/", **arguments),
            lambda: client.stream("POST", "http://127.0.0.1:1/", **arguments).__aenter__(),
        ]
        for way in ways:
            with pytest.raises(InvalidArgumentError) as caught:
                await way()
            assert caught.value.argument == next(iter(WRONG[wrong]))
            shown = f"{caught.value!r} {caught.value} {caught.value.to_dict()}"
            chain = f"{caught.value.__cause__!r} {caught.value.__context__!r}"
            assert SECRET not in shown + chain
        for url in ("http://127.0.0.1:1/\ud800", 5):
            await _is_refused(client.request, url)
            await _is_refused(client.stream, url)


async def _is_refused(way: Any, url: object) -> None:  # noqa: ANN401
    with pytest.raises(InvalidArgumentError) as caught:
        await _begun(way("GET", url, headers={"Authorization": SECRET}))
    assert SECRET not in repr(caught.value)


async def _begun(what: Any) -> None:  # noqa: ANN401
    await (what.__aenter__() if hasattr(what, "__aenter__") else what)


@pytest.mark.parametrize("key", [object(), b"bytes", (1, 2), lambda: 0])
async def test_a_key_that_is_no_text_is_named_without_its_address(key: object) -> None:
    async with HttpClient() as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await client.request("POST", "http://127.0.0.1:1/", json={"a": {key: 1}})
    assert caught.value.path == f"a.<{type(key).__name__}>"
    assert " at 0x" not in str(caught.value)


def run_without_asyncio(coroutine: Any) -> BaseException:  # noqa: ANN401
    """Step a coroutine as another library would, without an asyncio loop."""
    try:
        coroutine.send(None)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("it waits for something that will never come")


def test_another_librarys_loop_is_told_what_to_do() -> None:
    async def request() -> None:
        async with HttpClient() as client:
            await client.request("GET", "http://127.0.0.1:1/")

    async def stream() -> None:
        async with HttpClient() as client, client.stream("GET", "http://127.0.0.1:1/"):
            pass

    for use in (request, stream):
        error = run_without_asyncio(use())
        assert isinstance(error, DureError)
        assert "asyncio.run" in str(error)
