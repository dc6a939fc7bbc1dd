"""R4: threads of several processes spend at the edge of shared budgets while prices change, streams
run, calls are cancelled and fail, limits rise, and processes are killed and started anew.

Eight users' budgets and one organisation's. Each call names one user and the organisation, so
that at every reading the users come to the organisation, as the accounts of a bank: a wrong total
is worse than a negative one, a negative one worse than none. Now and then all spenders are stopped
(SIGSTOP), and the reading is compared with what a replay of the ledgers says. Each spender
notes what it was told, in memory that outlives it: nothing that was acknowledged may be missing,
nothing may be spent that nobody asked for.

    python -m tests.hazard.budget_storm [--threads 256] [--processes 4] [--calls 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import dataclasses
import mmap
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from dure import _core, costs
from dure.errors import BudgetExceededError

Account = _core.money.Account
USERS = 8
MODEL = "storm-model"
INPUT, OUTPUT = 20, 600  # tokens of a call, at most
MEAN = 300  # pico-dollars of a call, about
FIELDS = 3  # a thread's words: calls made, told to be spent, at most spent by the open call
START = "from tests.hazard import budget_storm as s; import sys; s.spender(*sys.argv[1:])"


def prices(changes_at_us: int) -> costs.PriceBook:
    """Return a book whose only model of ours is dearer from `changes_at_us` on."""
    at = changes_at_us // 1_000_000
    change = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    rows = [
        {"until": change, "rates": {"input.text": 1, "output.text": 1}},
        {"from": change, "rates": {"input.text": 2, "output.text": 3}},
    ]
    return costs.PriceBook(overlay={"models": [{"id": MODEL, "prices": rows}]})


class Tally:
    """What each thread was told, in a file that every process maps."""

    def __init__(self, path: str, threads: int) -> None:
        size = threads * FIELDS * 8
        if not Path(path).exists():
            Path(path).write_bytes(bytes(size))
        with Path(path).open("r+b") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), size)).cast("q")


@dataclasses.dataclass
class Call:
    """What one call asked for, and how far it came."""

    input_pico: int
    rate: int  # of one output token
    output: int  # tokens at most
    hidden: bool
    sent_us: int = 0
    received: int = 0

    @property
    def bound(self) -> int:
        return self.input_pico + self.rate * self.output


class Caller:
    """One thread of a spender: makes its calls and writes down what it was told."""

    def __init__(self, account: _core.money.Account, book: costs.PriceBook, seed: str) -> None:
        self.account, self.book = account, book.native
        self.chance = random.Random(seed)

    def run(self, words: memoryview, calls: int) -> None:
        while words[0] < calls:
            call = self.plan()
            words[2] = call.bound
            words[1] += self.make(call)
            words[2] = 0
            words[0] += 1

    def plan(self) -> Call:
        now, output = _core.money.wall_us(), self.chance.randrange(1, OUTPUT)
        input_pico, rate = _core.money.upper_bound(
            self.book, model=MODEL, at_us=now, until_us=now + 60_000_000, mode="standard",
            input_tokens=INPUT, max_output=output,
        )  # fmt: skip
        return Call(input_pico, rate, output, hidden=self.chance.random() < 0.1)

    def make(self, call: Call) -> int:
        """Return what the call cost, as it was told."""
        try:
            hold = self.account.reserve(
                [f"user:{self.chance.randrange(USERS)}", "org:bank"],
                input_pico=call.input_pico, input_tokens=INPUT, output_rate=call.rate,
                max_output=call.output, hidden_output=call.hidden,
            )  # fmt: skip
        except BudgetExceededError as error:
            if error.left is None or error.left * 10**12 >= call.bound:
                raise RuntimeError("refused, though it fits") from error
            return 0
        if self.chance.random() < 0.1:  # cancelled before its first byte
            self.account.void_hold(hold)
            return 0
        call.sent_us = _core.money.wall_us()
        self.account.sent(hold)
        while self.chance.random() < 0.4 and call.received < call.output:  # a stream
            call.received = min(call.output, call.received + self.chance.randrange(1, 400))
            self.account.progress(hold, call.received)
        return self.end(call, hold)

    def end(self, call: Call, hold: tuple[int, int]) -> int:
        way = self.chance.random()
        if way < 0.1:  # lost on the wire, then sent again
            self.account.settle_possible_spend(hold)
            return call.bound
        if way < 0.3:  # cancelled, or the stream broke
            self.account.settle_by_rule(hold)
            return call.bound if call.hidden else call.input_pico + call.rate * call.received
        output = max(call.received, self.chance.randrange(call.output + 1))
        usage = {"input": self.chance.randrange(1, INPUT + 1), "output": output}
        told: int = 0
        for _ in range(1 if way < 0.95 else 2):  # who is in doubt settles twice
            told, *_ = self.account.settle_usage(
                hold, self.book, usage, True, model=MODEL, at_us=call.sent_us
            )
        return told


def spender(folder: str, tally: str, threads: str, calls: str, seed: str, change_us: str) -> None:
    """Run one process of callers; one that follows a killed one makes the calls that are left."""
    account, book = Account.open(folder), prices(int(change_us))
    words = Tally(tally, int(threads)).words
    callers = [
        threading.Thread(
            target=Caller(account, book, f"{seed}-{i}-{words[i * FIELDS]}").run,
            args=(words[i * FIELDS : (i + 1) * FIELDS], int(calls)),
        )
        for i in range(int(threads))
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    if any(words[i * FIELDS] < int(calls) for i in range(int(threads))):
        sys.exit("a caller ended early")


@dataclasses.dataclass
class Spender:
    """A process of callers, and those that were killed in its place before."""

    folder: Path
    number: int
    threads: int
    calls: int
    seed: int
    change_us: int
    lost: int = 0  # what the calls that were open at a kill may have cost
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.path = f"{self.folder}/tally-{self.number}"
        self.words = Tally(self.path, self.threads).words
        self.start()

    def start(self) -> None:
        self.lives += 1
        told = [self.threads, self.calls, f"{self.seed}-{self.number}-{self.lives}", self.change_us]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(self.folder), self.path, *map(str, told)]
        )

    def running(self) -> bool:
        assert self.process is not None
        return self.process.poll() is None

    def signal(self, which: int) -> None:
        assert self.process is not None
        if self.running():
            self.process.send_signal(which)

    def stop(self) -> None:
        """Stop every thread of it, and wait until they stand."""
        assert self.process is not None
        self.signal(signal.SIGSTOP)
        while self.running():
            state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in "TZ":
                return
            time.sleep(0.001)

    def kill(self) -> bool:
        """Kill it and start its successor; False: it had already ended."""
        assert self.process is not None
        self.signal(signal.SIGKILL)
        if self.process.wait() != -signal.SIGKILL:
            return False
        for i in range(self.threads):
            self.lost += self.words[i * FIELDS + 2]
            self.words[i * FIELDS + 2] = 0
        self.start()
        return True

    @property
    def made(self) -> int:
        return sum(self.words[i * FIELDS] for i in range(self.threads))

    @property
    def told(self) -> int:
        return sum(self.words[i * FIELDS + 1] for i in range(self.threads))


class Bank:
    """Reads the budgets as an auditor: the worst that it finds comes first."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.limit = folder, most
        self.account = Account.open(str(folder))
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        for scope in ["org:bank", *(f"user:{user}" for user in range(USERS))]:
            self.set_limit(scope, most)

    def set_limit(self, scope: str, limit: int) -> None:
        self.account.set_budget(
            scope, limit=limit, unit="usd", window="lifetime", zone="UTC", edges_us=[],
            rolling_us=0, on_limit="block", alerts=[80, 90, 100],
        )  # fmt: skip

    def raise_limit(self, more: int) -> None:
        self.limit += more
        self.set_limit("org:bank", self.limit)

    def read(self) -> tuple[int, int]:
        """Return used and held of the organisation; write down what cannot be."""
        states = {state["scope"]: state for state in self.account.budgets("")}
        users = [state for scope, state in states.items() if scope.startswith("user:")]
        org = states.get("org:bank")
        self.seen["readings"] += 1
        if org is None or len(users) != USERS:
            self.wrong.append(f"nil: only {sorted(states)}")
            return 0, 0
        used, held = org["used"], org["held"]
        if used != sum(u["used"] for u in users) or held != sum(u["held"] for u in users):
            self.wrong.insert(0, f"wrong total: {used} and {held}, its users {users}")
        if min(used, held, *(min(u["used"], u["held"]) for u in users)) < 0:
            self.wrong.append(f"negative: {used} and {held}, its users {users}")
        if used + held > org["limit"]:
            self.wrong.append(f"overspent: {used} and {held} of {org['limit']}")
        return used, held

    def compare(self, spenders: list[Spender]) -> None:
        """While nobody moves: the counters are what a replay of the ledgers gives."""
        for spender in spenders:
            spender.stop()
        try:
            used, held = self.read()
            report = costs.verify_ledger(self.folder)
        finally:
            for spender in spenders:
                spender.signal(signal.SIGCONT)
        self.seen["compared with the ledger"] += 1
        if (used, held) != (report.spent_pico, report.held_pico) or not report.ok:
            told = f"the ledger says {report.spent_pico} and {report.held_pico}"
            self.wrong.insert(0, f"read {used} and {held}, {told}; {report.first_difference}")

    def at_rest(self, spenders: list[Spender]) -> None:
        """At the end: all that is left can be spent, and nobody's call is missing or made up."""
        used, held = self.read()
        self.account.void_hold(  # refused, were the hold of a dead process still counted
            self.account.reserve(
                ["org:bank"], input_pico=self.limit - used, input_tokens=1, output_rate=0,
                max_output=0,
            )
        )  # fmt: skip
        used, held = self.read()
        report = costs.verify_ledger(self.folder)
        if not report.ok or (used, held) != (report.spent_pico, 0) or report.open_holds:
            self.wrong.insert(0, f"at rest: {used} and {held}, {report}")
        told, lost = sum(s.told for s in spenders), sum(s.lost for s in spenders)
        if not told <= used <= told + lost:
            self.wrong.insert(0, f"told {told}, at most {lost} beside it, but spent {used}")
        self.seen["calls"] = sum(spender.made for spender in spenders)
        self.seen["spent"], self.seen["told"] = used, told
        self.seen["left"] = self.limit - used
        self.seen["of calls open at a kill, at most"] = lost


def storm(
    folder: Path, *, processes: int, threads: int, calls: int, kills: int, stops: int, seed: int
) -> Bank:
    """Let them spend; return the auditor.

    Args:
        folder: Empty; the data folder.
        processes: How many spend at a time.
        threads: Callers of each.
        calls: Of each caller.
        kills: Processes that are killed at random moments, and followed by others.
        stops: Readings that are compared with the ledgers.
        seed: Of all that is random but the time.
    """
    chance, total = random.Random(seed), processes * threads * calls
    bank = Bank(folder, total * MEAN // 2)
    change_us = _core.money.wall_us() + total * 20  # in a few seconds of a small storm
    spenders = [Spender(folder, n, threads, calls, seed, change_us) for n in range(processes)]
    plan = sorted(
        [(chance.random() * 0.7, "kill") for _ in range(kills)]
        + [(chance.random() * 0.9, "stop") for _ in range(stops)]
        + [(share, "raise") for share in (0.4, 0.6)]
    )
    while any(spender.running() for spender in spenders):
        bank.read()
        done = sum(spender.made for spender in spenders) / total
        while plan and plan[0][0] <= done:
            _, what = plan.pop(0)
            if what == "raise":
                bank.raise_limit(total * MEAN // 10)
            elif what == "stop":
                bank.compare(spenders)
            else:
                bank.seen["kills"] += spenders[chance.randrange(processes)].kill()
        time.sleep(0.01)
    bank.wrong += [
        f"spender {s.number} ended with {s.process.returncode}"
        for s in spenders
        if s.process is not None and s.process.returncode != 0
    ]
    bank.at_rest(spenders)
    return bank


def main() -> int:
    """Run one storm and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    for name, usual in [
        ("processes", 4), ("threads", 256), ("calls", 1000), ("kills", 40), ("stops", 40),
        ("seed", 1),
    ]:  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=usual)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        bank = storm(Path(folder), **vars(parser.parse_args()))
        bank.seen["seconds"] = round(time.monotonic() - begin)
    for what, count in bank.seen.items():
        sys.stdout.write(f"{count:>16,} {what}\n")
    sys.stdout.write(("\n".join(bank.wrong[:10]) or "nothing wrong") + "\n")
    return int(bool(bank.wrong))


if __name__ == "__main__":
    sys.exit(main())
