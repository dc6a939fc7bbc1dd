"""Usage rows and roll-ups: who spent what and when, from the ledger, in integers.

    book = dure.usage.UsageBook("usage.db", zone="Asia/Seoul")
    book.follow(data_folder)                     # a thread posts what is new every few seconds
    book.post(data_folder)                       # or by hand, as often: nothing counts twice
    book.totals("day", by=("org", "model"))

The ledger stays the truth; this is its index. Each attempt is one row; three levels of integer sums
stand beside the rows: quarters of an hour in UTC, local hours, local days.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from dure import _core
from dure._dollars import to_dollars
from dure.errors import DureError, InvalidArgumentError, NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from decimal import Decimal
    from types import TracebackType

__all__ = ["CallbackSink", "StructlogSink", "UsageBook", "UsageRow", "UsageSink", "UsageTotal"]

Level = Literal["quarter", "hour", "day"]
By = Literal["org", "user", "key", "model", "service"]

_log = logging.getLogger("dure")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER_US = 15 * 60 * 1_000_000
_NAMES: tuple[By, ...] = ("org", "user", "key", "model", "service")
_TABLE = {"quarter": "usage_quarters", "hour": "usage_statistics", "day": "usage_daily"}
_SUMS = "calls, tokens, nano, pico_rem"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS llm_calls (
  epoch INTEGER, seq INTEGER, hold_epoch INTEGER, hold_seq INTEGER, type TEXT,
  reserved_us INTEGER, done_us INTEGER, call_id TEXT,
  attempt INTEGER, org TEXT, user TEXT, key TEXT, model TEXT, service TEXT, scopes TEXT,
  units TEXT, tokens INTEGER, cost_pico INTEGER, held_pico INTEGER, price_version TEXT,
  flags TEXT, sent_us INTEGER, number INTEGER, PRIMARY KEY (epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_calls (
  epoch INTEGER, seq INTEGER, hold TEXT, sent_us INTEGER, PRIMARY KEY (epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sinks (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS llm_calls_by_hold ON llm_calls (hold_epoch, hold_seq);
CREATE INDEX IF NOT EXISTS llm_calls_by_time ON llm_calls (reserved_us);
CREATE TABLE IF NOT EXISTS posted (epoch INTEGER PRIMARY KEY, records INTEGER, bytes INTEGER);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
""" + "".join(
    f"""CREATE TABLE IF NOT EXISTS {table} (
  start_us INTEGER, {", ".join(f"{name} TEXT" for name in _NAMES)},
  calls INTEGER, tokens INTEGER, nano INTEGER, pico_rem INTEGER,
  PRIMARY KEY (start_us, {", ".join(_NAMES)})) WITHOUT ROWID;
"""
    for table in _TABLE.values()
)
# Columns that came later, with what a row of before has in them: its sinks took it then.
_LATER = {
    "sent_us": "0", "provider": "''", "service_tier": "''", "region": "''",
    "returned_model": "''", "request_id": "''", "execution": "''", "conversation": "''",
    "lines": "'[]'", "parent_epoch": "0", "parent_seq": "0",
}  # fmt: skip
_NUMBERS = ("sent_us", "parent_epoch", "parent_seq")
_ADDED = (
    *(
        f"ALTER TABLE llm_calls ADD COLUMN {name} {'INTEGER' if name in _NUMBERS else 'TEXT'}"
        for name in _LATER
    ),
    "ALTER TABLE llm_calls ADD COLUMN number INTEGER",
    "ALTER TABLE open_calls ADD COLUMN sent_us INTEGER",
)
_BY_NUMBER = "CREATE INDEX IF NOT EXISTS llm_calls_by_number ON llm_calls (number)"
_FIRST = (
    "epoch", "seq", "hold_epoch", "hold_seq", "type", "reserved_us", "done_us", "call_id",
    "attempt", "org", "user", "key", "model", "service", "scopes", "units", "tokens", "cost_pico",
    "held_pico", "price_version", "flags",
)  # fmt: skip
_NAMES_OF_COLUMNS = (*_FIRST, *_LATER)
_COLUMNS = ", ".join((*_FIRST, *(f"COALESCE({name}, {value})" for name, value in _LATER.items())))
_AT_ONCE = 1_000  # rows that a sink is given at a time
_JSON = ("scopes", "units", "flags", "lines")
_TUPLES = ("scopes", "flags", "lines")
# Of a RESERVE; an earlier version kept no more than the first seven.
_KEPT = (
    "at_us", "call_id", "attempt", "key_id", "model", "service", "scopes", "flags", "parent",
)  # fmt: skip
# What a call had in common with its hold; the rest of the flags its end has.
_OF_HOLD = ("hedge", "batch", "stage", "detached", "shrunk")
# No call was made for these: who asked got an answer that was there, or is another's.
SERVED_FREE = ("cached", "coalesced")
_ADD = " ON CONFLICT DO UPDATE SET " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in _SUMS.split(", ")
)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One attempt as it ended (`SETTLE`, `VOID`, `EXPIRE`), or a correction of one (`ADJUST`)."""

    epoch: int
    seq: int
    hold_epoch: int
    hold_seq: int
    type: str
    reserved_us: int
    done_us: int
    call_id: str
    attempt: int
    org: str
    user: str
    key: str
    model: str
    service: str
    scopes: tuple[str, ...]
    units: dict[str, int]
    tokens: int
    cost_pico: int
    held_pico: int
    price_version: str
    flags: tuple[str, ...]
    sent_us: int = 0  # when the first byte left; 0: none did
    provider: str = ""
    service_tier: str = ""  # as the answer said; the model and the request's id likewise
    region: str = ""
    returned_model: str = ""
    request_id: str = ""
    execution: str = ""
    conversation: str = ""
    # (unit, quantity, pico-dollars, for so many, pico-dollars of the line)
    lines: tuple[tuple[str, int, int, int, int], ...] = ()
    parent_epoch: int = 0  # the hold of which a hedge's or a stage's is a child; 0: none
    parent_seq: int = 0

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_dollars(self.cost_pico)

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self) | {"cost_usd": f"{self.cost_usd:f}"}

    @property
    def is_call(self) -> bool:
        """Whether a call was made: what roll-ups count."""
        return self.type == "SETTLE" and not set(SERVED_FREE) & set(self.flags)


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """A sum over the rows that began in one quarter, hour or day, in `by`'s order of names."""

    start: datetime
    names: tuple[str, ...]
    calls: int
    tokens: int
    cost_pico: int

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_dollars(self.cost_pico)


class _UnknownHoldError(Exception):
    pass


class UsageSink(Protocol):
    """Takes every row in order, after it was committed.

    A book remembers under the sink's name how far it got: `name` if it has one, else its class's.
    What it fails to take it is given again with the next post, other sinks are not held up. A row
    comes twice only if the process died between the sink's taking it and the book's noting so.
    """

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Take the rows, all or none; what this raises is in `UsageBook.sink_errors`."""


class CallbackSink:
    """Hands each row to a function."""

    def __init__(self, function: Callable[[UsageRow], object], *, name: str = "") -> None:
        """Keep the function; `name` tells several apart."""
        self._function = function
        self.name = name or type(self).__name__

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Call the function for each row."""
        for row in rows:
            self._function(row)


class _EventLogger(Protocol):
    def info(self, event: str, **values: object) -> object:
        """Log an event."""


class StructlogSink:
    """Logs each row as the event `llm_call` of a structlog logger, or of one that looks like it."""

    def __init__(self, logger: _EventLogger, *, name: str = "") -> None:
        """Keep the logger; `name` tells several apart."""
        self._logger = logger
        self.name = name or type(self).__name__

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Log each row."""
        for row in rows:
            self._logger.info("llm_call", **row.to_dict())


class UsageBook:
    """Usage rows and their sums in one SQLite file. Thread-safe; several processes may post."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        zone: str | None = None,
        sinks: Iterable[UsageSink] = (),
    ) -> None:
        """Open or create the file.

        Args:
            path: The SQLite file.
            zone: IANA zone of local hours and days; None: what the file has, else UTC. Another
                zone than the file's rebuilds both from the quarters.
            sinks: Take every row from now on, too.

        Raises:
            InvalidArgumentError: Unknown zone, or no zone data: install tzdata.
            StorageError: The file cannot be opened.
        """
        self._path = os.fspath(path)
        self._sinks = _named(sinks)
        self._sink_errors: dict[str, Exception] = {}
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._followers: list[threading.Thread] = []
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=60
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._prepare()
        except sqlite3.Error as error:
            raise StorageError(f"cannot open {path}: {error}") from error
        found = self._db.execute("SELECT value FROM settings WHERE name = 'zone'").fetchone()
        self._zone = str(found[0]) if found else "UTC"
        if zone is not None and zone != self._zone:
            self.set_zone(zone)

    def __enter__(self) -> UsageBook:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Post once more what is followed, and close the file."""
        self._ends.set()
        for follower in self._followers:
            follower.join()
        self._followers.clear()
        self._db.close()

    @property
    def zone(self) -> str:
        """The zone of local hours and days."""
        return self._zone

    def post(self, path: str | os.PathLike[str]) -> int:
        """Take over what is new in the ledger of a data folder; return the number of new rows.

        One transaction: a process that dies here has posted all of it or nothing. Then every sink
        is given what it has not taken yet, whoever posted it.

        Raises:
            NotFoundError: There is no ledger.
            StorageError: The file cannot be written.
        """
        with self._lock:
            rows = self._post(os.fspath(path))
            if self._sinks:
                with self._alone():
                    for name, sink in self._sinks.items():
                        self._deliver(name, sink)
        return len(rows)

    def follow(self, path: str | os.PathLike[str], *, interval: float = 5.0) -> None:
        """Post what is new in a data folder's ledger every `interval` seconds, until `close`.

        A thread does it; several processes may follow one ledger. What fails is logged by `dure`
        and tried again.
        """
        folder = os.fspath(path)
        follower = threading.Thread(
            target=self._follow, args=(folder, interval), name="dure-usage", daemon=True
        )
        self._followers.append(follower)
        follower.start()

    @property
    def sink_errors(self) -> dict[str, Exception]:
        """What each sink that is behind raised last, by its name; empty: all took everything."""
        with self._lock:
            return dict(self._sink_errors)

    def rows(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[UsageRow]:
        """Return the rows reserved from `since` to before `until`, oldest first."""
        with self._lock:
            found = self._db.execute(
                f"SELECT {_COLUMNS} FROM llm_calls WHERE reserved_us >= ? AND reserved_us < ? "
                "ORDER BY reserved_us, epoch, seq",
                _span(since, until),
            ).fetchall()
        return [_to_row(row) for row in found]

    def totals(
        self,
        level: Level = "day",
        *,
        by: Sequence[By] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[UsageTotal]:
        """Return sums by time and the names in `by`, oldest first.

        Raises:
            InvalidArgumentError: Unknown level or name.
        """
        if level not in _TABLE:
            raise InvalidArgumentError(f"level must be one of {list(_TABLE)}", argument="level")
        if unknown := set(by) - set(_NAMES):
            raise InvalidArgumentError(f"by has unknown names {sorted(unknown)}", argument="by")
        names = "".join(f", {name}" for name in by)
        with self._lock:
            found = self._db.execute(
                f"SELECT start_us{names}, SUM(calls), SUM(tokens), SUM(nano), SUM(pico_rem) "
                f"FROM {_TABLE[level]} WHERE start_us >= ? AND start_us < ? "
                f"GROUP BY start_us{names} ORDER BY start_us{names}",
                _span(since, until),
            ).fetchall()
        return [
            UsageTotal(
                _EPOCH + timedelta(microseconds=start), tuple(rest[:-4]), rest[-4], rest[-3],
                rest[-2] * 1000 + rest[-1],
            )
            for start, *rest in found
        ]  # fmt: skip

    def set_zone(self, zone: str) -> None:
        """Rebuild local hours and days from the quarters, in another zone.

        Raises:
            InvalidArgumentError: Unknown zone, or no zone data: install tzdata.
        """
        local = _zone(zone)
        with self._lock, self._transaction():
            self._db.execute("DELETE FROM usage_statistics")
            self._db.execute("DELETE FROM usage_daily")
            names = ", ".join(_NAMES)
            quarters = self._db.execute(
                f"SELECT start_us, {names}, {_SUMS} FROM usage_quarters"
            ).fetchall()
            for start, *rest in quarters:
                self._add("usage_statistics", _hour(start, local), rest)
                self._add("usage_daily", _day(start, local), rest)
            self._db.execute("INSERT OR REPLACE INTO settings VALUES ('zone', ?)", (zone,))
            self._zone = zone

    def _follow(self, folder: str, interval: float) -> None:
        ended = False
        while not ended:
            ended = self._ends.wait(interval)
            try:
                self.post(folder)
            except NotFoundError:
                pass  # no call was made yet
            except DureError:
                _log.warning("usage rows of %s are not posted", folder, exc_info=True)

    # Sinks: all below with self._lock -----------------------------------------------------------

    def _prepare(self) -> None:
        """Create what is missing, and let new sinks begin with the next row."""
        self._db.executescript(_SCHEMA)
        for change in _ADDED:
            with suppress(sqlite3.OperationalError):  # it is there
                self._db.execute(change)
        self._db.execute(_BY_NUMBER)
        for name in self._sinks:
            self._db.execute(
                "INSERT OR IGNORE INTO sinks SELECT ?, COALESCE(MAX(number), 0) FROM llm_calls",
                (name,),
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from giving the same rows to the same sinks."""
        if self._path == ":memory:":
            yield
            return
        import fcntl

        with open(f"{self._path}-sinks", "ab") as guard:  # noqa: PTH123 - any path that SQLite takes
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _deliver(self, name: str, sink: UsageSink) -> None:
        """Give the sink what it has not taken; its failure stops nobody else."""
        try:
            while rows := self._untaken(name):
                sink.write([row for _, row in rows])
                self._db.execute("UPDATE sinks SET number = ? WHERE name = ?", (rows[-1][0], name))
        except Exception as error:  # noqa: BLE001 - whatever a sink raises
            if name not in self._sink_errors:
                _log.warning("the usage sink %s is behind: %s", name, error)
            self._sink_errors[name] = error
        else:
            self._sink_errors.pop(name, None)

    def _untaken(self, name: str) -> list[tuple[int, UsageRow]]:
        found = self._db.execute(
            f"SELECT number, {_COLUMNS} FROM llm_calls WHERE number > "
            "(SELECT number FROM sinks WHERE name = ?) ORDER BY number LIMIT ?",
            (name, _AT_ONCE),
        ).fetchall()
        return [(number, _to_row(row)) for number, *row in found]

    # Posting: all below with self._lock and in a transaction ------------------------------------

    def _post(self, path: str) -> list[UsageRow]:
        for last in (False, False, True):
            try:
                with self._transaction():
                    return self._take(_core.money.ledger_files(path))
            except _UnknownHoldError as error:  # in a file begun after we looked for them
                if last:
                    raise StorageError(f"{error}: run `dure ledger verify`") from None
        raise AssertionError("unreachable")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"usage rows cannot be written: {error}") from error

    def _take(self, files: list[str]) -> list[UsageRow]:
        """Read on in every file; return what ended."""
        ends, sent = [], []
        for path in files:
            epoch = int(path.rsplit("/", 1)[-1].split(".")[0])
            place = self._db.execute(
                "SELECT records, bytes FROM posted WHERE epoch = ?", (epoch,)
            ).fetchone()
            records, *end = _core.money.read_ledger_on(path, *(place or (0, 0)))
            if tuple(end) != place:
                self._db.execute("INSERT OR REPLACE INTO posted VALUES (?, ?, ?)", (epoch, *end))
            for record in records:
                if record["type"] == "RESERVE":
                    self._db.execute(
                        "INSERT OR IGNORE INTO open_calls VALUES (?, ?, ?, NULL)",
                        (*record["id"], json.dumps({name: record.get(name) for name in _KEPT})),
                    )
                elif record["type"] == "SENT":
                    sent.append((record["at_us"], *record["id"]))
                elif record["type"] in {"SETTLE", "VOID", "EXPIRE", "ADJUST"}:
                    ends.append(record)
        # A hold may have been ended in an older file than that which made it, so only now.
        self._db.executemany("UPDATE open_calls SET sent_us = ? WHERE epoch = ? AND seq = ?", sent)
        (number,) = self._db.execute("SELECT COALESCE(MAX(number), 0) FROM llm_calls").fetchone()
        rows: list[UsageRow] = []
        for record in ends:
            if "conflict" in record["flags"]:
                continue  # a second settlement with other figures: the first stands
            row = self._row(record, self._hold(record))
            rows.append(row)
            self._count(row, number + len(rows))
        return rows

    def _hold(self, record: dict[str, object]) -> dict[str, object]:
        """Return what the RESERVE said; it is forgotten once the hold has ended."""
        hold_id = cast("tuple[int, int]", record["id"])
        if record["type"] == "ADJUST":
            found = self._db.execute(
                "SELECT sent_us, reserved_us, call_id, attempt, key, model, service, scopes, flags "
                "FROM llm_calls WHERE hold_epoch = ? AND hold_seq = ?",
                hold_id,
            ).fetchone()
            if found:
                texts = (*found[1:7], json.loads(found[7]), json.loads(found[8]), None)
                return dict(zip(_KEPT, texts, strict=True)) | {"sent_us": found[0]}
        else:
            found = self._db.execute(
                "DELETE FROM open_calls WHERE epoch = ? AND seq = ? RETURNING hold, sent_us",
                hold_id,
            ).fetchone()
            if found:
                kept = cast("dict[str, object]", json.loads(found[0]))
                return kept | {"sent_us": found[1]}
        raise _UnknownHoldError(
            f"the hold {hold_id[0]}-{hold_id[1]} of a {record['type']} is missing"
        )

    @staticmethod
    def _row(record: dict[str, object], hold: dict[str, object]) -> UsageRow:
        hold_id = cast("tuple[int, int]", record["id"])
        named = cast("list[str]", hold["scopes"])
        scopes = dict(scope.split(":", 1) for scope in reversed(named))  # the first of a kind
        flags = cast("list[str]", record["flags"])
        of_hold = cast("list[str]", hold.get("flags") or [])
        parent = cast("tuple[int, int]", hold.get("parent") or (0, 0))
        return UsageRow(
            epoch=cast("int", record["epoch"]),
            seq=cast("int", record["seq"]),
            hold_epoch=hold_id[0],
            hold_seq=hold_id[1],
            type=str(record["type"]),
            reserved_us=cast("int", hold["at_us"]),
            done_us=cast("int", record["at_us"]),
            call_id=str(hold["call_id"]),
            attempt=cast("int", hold["attempt"]),
            org=scopes.get("org", ""),
            user=scopes.get("user", ""),
            key=str(hold["key_id"]),
            model=str(hold["model"]),
            service=str(hold["service"]),
            scopes=tuple(named),
            units=cast("dict[str, int]", record.get("units", {})),
            tokens=cast("int", record["tokens"]),
            cost_pico=cast("int", record["pico"]),
            held_pico=cast("int", record.get("held_pico", 0)),
            price_version=str(record.get("price_version", "")),
            flags=(*flags, *(f for f in of_hold if f in _OF_HOLD and f not in flags)),
            sent_us=cast("int | None", hold["sent_us"]) or 0,
            provider=scopes.get("provider", ""),
            service_tier=str(record.get("service_tier", "")),
            region=str(record.get("region", "")),
            returned_model=str(record.get("returned_model", "")),
            request_id=str(record.get("request_id", "")),
            execution=scopes.get("execution", ""),
            conversation=scopes.get("conversation", ""),
            lines=tuple(cast("list[tuple[str, int, int, int, int]]", record.get("lines", []))),
            parent_epoch=parent[0],
            parent_seq=parent[1],
        )

    def _count(self, row: UsageRow, number: int) -> None:
        values = asdict(row)
        self._db.execute(
            f"INSERT INTO llm_calls ({', '.join(values)}, number) "
            f"VALUES ({', '.join('?' * (len(values) + 1))})",
            [*(json.dumps(v) if name in _JSON else v for name, v in values.items()), number],
        )
        nano, pico_rem = divmod(row.cost_pico, 1000)
        calls = int(row.is_call)
        rest = [
            row.org,
            row.user,
            row.key,
            row.model,
            row.service,
            calls,
            row.tokens,
            nano,
            pico_rem,
        ]
        local = _zone(self._zone)
        quarter = row.reserved_us - row.reserved_us % _QUARTER_US
        self._add("usage_quarters", quarter, rest)
        self._add("usage_statistics", _hour(quarter, local), rest)
        self._add("usage_daily", _day(quarter, local), rest)

    def _add(self, table: str, start_us: int, rest: Sequence[object]) -> None:
        marks = ", ".join("?" * (len(rest) + 1))
        self._db.execute(f"INSERT INTO {table} VALUES ({marks}){_ADD}", (start_us, *rest))


def _named(sinks: Iterable[UsageSink]) -> dict[str, UsageSink]:
    """Return the sinks by name; of several of one name the later ones have a number."""
    named: dict[str, UsageSink] = {}
    for sink in sinks:
        first = str(getattr(sink, "name", "")) or type(sink).__name__
        name, number = first, 1
        while name in named:
            number += 1
            name = f"{first} {number}"
        named[name] = sink
    return named


def _to_row(values: Sequence[object]) -> UsageRow:
    found = dict(zip(_NAMES_OF_COLUMNS, values, strict=True))
    for name in _JSON:
        found[name] = json.loads(cast("str", found[name]))
    for name in _TUPLES:
        found[name] = tuple(cast("list[object]", found[name]))
    found["lines"] = tuple(tuple(line) for line in cast("list[list[object]]", found["lines"]))
    return UsageRow(**cast("dict[str, Any]", found))


def _span(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    from dure.costs import to_us

    first = -(2**62) if since is None else to_us(since, "since")
    return first, 2**62 if until is None else to_us(until, "until")


def _zone(name: str) -> object:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgumentError(
            f"unknown time zone {name!r}: name one like Asia/Seoul; without zone data on this "
            "machine: pip install tzdata",
            argument="zone",
        ) from error


def start_of(level: str, us: int, zone: str) -> int:
    """Return the UTC start of the local `hour` or `day` in which a moment lies.

    Of the quarter of an hour in which it lies, that is: as the sums of a `UsageBook`.

    Raises:
        InvalidArgumentError: Unknown zone, or no zone data: install tzdata.
    """
    quarter = us - us % _QUARTER_US
    return {"hour": _hour, "day": _day}[level](quarter, _zone(zone))


def _hour(us: int, zone: object) -> int:
    """Return the UTC start of the local hour: of two that a clock shows twice, its own."""
    from datetime import tzinfo

    local = (_EPOCH + timedelta(microseconds=us)).astimezone(cast("tzinfo", zone))
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return us - into // timedelta(microseconds=1)


def _day(us: int, zone: object) -> int:
    """Return the UTC start of the local day: its first existing instant."""
    from datetime import tzinfo

    own = cast("tzinfo", zone)
    local = (_EPOCH + timedelta(microseconds=us)).astimezone(own)
    midnight = datetime(local.year, local.month, local.day, tzinfo=own).astimezone(UTC)
    return (midnight - _EPOCH) // timedelta(microseconds=1)
