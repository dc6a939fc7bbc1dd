"""Usage rows and roll-ups: who spent what and when, from the ledger, in integers.

    book = dure.usage.UsageBook("usage.db", zone="Asia/Seoul")
    book.post(data_folder)                       # as often as you like: nothing counts twice
    book.totals("day", by=("org", "model"))

The ledger stays the truth; this is its index. Each attempt is one row; three levels of integer sums
stand beside the rows: quarters of an hour in UTC, local hours, local days.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from dure import _core
from dure._dollars import to_dollars
from dure.errors import InvalidArgumentError, StorageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from decimal import Decimal
    from types import TracebackType

__all__ = ["CallbackSink", "StructlogSink", "UsageBook", "UsageRow", "UsageSink", "UsageTotal"]

Level = Literal["quarter", "hour", "day"]
By = Literal["org", "user", "key", "model", "service"]

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
  flags TEXT, PRIMARY KEY (epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_calls (
  epoch INTEGER, seq INTEGER, hold TEXT, PRIMARY KEY (epoch, seq)) WITHOUT ROWID;
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
_COLUMNS = (
    "epoch, seq, hold_epoch, hold_seq, type, reserved_us, done_us, call_id, attempt, org, user, "
    "key, model, service, scopes, units, tokens, cost_pico, held_pico, price_version, flags"
)
_JSON = ("scopes", "units", "flags")
_KEPT = ("at_us", "call_id", "attempt", "key_id", "model", "service", "scopes")  # of a RESERVE
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

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_dollars(self.cost_pico)

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self) | {"cost_usd": f"{self.cost_usd:f}"}


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
    """Takes new rows, each once while the process lives, after they were committed."""

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Take the rows; what this raises ends `UsageBook.post`."""


class CallbackSink:
    """Hands each row to a function."""

    def __init__(self, function: Callable[[UsageRow], object]) -> None:
        """Keep the function."""
        self._function = function

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Call the function for each row."""
        for row in rows:
            self._function(row)


class _EventLogger(Protocol):
    def info(self, event: str, **values: object) -> object:
        """Log an event."""


class StructlogSink:
    """Logs each row as the event `llm_call` of a structlog logger, or of one that looks like it."""

    def __init__(self, logger: _EventLogger) -> None:
        """Keep the logger."""
        self._logger = logger

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
            sinks: Take every new row, too.

        Raises:
            InvalidArgumentError: Unknown zone, or no zone data: install tzdata.
            StorageError: The file cannot be opened.
        """
        self._sinks = tuple(sinks)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=60
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
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
        """Close the file."""
        self._db.close()

    @property
    def zone(self) -> str:
        """The zone of local hours and days."""
        return self._zone

    def post(self, path: str | os.PathLike[str]) -> int:
        """Take over what is new in the ledger of a data folder; return the number of new rows.

        One transaction: a process that dies here has posted all of it or nothing.

        Raises:
            NotFoundError: There is no ledger.
            StorageError: The file cannot be written.
        """
        import os

        with self._lock:
            rows = self._post(os.fspath(path))
            for sink in self._sinks:
                sink.write(rows)
        return len(rows)

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
        ends = []
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
                        "INSERT OR IGNORE INTO open_calls VALUES (?, ?, ?)",
                        (*record["id"], json.dumps({name: record[name] for name in _KEPT})),
                    )
                elif record["type"] in {"SETTLE", "VOID", "EXPIRE", "ADJUST"}:
                    ends.append(record)
        # A hold may have been ended in an older file than that which made it, so only now.
        rows = []
        for record in ends:
            if "conflict" in record["flags"]:
                continue  # a second settlement with other figures: the first stands
            row = self._row(record, self._hold(record))
            self._count(row)
            rows.append(row)
        return rows

    def _hold(self, record: dict[str, object]) -> dict[str, object]:
        """Return what the RESERVE said; it is forgotten once the hold has ended."""
        hold_id = cast("tuple[int, int]", record["id"])
        if record["type"] == "ADJUST":
            found = self._db.execute(
                "SELECT reserved_us, call_id, attempt, key, model, service, scopes FROM llm_calls "
                "WHERE hold_epoch = ? AND hold_seq = ?",
                hold_id,
            ).fetchone()
            if found:
                return dict(zip(_KEPT, (*found[:6], json.loads(found[6])), strict=True))
        else:
            found = self._db.execute(
                "DELETE FROM open_calls WHERE epoch = ? AND seq = ? RETURNING hold", hold_id
            ).fetchone()
            if found:
                return cast("dict[str, object]", json.loads(found[0]))
        raise _UnknownHoldError(
            f"the hold {hold_id[0]}-{hold_id[1]} of a {record['type']} is missing"
        )

    @staticmethod
    def _row(record: dict[str, object], hold: dict[str, object]) -> UsageRow:
        hold_id = cast("tuple[int, int]", record["id"])
        named = cast("list[str]", hold["scopes"])
        scopes = dict(scope.split(":", 1) for scope in reversed(named))  # the first of a kind
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
            flags=tuple(cast("list[str]", record["flags"])),
        )

    def _count(self, row: UsageRow) -> None:
        values = asdict(row)
        self._db.execute(
            f"INSERT INTO llm_calls VALUES ({', '.join('?' * len(values))})",
            [json.dumps(v) if name in _JSON else v for name, v in values.items()],
        )
        nano, pico_rem = divmod(row.cost_pico, 1000)
        calls = int(row.type == "SETTLE")
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


def _to_row(values: Sequence[object]) -> UsageRow:
    found = dict(zip(_COLUMNS.split(", "), values, strict=True))
    for name in _JSON:
        found[name] = json.loads(cast("str", found[name]))
    for name in ("scopes", "flags"):
        found[name] = tuple(cast("list[str]", found[name]))
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
