"""Usage rows and roll-ups: what the ledger says, by quarter, local hour and local day."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from dure import _core, costs, usage
from dure._testing import FakeClock
from dure.errors import InvalidArgumentError, NotFoundError, StorageError
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

Account = _core.money.Account
SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None
BOOK = _core.catalog.PriceBook([])
ORGS = ["a", "b"]


def call(account: _core.money.Account, org: str, user: str, cost: int, end: str) -> tuple[int, int]:
    hold = account.reserve(
        [f"user:{user}", f"org:{org}"], input_pico=500, input_tokens=9, output_rate=7, max_output=20
    )
    if end == "void":
        account.void_hold(hold)
        return hold
    account.sent(hold)
    if end == "settle":
        account.settle(hold, pico=cost, input_tokens=9, output_tokens=3)
    elif end == "rule":
        account.settle_by_rule(hold)
    return hold


def test_each_attempt_is_one_row(tmp_path: Path) -> None:
    account = Account.open(str(tmp_path))
    hold = call(account, "a", "7", 1_234, "settle")
    call(account, "a", "7", 0, "void")
    account.adjust(hold, pico=-34, tokens=1)
    account.settle(hold, pico=9, input_tokens=1, output_tokens=1)  # a conflict: told, not counted
    account.record(BOOK, ["org:b"], model="gpt-4o", service="chat", input_tokens=10,
                   output_tokens=1, at_us=_core.money.wall_us())  # fmt: skip
    with usage.UsageBook(tmp_path / "usage.db") as book:
        assert book.post(tmp_path) == 4
        assert book.post(tmp_path) == 0
        rows = book.rows()
        assert [row.type for row in rows] == ["SETTLE", "ADJUST", "VOID", "SETTLE"]
        first = rows[0]
        assert (first.org, first.user, first.cost_pico, first.tokens) == ("a", "7", 1_234, 12)
        assert first.units == {"input.text": 9, "output.text": 3}
        assert (first.hold_epoch, first.hold_seq) == hold == (rows[1].hold_epoch, rows[1].hold_seq)
        assert rows[1].reserved_us == first.reserved_us
        assert (rows[3].org, rows[3].model, rows[3].service) == ("b", "gpt-4o", "chat")
        (a,) = book.totals("day", by=("org", "user"))[:1]
        assert (a.names, a.calls, a.tokens, a.cost_pico) == (("a", "7"), 1, 13, 1_200)
        assert first.to_dict()["cost_usd"] == "0.000000001234"
        assert first.reserved_us <= first.sent_us <= first.done_us
        assert rows[1].sent_us == first.sent_us
        assert rows[2].sent_us == 0  # it was never sent


def test_rows_say_flags_and_the_holds_of_the_dead(tmp_path: Path) -> None:
    """An open hold is no row; its end in another process's file is."""
    doomed = Account.open(str(tmp_path))
    call(doomed, "a", "1", 0, "open")
    with usage.UsageBook(tmp_path / "usage.db") as book:
        assert book.post(tmp_path) == 0
        del doomed
        account = Account.open(str(tmp_path))
        assert book.post(tmp_path) == 1
        (row,) = book.rows()
        assert row.flags == ("estimated", "recovered")
        assert (row.hold_epoch, row.epoch) == (1, 2)
        assert account.totals()["open"] == 0


def test_rows_say_what_the_answer_said_and_whose_children_they_are(tmp_path: Path) -> None:
    """Provider, tier, region, returned model, request id, lines; hedge and stage of a call."""
    account = Account.open(str(tmp_path))
    scopes = ["user:7", "org:a", "execution:e", "conversation:c", "provider:openai"]
    bound: dict[str, Any] = {
        "input_pico": 10**9,
        "input_tokens": 10,
        "output_rate": 10**6,
        "max_output": 100,
    }
    at = _core.money.wall_us()
    first = account.reserve(scopes, **bound, model="gpt-4o-mini", call_id="call-1")
    hedge = account.reserve(scopes, **bound, call_id="call-1", flags=1 << 6, parent=first)
    for hold in (first, hedge):
        account.sent(hold)
    found = account.settle_usage(
        first, BOOK, {"input": 1_000, "output": 500}, True, model="gpt-4o-mini", at_us=at,
        service_tier="default", region="eu", returned_model="gpt-4o-mini-2024-07-18",
        request_id="req_1",
    )  # fmt: skip
    account.settle_by_rule(hedge)
    account.adjust(first, pico=-1, tokens=0)
    with usage.UsageBook(tmp_path / "usage.db") as book:
        assert book.post(tmp_path) == 3
        rows = {row.type + str(row.hold_seq): row for row in book.rows()}
        row = rows[f"SETTLE{first[1]}"]
        assert (row.provider, row.execution, row.conversation) == ("openai", "e", "c")
        assert (row.service_tier, row.region) == ("default", "eu")
        assert (row.returned_model, row.request_id) == ("gpt-4o-mini-2024-07-18", "req_1")
        assert list(row.lines) == found[1]
        assert sum(line[4] for line in row.lines) == row.cost_pico == found[0] == 450_000_000
        assert (row.parent_epoch, row.flags) == (0, ())
        copy = rows[f"SETTLE{hedge[1]}"]
        assert (copy.parent_epoch, copy.parent_seq) == first
        assert copy.flags == ("estimated", "hedge")
        assert copy.call_id == row.call_id == "call-1"
        assert rows[f"ADJUST{first[1]}"].provider == "openai"


def test_sinks_take_each_row_once(tmp_path: Path) -> None:
    account, seen = Account.open(str(tmp_path)), []

    class Logger:
        def info(self, event: str, **values: object) -> None:
            seen.append((event, values["cost_pico"]))

    taken: list[usage.UsageRow] = []
    sinks: list[usage.UsageSink] = [usage.StructlogSink(Logger()), usage.CallbackSink(taken.append)]
    with usage.UsageBook(tmp_path / "usage.db", sinks=sinks) as book:
        call(account, "a", "1", 5, "settle")
        book.post(tmp_path)
        call(account, "a", "1", 6, "settle")
        book.post(tmp_path)
        book.post(tmp_path)
        assert seen == [("llm_call", 5), ("llm_call", 6)]
        assert taken == book.rows()


class Flaky:
    """A sink that can be down."""

    def __init__(self, name: str) -> None:
        self.name, self.down, self.taken = name, False, list[int]()

    def write(self, rows: Sequence[usage.UsageRow]) -> None:
        if self.down:
            raise ConnectionError(f"{self.name} is down")
        self.taken += [row.cost_pico for row in rows]


def test_a_sink_that_fails_is_given_its_rows_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And holds nobody up: each sink has a place of its own, also after a restart."""
    account, sinks = Account.open(str(tmp_path)), [Flaky("a"), Flaky("b")]
    path = tmp_path / "usage.db"
    with usage.UsageBook(path, sinks=sinks) as book:
        call(account, "a", "1", 1, "settle")
        sinks[0].down = True
        assert book.post(tmp_path) == 1
        assert (sinks[0].taken, sinks[1].taken) == ([], [1])
        assert str(book.sink_errors["a"]) == "a is down"
        call(account, "a", "1", 2, "settle")
        book.post(tmp_path)
        assert [record.getMessage() for record in caplog.records] == [
            "the usage sink a is behind: a is down"  # told once
        ]
        sinks[0].down, sinks[1].down = False, True
        call(account, "a", "1", 3, "settle")
        book.post(tmp_path)
        assert (sinks[0].taken, sinks[1].taken) == ([1, 2, 3], [1, 2])
        assert list(book.sink_errors) == ["b"]
    again = [Flaky("a"), Flaky("b"), Flaky("new")]
    with usage.UsageBook(path, sinks=again) as book:
        assert book.post(tmp_path) == 0
        call(account, "a", "1", 4, "settle")
        book.post(tmp_path)
        assert [sink.taken for sink in again] == [[4], [3, 4], [4]]
        assert book.sink_errors == {}


def test_sinks_take_what_others_posted_and_many_rows(tmp_path: Path) -> None:
    """Two of one name stand apart; a thousand rows and more come in order."""
    account, first, second = Account.open(str(tmp_path)), list[int](), list[int]()
    sinks = [
        usage.CallbackSink(lambda row: first.append(row.cost_pico)),
        usage.CallbackSink(lambda row: second.append(row.cost_pico)),
    ]
    path = tmp_path / "usage.db"
    with usage.UsageBook(path, sinks=sinks) as book, usage.UsageBook(path) as other:
        for number in range(1_234):
            call(account, "a", "1", number, "settle")
        assert other.post(tmp_path) == 1_234
        assert book.post(tmp_path) == 0
        assert first == second == list(range(1_234))


def test_a_followed_ledger_is_posted_by_itself(tmp_path: Path) -> None:
    """Also what was written last: closing posts once more."""
    with usage.UsageBook(tmp_path / "usage.db") as book:
        book.follow(tmp_path, interval=0.01)  # there is no ledger yet
        account = Account.open(str(tmp_path))
        call(account, "a", "1", 5, "settle")
        deadline = time.monotonic() + 30
        while not book.rows():
            assert time.monotonic() < deadline
            time.sleep(0.005)
    with usage.UsageBook(tmp_path / "usage.db") as book:
        book.follow(tmp_path, interval=3600)
        call(account, "a", "1", 6, "settle")
    with usage.UsageBook(tmp_path / "usage.db") as book:
        assert [row.cost_pico for row in book.rows()] == [5, 6]
    assert not [thread for thread in threading.enumerate() if thread.name == "dure-usage"]


def test_a_file_of_an_earlier_form_is_read_on(tmp_path: Path) -> None:
    account, path = Account.open(str(tmp_path)), tmp_path / "usage.db"
    call(account, "a", "1", 1, "settle")
    with usage.UsageBook(path) as book:
        book.post(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX llm_calls_by_number")
        db.execute("DROP TABLE sinks")
        for column in ("llm_calls.number", "llm_calls.sent_us", "open_calls.sent_us"):
            table, _, name = column.partition(".")
            db.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    db.close()
    sink = Flaky("a")
    with usage.UsageBook(path, sinks=[sink]) as book:
        call(account, "a", "1", 2, "settle")
        assert book.post(tmp_path) == 1
        assert [(row.cost_pico, row.sent_us > 0) for row in book.rows()] == [(1, False), (2, True)]
        assert sink.taken == [2]


def test_two_posters_count_nothing_twice(tmp_path: Path) -> None:
    account = Account.open(str(tmp_path))
    books = [usage.UsageBook(tmp_path / "usage.db") for _ in range(2)]
    posted = 0
    for number in range(20):
        call(account, "a", "1", number, "settle")
        posted += books[number % 2].post(tmp_path)
    assert posted == 20
    assert sum(total.cost_pico for total in books[0].totals()) == sum(range(20))
    for book in books:
        book.close()


def local_day(us: int, zone: str) -> datetime:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    day = at.astimezone(ZoneInfo(zone)).date()
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


ZONES = ["UTC", "Asia/Seoul", "Asia/Kathmandu", "America/New_York", "America/Sao_Paulo",
         "Australia/Lord_Howe", "Africa/Cairo"]  # fmt: skip


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(ORGS),
            st.sampled_from(["1", "2"]),
            st.integers(0, 10**13),
            st.sampled_from(["settle", "rule", "void", "adjust"]),
            st.integers(0, 40_000),
        ),
        max_size=25,
    ),
    zones=st.tuples(st.sampled_from(ZONES), st.sampled_from(ZONES)),
    start=st.integers(0, 400),
)
def test_every_level_sums_to_the_rows(
    steps: list[tuple[str, str, int, str, int]], zones: tuple[str, str], start: int
) -> None:
    """I7: calls = user-day = org-month in integers, at any moment, across zone changes."""
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        clock = FakeClock()
        clock.advance(start * 86_400)
        account = Account.open(folder, clock)
        book = usage.UsageBook(f"{folder}/usage.db", zone=zones[0])
        expected: Counter[tuple[datetime, str, str]] = Counter()
        settled: list[tuple[tuple[int, int], int, str, str]] = []
        left: list[int] = []  # of what each was settled with
        for number, (org, user, cost, end, seconds) in enumerate(steps):
            at = clock.wall_us()
            if end == "adjust":
                if settled:
                    which = cost % len(settled)
                    hold, at, org, user = settled[which]  # noqa: PLW2901
                    back = min(cost, left[which])
                    left[which] -= back
                    account.adjust(hold, pico=-back, tokens=0)
                    expected[local_day(at, zones[1]), org, user] -= back
            else:
                hold = call(account, org, user, cost, end)
                if end != "void":
                    settled.append((hold, at, org, user))
                    paid = account_pico(cost, end)
                    left.append(paid)
                    expected[local_day(at, zones[1]), org, user] += paid
            clock.advance(float(seconds))
            if number % 5 == 0:
                book.post(folder)
        book.post(folder)
        book.set_zone(zones[1])
        days = book.totals("day", by=("org", "user"))
        found = {(day.start, *day.names): day.cost_pico for day in days}
        assert {key: cost for key, cost in found.items() if cost} == {
            key: cost for key, cost in expected.items() if cost
        }
        spent = costs.verify_ledger(folder).spent_pico
        assert spent == sum(row.cost_pico for row in book.rows())
        for level in ("quarter", "hour", "day"):
            assert sum(total.cost_pico for total in book.totals(level)) == spent
        for day in days:
            hours = book.totals(
                "hour", by=("org", "user"), since=day.start, until=next_day(day.start, zones[1])
            )
            assert sum(h.cost_pico for h in hours if h.names == day.names) == day.cost_pico
        book.close()


def account_pico(cost: int, end: str) -> int:
    """Return what a call comes to: by rule the input alone, nothing was received."""
    return cost if end == "settle" else 500


def next_day(start: datetime, zone: str) -> datetime:
    day = (start + timedelta(minutes=1)).astimezone(ZoneInfo(zone)).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def test_a_post_that_fails_posts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account.open(str(tmp_path))
    for number in range(5):
        call(account, "a", "1", number, "settle")
    book, left = usage.UsageBook(tmp_path / "usage.db"), [3]
    count = book._count

    def failing(row: usage.UsageRow, number: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise sqlite3.OperationalError("disk full")
        count(row, number)

    monkeypatch.setattr(book, "_count", failing)
    with pytest.raises(StorageError, match="disk full"):
        book.post(tmp_path)
    monkeypatch.undo()
    assert book.rows() == []
    assert book.post(tmp_path) == 5
    assert sum(total.cost_pico for total in book.totals()) == 10
    book.close()


def test_spans_and_bad_arguments(tmp_path: Path) -> None:
    account = Account.open(str(tmp_path))
    call(account, "a", "1", random.Random(1).randrange(10), "settle")
    with usage.UsageBook(tmp_path / "usage.db", zone="Asia/Seoul") as book:
        book.post(tmp_path)
        now = datetime.fromtimestamp(_core.money.wall_us() / 1e6, UTC)
        assert len(book.rows(since=now - timedelta(hours=1), until=now + timedelta(hours=1))) == 1
        assert book.rows(until=now - timedelta(hours=1)) == []
        for wrong in ({"level": "year"}, {"by": ["planet"]}, {"since": datetime(2026, 1, 1)}):
            with pytest.raises(InvalidArgumentError):
                book.totals(**wrong)
        with pytest.raises(InvalidArgumentError, match="zone"):
            book.set_zone("Nowhere/Land")
        with pytest.raises(NotFoundError):
            book.post(tmp_path / "nothing")
    with usage.UsageBook(tmp_path / "usage.db") as book:
        assert book.zone == "Asia/Seoul"
    with pytest.raises(StorageError):
        usage.UsageBook(tmp_path / "no" / "folder.db")
