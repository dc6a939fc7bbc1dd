"""One client over many loops, threads and cancels; nothing lost, nothing left."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dure import _core, aio
from dure.aio import HttpEvent
from dure.errors import (
    DeadlineError,
    InvalidArgumentError,
    TruncatedStreamError,
    UnavailableError,
    UnsupportedError,
)

engine = "b"


@pytest.fixture(autouse=True, params=["a", "b"])
def both_engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "engine", request.param)


def HttpClient(*, traceparent: Callable[[], str] | None = None) -> aio.HttpClient:
    return aio.HttpClient(traceparent=traceparent, transport=engine)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


# A sanitizer keeps freed memory for a while.
GROWTH_KB = 65_536 if "DURE_ASAN" in os.environ else 4096


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * (
        os.sysconf("SC_PAGE_SIZE") // 1024
    )


async def echo(client: aio.HttpClient, url: str, count: int, tag: str = "") -> None:
    bodies = [f"{tag}{at}".encode() for at in range(count)]
    replies = await asyncio.gather(*(client.request("POST", url, body=body) for body in bodies))
    assert [reply.content for reply in replies] == bodies
    assert {reply.status for reply in replies} == {200}


async def test_requests_and_streams(stub_url: str) -> None:
    async with HttpClient(traceparent=lambda: "00-1-2-01") as client:
        await echo(client, f"{stub_url}/echo", 100)
        async with client.stream("GET", f"{stub_url}/sse", events=True) as stream:
            assert stream.status == 200
            assert ("Content-Type", "text/event-stream") in stream.headers
            events = [event async for event in stream]
        assert events == [HttpEvent("message", str(at), "") for at in range(5)]
        async with client.stream("GET", f"{stub_url}/big") as stream:
            size = 0
            async for part in stream:
                assert isinstance(part, bytes)
                size += len(part)
        assert size == 8 << 20


async def test_failures_are_typed(stub_url: str) -> None:
    client = HttpClient()
    with pytest.raises(TruncatedStreamError):
        await client.request("GET", f"{stub_url}/cut")
    parts = []
    with pytest.raises(TruncatedStreamError):  # noqa: PT012
        async with client.stream("GET", f"{stub_url}/cut") as stream:
            async for part in stream:
                parts.append(part)  # noqa: PERF401  # those before the error count
    assert parts == [b"half"]
    with pytest.raises(DeadlineError) as late:
        await client.request("GET", f"{stub_url}/slow", timeout=0.1)
    assert late.value.stage == "total"
    with pytest.raises(UnavailableError) as refused:
        await client.request("GET", "http://127.0.0.1:1/")
    assert (refused.value.host, refused.value.stage) == ("127.0.0.1", "connect")
    with pytest.raises(InvalidArgumentError):
        await client.request("GET", "ftp://127.0.0.1/")
    with pytest.raises(InvalidArgumentError):
        await client.request("GET", stub_url, timeout=-1)
    client.close()
    with pytest.raises(UnavailableError, match="closed"):
        await client.request("GET", stub_url)


def test_outside_a_loop_the_error_says_what_to_do(stub_url: str) -> None:
    with pytest.raises(UnsupportedError, match="sync client"):
        HttpClient().request("GET", stub_url).send(None)


def test_one_client_over_100_loops(stub_url: str) -> None:
    client = HttpClient()
    asyncio.run(echo(client, f"{stub_url}/echo", 3))
    files = open_files()
    for _ in range(100):
        asyncio.run(echo(client, f"{stub_url}/echo", 3))
    assert open_files() <= files + 2 * 3 + 2  # up to three connections, both ends here


def test_a_loop_that_closes_with_requests_in_flight(stub_url: str) -> None:
    client = HttpClient()

    async def leave() -> None:
        tasks = [
            asyncio.ensure_future(client.request("GET", f"{stub_url}/later")) for _ in range(5)
        ]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in tasks)

    for _ in range(5):
        asyncio.run(leave())
    asyncio.run(echo(client, f"{stub_url}/echo", 5))


def test_four_threads_with_four_loops_each(stub_url: str) -> None:
    client = HttpClient()

    def work(number: int) -> None:
        for at in range(4):
            asyncio.run(echo(client, f"{stub_url}/echo", 25, f"{number}-{at}-"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_uvloop(stub_url: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    client = HttpClient()
    for _ in range(3):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(echo(client, f"{stub_url}/echo", 50))


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """As the loops of other systems: no descriptor can be watched by us."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError


def test_a_loop_that_watches_no_descriptors(stub_url: str) -> None:
    client = HttpClient()
    for _ in range(2):
        with asyncio.Runner(loop_factory=LoopWithoutReaders) as runner:
            runner.run(echo(client, f"{stub_url}/echo", 50))


async def test_more_completions_than_one_drain_takes(stub_url: str) -> None:
    await echo(HttpClient(), f"{stub_url}/echo", 1500)


async def test_cancel_at_each_stage(stub_url: str) -> None:
    client = HttpClient()
    await echo(client, f"{stub_url}/echo", 1)
    for path in ("/slow", "/later", "/echo", "/sse"):
        for wait in (0.0, 0.001, 0.02):
            task = asyncio.ensure_future(client.request("GET", stub_url + path))
            await asyncio.sleep(wait)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.result().status == 200
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.request("GET", f"{stub_url}/slow")
    async with client.stream("GET", f"{stub_url}/big") as stream:
        async for _ in stream:
            break
    await echo(client, f"{stub_url}/echo", 20)


async def test_a_cancel_between_the_answer_and_the_loop(stub_url: str) -> None:
    client = HttpClient()
    await echo(client, f"{stub_url}/echo", 20)
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, what: told.append(what))
    tasks = [
        asyncio.ensure_future(client.request("POST", f"{stub_url}/echo", body=b"x"))
        for _ in range(20)
    ]
    await asyncio.sleep(0)
    time.sleep(0.3)  # all are answered, and nobody has looked
    for task in tasks[::2]:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends[::2]} == {asyncio.CancelledError}
    assert {end.status for end in ends[1::2] if not isinstance(end, BaseException)} == {200}
    assert not told
    await echo(client, f"{stub_url}/echo", 20)


@pytest.mark.parametrize("where", ["callback", "collector", "thread"])
async def test_a_client_may_be_dropped_anywhere(stub_url: str, where: str) -> None:
    files, native = open_files(), threads()
    holder = [HttpClient()]
    task = asyncio.ensure_future(holder[0].request("POST", f"{stub_url}/echo", body=b"x"))
    if where == "callback":
        task.add_done_callback(lambda _: holder.clear())
    assert (await task).content == b"x"
    del task
    if where == "collector":
        ring: list[Any] = [holder.pop()]
        ring.append(ring)
        del ring
        gc.collect()
    elif where == "thread":
        thread = threading.Thread(target=holder.clear)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
    for _ in range(200):
        if open_files() <= files + 1 and threads() <= native:  # the server's end may be open
            break
        await asyncio.sleep(0.02)
    assert threads() <= native


def test_a_sync_call_inside_a_running_loop(stub_url: str) -> None:
    core = _core.net.HttpCore("", "", "", "", "", [])

    async def inside() -> bytes:
        return core.request_sync("POST", f"{stub_url}/echo", [], b"hi", (5, 0, 0, 5)).content

    assert asyncio.run(inside()) == b"hi"


async def test_growth_is_bounded(stub_url: str) -> None:
    client = HttpClient()

    async def round_() -> None:
        await echo(client, f"{stub_url}/echo", 200)
        with pytest.raises(UnavailableError):
            await client.request("GET", "http://127.0.0.1:1/")
        async with client.stream("GET", f"{stub_url}/sse", events=True) as stream:
            async for _ in stream:
                break

    for _ in range(5):
        await round_()
    gc.collect()
    files, native, memory = open_files(), threads(), resident_kb()
    for _ in range(10):
        await round_()
    gc.collect()
    assert open_files() <= files + 2 * 200 + 3  # a round has up to 200 connections, both ends here
    assert threads() <= native
    assert resident_kb() - memory < GROWTH_KB


async def test_a_slow_reader_holds_the_server_back(stub_url: str) -> None:
    client = HttpClient()
    memory = resident_kb()
    async with client.stream("GET", f"{stub_url}/big") as stream:
        await asyncio.sleep(0.3)
        assert resident_kb() - memory < GROWTH_KB
        size = sum([len(part) async for part in stream])
    assert size == 8 << 20


def test_no_thread_before_the_first_request() -> None:
    before = threading.active_count(), threads()
    HttpClient()
    assert (threading.active_count(), threads()) == before


async def test_a_download_is_a_whole_file_or_none(stub_url: str, tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    async with HttpClient() as client:
        assert await client.download(f"{stub_url}/big", target) == 8_388_608
        assert target.read_bytes() == b"x" * 8_388_608
        with pytest.raises(TruncatedStreamError):
            await client.download(f"{stub_url}/cut", target)
    assert target.stat().st_size == 8_388_608
    assert list(tmp_path.iterdir()) == [target]
