"""A task goes on inside the drain that brings its answer: nothing else may change for it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from dure.aio import HttpClient
from dure.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

own: contextvars.ContextVar[int] = contextvars.ContextVar("own")


def answered(
    url: str, count: int, then: Callable[[int], Coroutine[Any, Any, object]]
) -> tuple[asyncio.AbstractEventLoop, list[asyncio.Task[object]]]:
    """Begin `count` requests whose answers come while no loop runs: the next turn finds them all.

    `then` is each task's next step.
    """
    loop = asyncio.new_event_loop()
    client = HttpClient()
    tasks: list[asyncio.Task[object]] = []

    async def ask(at: int) -> object:
        own.set(at)
        reply = await client.request("POST", url, body=b"%d" % at)
        assert reply.content == b"%d" % at
        return await then(at)

    async def begin() -> None:
        await asyncio.gather(*(client.request("POST", url, body=b"warm") for _ in range(count)))
        tasks.extend(asyncio.ensure_future(ask(at)) for at in range(count))
        await asyncio.sleep(0)  # all are sent
        loop.stop()  # at the end of this very turn

    begun = loop.create_task(begin())
    loop.run_forever()
    assert begun.done()
    time.sleep(0.3)
    assert not any(task.done() for task in tasks)
    return loop, tasks


def finish(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[object]]) -> list[object]:
    async def gathered() -> list[Any]:
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    try:
        return loop.run_until_complete(asyncio.wait_for(gathered(), 20))
    finally:
        loop.close()


def test_each_task_has_its_own_context_and_is_the_current_one(stub_url: str) -> None:
    async def then(at: int) -> object:
        before = own.get()
        own.set(at + 1000)
        await asyncio.sleep(0)
        return before, own.get(), asyncio.current_task()

    loop, tasks = answered(f"{stub_url}/echo", 10, then)
    assert finish(loop, tasks) == [(at, at + 1000, tasks[at]) for at in range(10)]


def test_what_a_step_lets_through_ends_no_other(stub_url: str) -> None:
    async def then(at: int) -> object:
        if at == 3:
            raise KeyboardInterrupt
        return at

    loop, tasks = answered(f"{stub_url}/echo", 10, then)
    sleeping = loop.create_task(asyncio.sleep(20))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(sleeping)
    sleeping.cancel()
    ends = finish(loop, [task for task in tasks if task is not tasks[3]])
    assert ends == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert isinstance(tasks[3].exception(), KeyboardInterrupt)


def test_a_step_may_cancel_a_task_whose_answer_is_there(stub_url: str) -> None:
    tasks: list[asyncio.Task[object]] = []

    async def then(at: int) -> object:
        if at == 0:
            for other in tasks[1::2]:
                assert other.cancel()
        return at

    loop, begun = answered(f"{stub_url}/echo", 10, then)
    tasks.extend(begun)
    ends = finish(loop, tasks)
    assert ends[::2] == [0, 2, 4, 6, 8]
    assert {type(end) for end in ends[1::2]} == {asyncio.CancelledError}


def test_a_step_may_run_the_loop_below_itself(stub_url: str) -> None:
    """As nest_asyncio does in notebooks: the answers that come after its own are not stuck."""
    tasks: list[asyncio.Task[object]] = []

    async def then(at: int) -> object:
        if at == 0:
            running: Any = asyncio.get_running_loop()
            task: Any = asyncio.current_task()
            asyncio.tasks._leave_task(running, task)
            end = time.monotonic() + 20
            while not all(other.done() for other in tasks[1:]) and time.monotonic() < end:
                running.call_later(0.01, lambda: None)  # so that it does not sleep for ever
                running._run_once()
            asyncio.tasks._enter_task(running, task)
            return [other.done() for other in tasks[1:]]
        return at

    loop, begun = answered(f"{stub_url}/echo", 4, then)
    tasks.extend(begun)
    assert finish(loop, tasks) == [[True, True, True], 1, 2, 3]


def test_a_step_that_raises_is_its_tasks_own(stub_url: str) -> None:
    async def then(at: int) -> object:
        if at % 2:
            raise ValueError(at)
        return at

    loop, tasks = answered(f"{stub_url}/echo", 6, then)
    told: list[object] = []
    loop.set_exception_handler(lambda _, what: told.append(what))
    ends = finish(loop, tasks)
    assert ends[::2] == [0, 2, 4]
    assert [str(end) for end in ends[1::2]] == ["1", "3", "5"]
    assert not told


async def calls(url: str) -> None:
    async with HttpClient() as client:
        ends = await asyncio.gather(
            *(client.request("POST", f"{url}/echo", body=b"%d" % at) for at in range(20)),
            client.request("GET", "http://127.0.0.1:1/"),
            return_exceptions=True,
        )
        assert [end.content for end in ends[:-1] if not isinstance(end, BaseException)] == [
            b"%d" % at for at in range(20)
        ]
        assert isinstance(ends[-1], UnavailableError)
        async with client.stream("GET", f"{url}/sse", events=True) as stream:
            assert [event.data async for event in stream] == list("01234")  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.request("GET", f"{url}/slow")
        for limit in (0.0, 0.05):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.request("GET", f"{url}/slow"), limit)


def test_tasks_written_in_python(stub_url: str) -> None:
    with asyncio.Runner() as runner:
        runner.get_loop().set_task_factory(
            lambda loop, coro, **more: asyncio.tasks._PyTask(coro, loop=loop, **more)  # type: ignore[attr-defined]
        )
        runner.run(calls(stub_url))


def test_debugging(stub_url: str) -> None:
    asyncio.run(calls(stub_url), debug=True)


def test_uvloop(stub_url: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(calls(stub_url))


def test_one_context_for_all_tasks(stub_url: str) -> None:
    context = contextvars.copy_context()

    async def main() -> list[object]:
        async with HttpClient() as client:
            loop = asyncio.get_running_loop()

            async def ask(at: int) -> bytes:
                return (await client.request("POST", f"{stub_url}/echo", body=b"%d" % at)).content

            return list(
                await asyncio.gather(
                    *(loop.create_task(ask(at), context=context) for at in range(20))
                )
            )

    with asyncio.Runner() as runner:
        assert runner.run(main(), context=context) == [b"%d" % at for at in range(20)]


FORK = """
import asyncio, os, sys, time
from dure.aio import HttpClient
from dure.errors import UnavailableError

async def main(url):
    client = HttpClient()
    await asyncio.gather(*(client.request("POST", url, body=b"x") for _ in range(4)))

    async def first():
        await client.request("POST", url, body=b"0")
        return os.fork()

    tasks = [asyncio.ensure_future(first())]
    tasks += [asyncio.ensure_future(client.request("POST", url, body=b"x")) for _ in range(3)]
    await asyncio.sleep(0)
    time.sleep(0.3)
    child, *others = await asyncio.gather(*tasks, return_exceptions=True)
    if child == 0:
        ok = all(isinstance(one, UnavailableError) and one.stage == "fork" for one in others)
        os._exit(0 if ok else 3)
    assert [one.content for one in others] == [b"x"] * 3
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif("DURE_ASAN" in os.environ, reason="no fork of a busy process there")
def test_a_step_may_fork(stub_url: str) -> None:
    """The child finds the answers that were its parent's, and neither hangs nor takes them."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, f"{stub_url}/echo"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout.split()) == (0, ["0"]), ended.stderr
