"""The account under pressure: a model with one lock, threads and processes, kill -9, fork."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from dure import _core, costs
from dure._testing import FakeClock
from dure.errors import BudgetExceededError, InvalidArgumentError, NotFoundError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

Account = _core.money.Account
SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None
SCOPES = ["user:1", "user:2", "org:a", "key:k"]


def limit(account: _core.money.Account, scope: str, amount: int, unit: str = "usd") -> None:
    account.set_budget(
        scope,
        limit=amount,
        unit=unit,
        window="lifetime",
        zone="UTC",
        edges_us=[],
        rolling_us=0,
        on_limit="block",
        alerts=[80],
    )


Id = tuple[int, int]


@dataclasses.dataclass
class Hold:
    """What the model knows of an open hold."""

    owner: int
    keys: list[tuple[str, str]]
    need: dict[str, int]
    cost: int
    tokens: int
    sent: bool = False
    received: int = 0
    written: int = 0  # the progress that reached the disk


class AccountMachine(RuleBasedStateMachine):
    """Two processes' accounts against one dictionary (invariants I1 to I7 of the design)."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(dir=SHM)  # every file is synced: no need for a disk
        self.clock = FakeClock()
        self.accounts = [Account.open(self.folder, self.clock) for _ in range(2)]
        self.limits: dict[tuple[str, str], int] = {}
        self.used: dict[tuple[str, str], int] = {}
        self.held: dict[tuple[str, str], int] = {}
        self.open: dict[Id, Hold] = {}
        self.spent = 0

    def teardown(self) -> None:
        assert self.report().ok
        for hold, state in list(self.open.items()):
            self.accounts[state.owner].settle_by_rule(hold)
        assert self.report().held_pico == 0  # I2
        assert all(budget["held"] == 0 for budget in self.accounts[0].budgets(""))
        self.accounts.clear()
        shutil.rmtree(self.folder)

    def report(self) -> costs.LedgerReport:
        return costs.verify_ledger(self.folder)

    @rule(scope=st.sampled_from(SCOPES), amount=st.integers(0, 9_000), tokens=st.booleans(),
          owner=st.integers(0, 1))  # fmt: skip
    def set_limit(self, scope: str, amount: int, tokens: bool, owner: int) -> None:
        key = (scope, "tokens" if tokens else "usd")
        limit(self.accounts[owner], scope, amount, key[1])
        self.limits[key] = amount
        self.used.setdefault(key, 0)
        self.held.setdefault(key, 0)

    @rule(
        scopes=st.lists(st.sampled_from(SCOPES), unique=True),
        cost=st.integers(0, 2_000),
        tokens=st.integers(0, 500),
        output=st.integers(0, 300),
        owner=st.integers(0, 1),
    )
    def reserve(self, scopes: list[str], cost: int, tokens: int, output: int, owner: int) -> None:
        need = {"usd": cost + 3 * output, "tokens": tokens + output}
        keys = [key for key in self.limits if key[0] in scopes]
        fits = all(need[k[1]] + self.used[k] + self.held[k] <= self.limits[k] for k in keys)
        try:
            hold = self.accounts[owner].reserve(
                scopes, input_pico=cost, input_tokens=tokens, output_rate=3, max_output=output
            )
        except BudgetExceededError:
            assert not fits  # I4
            return
        assert fits  # I1
        for key in keys:
            self.held[key] += need[key[1]]
        self.open[hold] = Hold(owner, keys, need, cost, tokens)

    def end(self, hold: Id, cost: int = 0, tokens: int = 0) -> None:
        state = self.open.pop(hold)
        real = {"usd": cost, "tokens": tokens}
        for key in state.keys:
            self.held[key] -= state.need[key[1]]
            self.used[key] += real[key[1]]
        self.spent += cost

    def end_by_rule(self, hold: Id, received: int) -> None:
        state = self.open[hold]
        if state.sent:
            self.end(hold, state.cost + 3 * received, state.tokens + received)
        else:
            self.end(hold)

    def draw(self, data: st.DataObject) -> tuple[Id, Hold, _core.money.Account]:
        hold = data.draw(st.sampled_from(sorted(self.open)))
        return hold, self.open[hold], self.accounts[self.open[hold].owner]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=st.integers(0, 3_000), tokens=st.integers(0, 500))
    def settle(self, data: st.DataObject, cost: int, tokens: int) -> None:
        hold, _, account = self.draw(data)
        for _ in range(data.draw(st.integers(1, 3))):  # I5
            account.settle(hold, pico=cost, input_tokens=tokens, output_tokens=0)
        self.end(hold, cost, tokens)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), received=st.integers(0, 300))
    def send(self, data: st.DataObject, received: int) -> None:
        hold, state, account = self.draw(data)
        account.sent(hold)
        account.progress(hold, received)
        state.sent = True
        state.received = max(received, state.received)
        if state.received - state.written >= 256:
            state.written = state.received

    @precondition(lambda self: self.open)
    @rule(data=st.data(), void=st.booleans())
    def give_up(self, data: st.DataObject, void: bool) -> None:
        hold, state, account = self.draw(data)
        if void and state.sent:
            with pytest.raises(InvalidArgumentError):
                account.void_hold(hold)
            return
        if void:
            account.void_hold(hold)
        else:
            account.settle_by_rule(hold)
        self.end_by_rule(hold, state.received)

    @rule(owner=st.integers(0, 1))
    def die_and_come_back(self, owner: int) -> None:
        self.accounts[owner] = self.accounts[1 - owner]  # the last reference goes: closed
        self.accounts[owner] = Account.open(self.folder, self.clock)
        for hold, state in list(self.open.items()):
            if state.owner == owner:
                self.end_by_rule(hold, state.written)  # what the ledger knows

    @invariant()
    def every_reading_is_the_model(self) -> None:
        for account in self.accounts:
            for state in account.budgets(""):
                key = (state["scope"], state["unit"])
                assert state["limit"] == self.limits[key]
                assert (state["used"], state["held"]) == (self.used[key], self.held[key])
                assert state["left"] == max(0, state["limit"] - state["used"] - state["held"])

    @invariant()
    def the_ledger_adds_up(self) -> None:
        report = self.report()
        assert report.ok, report.first_difference  # I3
        assert report.spent_pico == self.spent
        assert report.open_holds == len(self.open)


TestAccountMachine = AccountMachine.TestCase
TestAccountMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, derandomize=True
)


def run_thread(account: _core.money.Account, seed: int, calls: int, admitted: list[int]) -> None:
    chance = random.Random(seed)
    for _ in range(calls):
        cost = chance.randrange(1, 40)
        try:
            hold = account.reserve(
                ["user:1", "org:a"], input_pico=cost, input_tokens=1, output_rate=1, max_output=10
            )
        except BudgetExceededError:
            continue
        account.sent(hold)
        what = chance.randrange(4)
        if what == 0:
            account.settle_by_rule(hold)
        elif what == 1:
            account.settle_possible_spend(hold)
        else:
            account.settle(hold, pico=chance.randrange(cost + 11), input_tokens=1, output_tokens=2)
        admitted.append(cost)


def work(folder: str, seed: int, threads: int, calls: int) -> None:
    account = Account.open(folder)
    admitted: list[int] = []
    workers = [
        threading.Thread(target=run_thread, args=(account, seed * 1000 + i, calls, admitted))
        for i in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


WORK = "import sys; sys.path.insert(0, sys.argv[1]); import test_account as t; t.{}"


def start(call: str) -> subprocess.Popen[bytes]:
    code = WORK.format(call)
    return subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent)])


def spend_at_the_edge(folder: Path, processes: int, threads: int, calls: int, most: int) -> None:
    """Check I1 at every read, and at the end that nothing is held and nothing was refused early."""
    watcher = Account.open(str(folder))
    limit(watcher, "org:a", most)
    limit(watcher, "user:1", most + 10_000)
    workers = [
        start(f"work({str(folder)!r}, {seed}, {threads}, {calls})")
        for seed in range(1, processes + 1)
    ]
    readings = 0
    while any(worker.poll() is None for worker in workers):
        for state in watcher.budgets(""):
            assert state["used"] + state["held"] <= state["limit"]  # at every read
        readings += 1
        time.sleep(0.01)
    assert [worker.returncode for worker in workers] == [0] * processes
    assert readings > 0
    states = {state["scope"]: state for state in watcher.budgets("")}
    report = costs.verify_ledger(folder)
    assert report.ok, report.first_difference
    assert states["org:a"]["held"] == report.held_pico == 0
    assert states["org:a"]["used"] == states["user:1"]["used"] == report.spent_pico
    assert most - report.spent_pico < 50  # and no false refusal: less than one hold is left


def test_32_threads_in_2_processes_never_overspend(tmp_path: Path) -> None:
    spend_at_the_edge(tmp_path, 2, 32, 40, 30_000)


def spend_until_killed(folder: str, told: int) -> None:
    """Writes each acknowledged settlement to a pipe, so that the test knows what was promised."""
    account = Account.open(folder)
    while True:
        hold = account.reserve(
            ["org:a"], input_pico=100, input_tokens=10, output_rate=1, max_output=50
        )
        account.sent(hold)
        account.progress(hold, 300)
        account.settle(hold, pico=120, input_tokens=10, output_tokens=20)
        os.write(told, b"x")


def kill_one(folder: Path, after: float) -> int:
    """Let a process spend, kill it some time after its first call; return what it was told."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            spend_until_killed(str(folder), write)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        first = pipe.read(1)
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        told = len(first) + len(pipe.read())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return told


def kill_many(folder: Path, kills: int, seed: int) -> None:
    """Kill processes one after the other at random moments; then everything must add up (I1-I3)."""
    chance = random.Random(seed)
    limit(Account.open(str(folder)), "org:a", 10**15)
    acknowledged = sum(kill_one(folder, chance.random() * 0.002) for _ in range(kills))
    # What the last one left is damage to nobody: open holds, a tail that is no record.
    account = Account.open(str(folder))
    report = costs.verify_ledger(folder)
    assert report.ok, report.first_difference
    assert report.open_holds == 0
    (state,) = account.budgets("org:a")
    assert state["held"] == 0
    assert state["used"] == report.spent_pico
    # Each kill may leave one settled but untold, or sent and settled by rule.
    assert acknowledged * 120 <= report.spent_pico <= acknowledged * 120 + kills * 400
    assert acknowledged >= kills


@pytest.mark.parametrize("seed", range(10))
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    """Twenty of two hundred kills."""
    kill_many(tmp_path, 20, seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_kills(tmp_path: Path) -> None:
    """M5: 0 acknowledged and lost, 0 files that do not open."""
    for seed in range(500):
        folder = tmp_path / str(seed)
        kill_many(folder, 20, 1_000 + seed)
        shutil.rmtree(folder)


def test_a_forked_child_has_an_account_of_its_own(tmp_path: Path) -> None:
    account = Account.open(str(tmp_path))
    limit(account, "org:a", 1_000)
    hold = account.reserve(["org:a"], input_pico=600, input_tokens=1, output_rate=0, max_output=0)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(NotFoundError):
                account.settle(hold, pico=1, input_tokens=1, output_tokens=0)
            with pytest.raises(BudgetExceededError):
                account.reserve(
                    ["org:a"], input_pico=600, input_tokens=1, output_rate=0, max_output=0
                )
            mine = account.reserve(
                ["org:a"], input_pico=300, input_tokens=1, output_rate=0, max_output=0
            )
            account.sent(mine)
            account.settle(mine, pico=250, input_tokens=1, output_tokens=0)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    account.sent(hold)
    account.settle(hold, pico=500, input_tokens=1, output_tokens=0)
    (state,) = account.budgets("org:a")
    assert (state["used"], state["held"]) == (750, 0)
    assert costs.verify_ledger(tmp_path).ok


def test_shared_is_one_per_folder(tmp_path: Path) -> None:
    first = Account.shared(str(tmp_path))
    assert Account.shared(str(tmp_path)) is first
    assert first.folder == str(tmp_path)
    assert len(list((tmp_path / "ledger").glob("*.ledger"))) == 1


class TwoOrganisations(RuleBasedStateMachine):
    """I11: two organisations on one ledger are two separate ones."""

    def __init__(self) -> None:
        super().__init__()
        self.folders = [tempfile.mkdtemp(dir=SHM) for _ in range(3)]
        self.clock = FakeClock()
        self.together, *self.apart = [Account.open(f, self.clock) for f in self.folders]
        self.open: list[tuple[int, Id, Id]] = []

    def teardown(self) -> None:
        for org, both, alone in self.open:
            self.together.settle_by_rule(both)
            self.apart[org].settle_by_rule(alone)
        self.same()
        spent = [costs.verify_ledger(folder).spent_pico for folder in self.folders]
        assert spent[0] == spent[1] + spent[2]
        del self.together, self.apart
        for folder in self.folders:
            shutil.rmtree(folder)

    @rule(org=st.integers(0, 1), amount=st.integers(0, 9_000))
    def set_limit(self, org: int, amount: int) -> None:
        for account in (self.together, self.apart[org]):
            limit(account, f"org:{org}", amount)

    @rule(org=st.integers(0, 1), cost=st.integers(0, 3_000))
    def reserve(self, org: int, cost: int) -> None:
        got: list[Id | None] = []
        for account in (self.together, self.apart[org]):
            try:
                got.append(
                    account.reserve(
                        [f"org:{org}"], input_pico=cost, input_tokens=1, output_rate=0, max_output=0
                    )
                )
            except BudgetExceededError:
                got.append(None)
        both, alone = got
        assert (both is None) == (alone is None)
        if both is not None and alone is not None:
            self.open.append((org, both, alone))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=st.integers(0, 3_000), sent=st.booleans())
    def end(self, data: st.DataObject, cost: int, sent: bool) -> None:
        org, both, alone = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        for account, hold in ((self.together, both), (self.apart[org], alone)):
            if sent:
                account.sent(hold)
                account.settle(hold, pico=cost, input_tokens=1, output_tokens=0)
            else:
                account.void_hold(hold)

    @invariant()
    def same(self) -> None:
        for org, account in enumerate(self.apart):
            both = self.together.budgets(f"org:{org}")
            assert [(b["limit"], b["used"], b["held"], b["left"]) for b in both] == [
                (b["limit"], b["used"], b["held"], b["left"]) for b in account.budgets(f"org:{org}")
            ]


TestTwoOrganisations = TwoOrganisations.TestCase
TestTwoOrganisations.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True
)


def first_calls(
    account: _core.money.Account, start: threading.Barrier, admitted: list[int]
) -> None:
    start.wait()
    for _ in range(5):
        try:
            account.reserve(
                ["user:new"], input_pico=30, input_tokens=1, output_rate=0, max_output=0
            )
        except BudgetExceededError:
            return
        admitted.append(30)


def test_the_first_calls_of_a_new_user_together(tmp_path: Path) -> None:
    accounts = [Account.open(str(tmp_path)) for _ in range(2)]
    limit(accounts[0], "user:new", 1_000)
    start, admitted = threading.Barrier(16), list[int]()
    workers = [
        threading.Thread(target=first_calls, args=(accounts[i % 2], start, admitted))
        for i in range(16)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(admitted) == 990  # 33 of 30: not one more, not one less
    (state,) = accounts[1].budgets("user:new")
    assert state["held"] == 990
