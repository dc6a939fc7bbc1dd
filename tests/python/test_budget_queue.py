"""Budgets of policy queue: who waits is served in order, by every process, until the deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

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
