"""Budgets of policy queue: who waits is served in order, by every process, until the deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dure
import pytest
from dure import _core, costs
from dure.errors import BudgetExceededError, RequestExceedsLimitError
from dure.testing import upstream

Account = _core.money.Account
HOLD, COST, LIMIT = 1_000, 1, 3_500  # room for three at a time


def open_with_queue(folder: Path) -> _core.money.Account:
    account = Account.open(str(folder))
    account.set_budget(
        "org:a", limit=LIMIT, unit="usd", window="lifetime", zone="UTC", edges_us=[],
        rolling_us=0, on_limit="queue", alerts=[],
    )  # fmt: skip
    return account


def call(account: _core.money.Account, wait: float, amount: int = HOLD) -> tuple[int, int]:
    return account.reserve(
        ["org:a"], input_pico=amount, input_tokens=1, output_rate=0, max_output=0, wait=wait
    )


def end(account: _core.money.Account, hold: tuple[int, int]) -> None:
    account.sent(hold)
    account.settle(hold, pico=COST, input_tokens=1, output_tokens=0)


def spend(folder: str, threads: int, calls: int) -> None:
    account = Account.open(folder)

    def work() -> None:
        for _ in range(calls):
            end(account, call(account, 60))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def start(code: str) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parent)
    head = f"import sys; sys.path.insert(0, {here!r}); import test_budget_queue as t; "
    return subprocess.Popen([sys.executable, "-c", head + code])


def test_what_is_waited_for_is_told_in_order(tmp_path: Path) -> None:
    """To every process, exact up to the largest amount; whoever leaves is not told any more."""
    account, other = Account.open(str(tmp_path)), Account.open(str(tmp_path))
    most = 2**63 - 1
    account.set_budget(
        "org:a", limit=most, unit="usd", window="lifetime", zone="UTC", edges_us=[],
        rolling_us=0, on_limit="queue", alerts=[],
    )  # fmt: skip
    hold = call(account, 0, 10)
    amounts = [most - 5, 2**48 + 1, 7]
    waiters = []
    for number, amount in enumerate(amounts):
        waiters.append(threading.Thread(target=lambda n=amount: end(account, call(account, 60, n))))
        waiters[-1].start()
        deadline = time.monotonic() + 30
        while other.budgets("org:a")[0]["waiting"] != amounts[: number + 1]:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    account.void_hold(hold)
    for waiter in waiters:
        waiter.join()
    assert other.budgets("org:a")[0]["waiting"] == []


def test_everybody_is_served_among_processes(tmp_path: Path) -> None:
    account = open_with_queue(tmp_path)
    workers = [start(f"t.spend({str(tmp_path)!r}, 8, 20)") for _ in range(2)]
    while any(worker.poll() is None for worker in workers):
        (state,) = account.budgets("org:a")
        assert state["used"] + state["held"] <= LIMIT
        time.sleep(0.005)
    assert [worker.returncode for worker in workers] == [0, 0]  # nobody was refused
    (state,) = account.budgets("org:a")
    assert (state["used"], state["held"]) == (2 * 8 * 20 * COST, 0)
    report = costs.verify_ledger(tmp_path)
    assert report.ok, report.first_difference


def test_a_waiter_ends_at_its_deadline_and_leaves_nothing(tmp_path: Path) -> None:
    account = open_with_queue(tmp_path)
    holds = [call(account, 0) for _ in range(3)]
    begin = time.monotonic()
    with pytest.raises(BudgetExceededError):
        call(account, 0.2)
    assert time.monotonic() - begin >= 0.2
    with pytest.raises(RequestExceedsLimitError):  # never fits: not worth waiting for
        call(account, 60, amount=LIMIT + 1)
    assert account.totals()["open"] == 3
    end(account, holds[0])
    holds[0] = call(account, 0)
    for hold in holds:
        end(account, hold)


def wait_for_ever(folder: str) -> None:
    account = Account.open(folder)
    print("waits", flush=True)  # noqa: T201 - tells the test
    call(account, 600, amount=LIMIT)


def test_a_killed_waiter_stops_nobody_for_long(tmp_path: Path) -> None:
    account = open_with_queue(tmp_path)
    hold = call(account, 0)
    here = str(Path(__file__).parent)
    code = (
        f"import sys; sys.path.insert(0, {here!r}); import test_budget_queue as t; "
        f"t.wait_for_ever({str(tmp_path)!r})"
    )
    waiter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert waiter.stdout is not None
    assert waiter.stdout.readline()
    overtaken = True
    while overtaken:  # until it stands in the queue
        try:
            end(account, call(account, 0))
        except BudgetExceededError as error:
            assert "others wait" in str(error)  # noqa: PT017 - it ends the loop
            overtaken = False
    os.kill(waiter.pid, signal.SIGKILL)
    waiter.wait()
    waiter.stdout.close()
    end(account, call(account, 30))
    end(account, hold)
    assert costs.verify_ledger(tmp_path).held_pico == 0


def test_calls_of_a_client_wait_for_room(tmp_path: Path) -> None:
    """Five calls at once, room for one: each waits for the one before, none fails."""
    messages = [{"role": "user", "content": "hello"}]
    with upstream.start(delay=0.01) as server:
        client = dure.Client(base_url=server.url, data=tmp_path, api_key="sk-none")
        client.budgets.set("org:acme", limit="0.001100", window="lifetime", on_limit="queue")
        one = {
            "model": "gpt-4o-mini",
            "messages": messages,
            "max_tokens": 1_000,
            "dure": dure.Call(org="acme"),
        }
        answers = client.map([one] * 5, limit=5)
        client.close()
    assert [type(answer).__name__ for answer in answers] == ["ChatCompletion"] * 5, answers
    report = costs.verify_ledger(tmp_path)
    assert report.ok, report.first_difference
    assert report.held_pico == 0


async def test_a_named_price_waits_for_room_and_leaves_when_cancelled(tmp_path: Path) -> None:
    """Two images, room for one: the second waits for the first; a third is cancelled."""
    image: dict[str, Any] = {"model": "gpt-image-1", "prompt": "a hand"}
    call = dure.Call(org="acme", price="0.04", deadline=60)
    with upstream.start(delay=0.05) as server:
        client = dure.AsyncClient(base_url=server.url, data=tmp_path, api_key="sk-none")
        await client.budgets.set("org:acme", limit="0.09", window="lifetime", on_limit="queue")
        blocker = client.budgets.account.reserve(
            ["org:acme"], input_pico=50 * 10**9, input_tokens=1, output_rate=0, max_output=0
        )
        first = asyncio.create_task(client.images.generate(**image, dure=call))
        await first  # 0.05 held, 0.04 spent: full
        second = asyncio.create_task(client.images.generate(**image, dure=call))
        await asyncio.sleep(0.2)
        assert not second.done()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(client.images.generate(**image, dure=call))
        await asyncio.sleep(0.1)
        client.budgets.account.void_hold(blocker)
        assert (await third).dure.cost_pico == 40 * 10**9  # who left the queue stops nobody
        await client.close()
        sync = dure.Client(base_url=server.url, data=tmp_path, api_key="sk-none")
        with pytest.raises(BudgetExceededError):
            sync.images.generate(**image, dure=dure.Call(org="acme", price="0.04", deadline=0.3))
        sync.close()
    deadline = time.monotonic() + 30
    while (report := costs.verify_ledger(tmp_path)).open_holds:  # a thread may be on its way out
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (report.ok, report.spent_pico) == (True, 80 * 10**9)
