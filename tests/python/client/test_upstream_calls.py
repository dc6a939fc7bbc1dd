"""The client against a real server process: loops, threads, faults, the ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dure
import pytest
from dure.testing import upstream

from .conftest import HELLO

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[upstream.Upstream]:
    with upstream.start(seed=3) as running:
        yield running


def test_hundred_loops_share_one_client(server: upstream.Upstream, tmp_path: Path) -> None:
    client = dure.AsyncClient(base_url=server.url, data=tmp_path)

    async def one() -> int:
        answer = await client.chat.completions.create(**HELLO)
        return int(answer.dure.cost_pico)

    costs = {asyncio.run(one()) for _ in range(100)}
    assert len(costs) == 1
    assert client.counters["calls"] == 100


async def test_sync_client_works_inside_a_running_loop(
    server: upstream.Upstream, tmp_path: Path
) -> None:
    client = dure.Client(base_url=server.url, data=tmp_path)
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**HELLO, stream=True)
    )
    assert text == client.chat.completions.create(**HELLO).choices[0].message.content


def test_threads_share_one_client(server: upstream.Upstream, tmp_path: Path) -> None:
    client = dure.Client(base_url=server.url, data=tmp_path)
    answers: list[str] = []

    def work() -> None:
        answers.extend(dure.generate("hi", client=client) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert len(set(answers)) == 1


async def test_ledger_equals_counters_under_faults(tmp_path: Path) -> None:
    faults = {"500": 0.03, "503": 0.03, "reset": 0.02, "cut": 0.02}
    with upstream.start(seed=11, faults=faults) as server:
        client = dure.AsyncClient(base_url=server.url, data=tmp_path)
        requests = [{**HELLO, "stream": bool(i % 2), "max_tokens": 32} for i in range(300)]
        results = await client.map(requests, 64)
    failed = [r for r in results if isinstance(r, dure.DureError)]
    answered = [r for r in results if not isinstance(r, dure.DureError)]
    assert len(failed) + len(answered) == 300
    assert len(answered) > 200
    assert all(r.choices[0].message.content for r in answered)
    report = dure.verify_ledger(tmp_path)
    assert report.ok, report.first_difference
    assert report.open_holds == 0
    assert report.spent_pico == client.counters["cost_pico"]
    assert client.counters["retries"] > 0
    assert client.counters["failures"] == len(failed)


async def test_refused_connection_says_nothing_was_accepted(tmp_path: Path) -> None:
    client = dure.AsyncClient(base_url="http://127.0.0.1:9/v1", data=tmp_path, max_retries=0)
    with pytest.raises(dure.errors.UnavailableError):
        await client.chat.completions.create(**HELLO)
    assert client.counters["cost_pico"] == 0


def sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:  # the descriptor of this very look
            continue
    return count


@pytest.mark.parametrize("engine", ["a", "b"])
def test_close_leaves_no_connection_open(engine: str, tmp_path: Path) -> None:
    with upstream.start(delay=0.2) as slow:
        before = sockets()
        client = dure.Client(base_url=slow.url, data=tmp_path, transport=engine)
        other = client.with_options(timeout=30)
        answers = client.map([HELLO] * 100, limit=100)
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        assert sockets() > before + 50, "they are kept for the next call"
        client.close()
        client.close()
        assert sockets() > before + 50, "another one may still use them"
        other.close()
        until = time.monotonic() + 20
        while sockets() > before and time.monotonic() < until:
            time.sleep(0.02)
        assert sockets() <= before
        again = dure.Client(base_url=slow.url, data=tmp_path, transport=engine)
        assert again.chat.completions.create(**HELLO).usage.completion_tokens > 0
        again.close()
