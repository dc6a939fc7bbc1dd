"""What admitting and settling one call costs, beside the usual ways, and whether it is exact.

Speed: reserve + sent + price + settle by the core alone (`dure_money_bench`), then from Python
beside a Redis Lua script, a conditional SQL UPDATE and check-then-record. Exactness: K threads
spend 1,000 units at the edge; what each way overspent, and what it left unused.
"""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.goals import Goals
from benchmarks.harness import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BENCH = Path("build/release/benchmarks/cpp/dure_money_bench")
LIMIT = 1_000
HOLD = 5


class Spender(Protocol):
    """One budget of one scope; each thread has its own connection to it."""

    def reserve(self, amount: int) -> object | None:
        """Return a hold, or None if it does not fit."""

    def settle(self, hold: object, amount: int, cost: int) -> None:
        """Replace the hold by what it cost."""

    def used(self) -> int:
        """Return what was spent of it."""


Connect = Callable[[], Spender]
Way = Callable[[int], Connect]


class Dure:
    """This library, from Python: two crossings and three ledger records a call."""

    def __init__(self, folder: str, limit: int) -> None:
        from dure import _core

        self._account = _core.money.Account.shared(folder)
        self._account.set_budget(
            "org:acme", limit=limit, unit="usd", window="lifetime", zone="UTC", edges_us=[],
            rolling_us=0, on_limit="block", alerts=[],
        )  # fmt: skip

    def reserve(self, amount: int) -> object | None:
        from dure.errors import BudgetExceededError

        try:
            hold = self._account.reserve(
                ["org:acme"], input_pico=amount, input_tokens=1, output_rate=0, max_output=0
            )
        except BudgetExceededError:
            return None
        self._account.sent(hold)
        return hold

    def settle(self, hold: object, amount: int, cost: int) -> None:  # noqa: ARG002
        assert isinstance(hold, tuple)
        self._account.settle(hold, pico=cost, input_tokens=1, output_tokens=0)

    def used(self) -> int:
        return int(self._account.budgets("org:acme")[0]["used"])


RESERVE = """
local held = tonumber(redis.call('HGET', KEYS[1], 'held') or '0')
local used = tonumber(redis.call('HGET', KEYS[1], 'used') or '0')
if used + held + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'held', ARGV[1])
return 1"""
SETTLE = """
redis.call('HINCRBY', KEYS[1], 'held', -ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'used', ARGV[2])"""


class Redis:
    """One Lua script to reserve, one to settle; a bare connection, no client library."""

    def __init__(self, path: str, limit: int) -> None:
        self._limit = limit
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reply = self._socket.makefile("rb")
        self._reserve = self._ask("SCRIPT", "LOAD", RESERVE)
        self._settle = self._ask("SCRIPT", "LOAD", SETTLE)

    def _ask(self, *words: object) -> str:
        parts = [str(word).encode() for word in words]
        self._socket.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
        )
        line = self._reply.readline().decode().strip()
        if line.startswith("-"):
            raise RuntimeError(line)
        if not line.startswith("$"):
            return line[1:]
        return self._reply.read(int(line[1:]) + 2).decode().strip()

    def reserve(self, amount: int) -> object | None:
        return self._ask("EVALSHA", self._reserve, 1, "b", amount, self._limit) == "1" or None

    def settle(self, hold: object, amount: int, cost: int) -> None:  # noqa: ARG002
        self._ask("EVALSHA", self._settle, 1, "b", amount, cost)

    def used(self) -> int:
        return int(self._ask("HGET", "b", "used"))


class Sql:
    """One conditional UPDATE to reserve, one to settle; SQLite, WAL, not synced."""

    def __init__(self, path: str, limit: int) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("CREATE TABLE IF NOT EXISTS b (most INT, used INT, held INT)")
        self._db.execute(
            "INSERT INTO b SELECT ?, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM b)", (limit,)
        )

    def reserve(self, amount: int) -> object | None:
        done = self._db.execute(
            "UPDATE b SET held = held + ? WHERE used + held + ? <= most", (amount, amount)
        )
        return True if done.rowcount == 1 else None

    def settle(self, hold: object, amount: int, cost: int) -> None:  # noqa: ARG002
        self._db.execute("UPDATE b SET held = held - ?, used = used + ?", (amount, cost))

    def used(self) -> int:
        return int(self._db.execute("SELECT used FROM b").fetchone()[0])


class CheckThenRecord(Sql):
    """The wrong way: look whether there is money, call, then write down what it cost."""

    def reserve(self, amount: int) -> object | None:  # noqa: ARG002
        used, most = self._db.execute("SELECT used, most FROM b").fetchone()
        return True if used < most else None

    def settle(self, hold: object, amount: int, cost: int) -> None:  # noqa: ARG002
        self._db.execute("UPDATE b SET used = used + ?", (cost,))


@contextmanager
def contenders() -> Iterator[dict[str, Way]]:
    """Yield name -> a function of a limit that returns a function which connects."""
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), iter(range(10**6))
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(folder / "redis"), "--save", "",
             "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while not (folder / "redis").exists():
            time.sleep(0.01)

        def fresh(kind: Callable[[str, int], Spender], prefix: str) -> Way:
            def connect_to(limit: int) -> Connect:
                path = str(folder / f"{prefix}{next(count)}")
                kind(path, limit)  # two that make the file at once lock each other out
                return lambda: kind(path, limit)

            return connect_to

        def fresh_redis(limit: int) -> Connect:
            Redis(str(folder / "redis"), limit)._ask("FLUSHALL")
            return lambda: Redis(str(folder / "redis"), limit)

        try:
            yield {
                "dure": fresh(Dure, "dure"),
                "redis lua script": fresh_redis,
                "conditional sql update": fresh(Sql, "sql"),
                "check, then record": fresh(CheckThenRecord, "check"),
            }
        finally:
            server.kill()
            server.wait()


def middle(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure; exact only if every round was."""
    return {
        key: value
        if key == "what"
        else all(row[key] for row in rows)
        if key == "exact"
        else statistics.median(row[key] for row in rows)
        for key, value in rows[0].items()
    }


def core() -> Table:
    """The core alone, every disk and company."""
    table = Table("one call in the core: p50, p99", "us p50", "reserve + sent + price + settle")
    rounds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            out = subprocess.check_output([str(BENCH), folder, "200000"], text=True)
        rounds.append([json.loads(line) for line in out.splitlines()])
    found = [middle(rows) for rows in zip(*rounds, strict=True)]
    base = next(row["p50_us"] for row in found if row["what"] == "mapped ledger, 1 scope")
    for row in found:
        if "p50_us" in row:
            p50, p99 = row["p50_us"], row["p99_us"]
            table.rows.append(Row(row["what"], p50, p50, p99, p50, p50 / base, row["exact"]))
    table.show()
    rates = Table("records a second", "1/s")
    for row in found:
        if "records_per_s" in row:
            rate = row["records_per_s"]
            rates.rows.append(Row(row["what"], rate, rate, rate, rate, 1, row["exact"]))
    rates.show()
    table.rows += rates.rows
    return table


def speed(connect: Connect, calls: int) -> list[float]:
    budget = connect()
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        hold = budget.reserve(HOLD)
        assert hold is not None
        budget.settle(hold, HOLD, 3)
        times.append((time.perf_counter() - begin) * 1e6)
    assert budget.used() == 3 * calls
    return sorted(times)


def from_python() -> Table:
    table = Table("one call from Python, one thread: p50, p99", "us p50", "reserve + settle")
    with contenders() as ways:
        measured = {name: speed(way(10**15), 5_000) for name, way in ways.items()}
    ours = measured["dure"][2_500]
    for name, times in measured.items():
        p50 = times[len(times) // 2]
        table.rows.append(
            Row(name, p50, p50, times[int(len(times) * 0.99)], p50, p50 / ours,
                None if name == "check, then record" else True)
        )  # fmt: skip
    table.show()
    return table


def spend(connect: Connect, threads: int) -> int:
    """Return what `threads` threads spent together until each was refused 20 times in a row."""

    def work(seed: int) -> None:
        chance, budget, refused = random.Random(seed), connect(), 0
        while refused < 20:
            hold = budget.reserve(HOLD)
            if hold is None:
                refused += 1
                continue
            refused = 0
            time.sleep(0.001)  # the call
            budget.settle(hold, HOLD, chance.randint(1, HOLD))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return int(connect().used())


def at_the_edge() -> Table:
    table = Table("overspent of 1,000 units by K threads", "units", "max: left unused")
    with contenders() as ways:
        for threads in (8, 64, 256):
            for name, way in ways.items():
                used = spend(way(LIMIT), threads)
                over, left = max(0, used - LIMIT), max(0, LIMIT - used)
                table.rows.append(Row(f"{name}, K={threads}", over, over, left, over, 1, over == 0))
    table.show()
    return table


# What is measured -> (p50 in us, p99 in us, records a second) that it should reach.
GOALS: dict[str, tuple[float | None, float | None, float | None]] = {
    "no ledger, 1 scope": (1.0, None, None),
    "no ledger, 8 scopes": (2.0, None, None),
    "no ledger, 8 threads": (None, 10.0, None),
    "written ledger, 1 scope": (3.0, 15.0, None),
    "mapped ledger, 1 scope": (1.5, None, None),
    "one write a record": (None, None, 1e6),
    "mapped records": (None, None, 4e6),
    "replay into an account": (None, None, 3e6),
}


def verdict(row: Row) -> tuple[str, str]:
    p50, p99, rate = GOALS.get(row.contender, (None, None, None))
    told, held = [], []
    for name, goal, reached in (("p50", p50, row.median), ("p99", p99, row.high)):
        if goal is not None:
            told.append(f"{name} <= {goal:g}")
            held.append(reached <= goal)
    if rate is not None:
        told.append(f">= {rate / 1e6:g} M/s")
        held.append(row.median >= rate)
    return ", ".join(told), "" if not told else "reached" if all(held) else "MISSED"


def company_of(inside: Table) -> float:
    """How many times the time of one process a call takes beside three others."""
    took = {row.contender: row.median for row in inside.rows}
    return took["4 processes, 3 idle"] / took["mapped ledger, 1 scope"]


def one_table(inside: Table, outside: Table, edge: Table) -> None:
    """Print speed and exactness together; no speed without it."""
    print(f"\n{'money':38} {'us p50':>9} {'us p99':>9} {'M rec/s':>8}  {'goal':24} {'':8} exact")
    exact = {True: "yes", False: "NO", None: "-"}
    for row in inside.rows:
        goal, held = verdict(row)
        counts = row.contender in GOALS and GOALS[row.contender][2] is not None
        counts = counts or row.contender == "verify"
        p50 = "" if counts else f"{row.median:.3f}"
        p99 = "" if counts else f"{row.high:.3f}"
        rate = f"{row.median / 1e6:.2f}" if counts else ""
        print(
            f"{row.contender:38} {p50:>9} {p99:>9} {rate:>8}  {goal:24} {held:8} {exact[row.equal]}"
        )
    ratio = company_of(inside)
    held = "reached" if ratio <= 1.5 else "MISSED"
    print(f"{'4 processes against one':38} {ratio:8.2f}x {'':>9} {'':>8}  {'<= 1.5x':24} {held}")
    print(f"\n{'from Python':38} {'us p50':>9} {'us p99':>9}   overspent of 1,000 (left unused)")
    for row in outside.rows:
        over = [r for r in edge.rows if r.contender.startswith(f"{row.contender}, K=")]
        told = "  ".join(
            f"{r.contender.rpartition(', ')[2]}: {r.median:g} ({r.high:g})" for r in over
        )
        print(f"{row.contender:38} {row.median:9.1f} {row.high:9.1f}   {told}")


def goals_of(inside: Table, edge: Table) -> Goals:
    """The goals of the core, and what must not be: overspent units."""
    goals = Goals("Goals of money")
    for row in inside.rows:
        p50, p99, rate = GOALS.get(row.contender, (None, None, None))
        if p50 is not None:
            goals.at_most(f"{row.contender}: us, p50", row.median, p50)
        if p99 is not None:
            goals.at_most(f"{row.contender}: us, p99", row.high, p99)
        if rate is not None:
            goals.at_least(f"{row.contender}: M/s", row.median / 1e6, rate / 1e6)
    goals.at_most("4 processes against one", company_of(inside), 1.5)
    for row in edge.rows:
        if row.contender.startswith("dure"):
            goals.at_most(f"{row.contender}: overspent units of 1,000", row.median, 0)
    return goals


def run() -> list[Table | Goals]:
    tables = core(), from_python(), at_the_edge()
    one_table(*tables)
    goals = goals_of(tables[0], tables[2])
    goals.show()
    return [*tables, goals]
