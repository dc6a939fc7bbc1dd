"""Takes the ledger over into the database: each record once, whatever breaks off meanwhile.

The ledger is the truth and is written by native threads while calls run; this reads on where it
stopped. Rows, sums and the place that was reached are one transaction.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Table, delete, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from dure._core import money
from dure.db.base import new_id, to_json
from dure.db.engine import Database
from dure.db.tables import (
    LlmCallModel,
    OpenCallModel,
    OrgModel,
    PostedBudgetModel,
    PostedLedgerModel,
    TokenUsageAlertModel,
    UsageDailyModel,
    UsageQuarterModel,
    UsageStatisticsModel,
)
from dure.db.upserts import batches, inserts, upserts
from dure.errors import NotFoundError, StorageError
from dure.service.calling import KEY_TAG
from dure.usage import SERVED_FREE

__all__ = ["LedgerPoster", "day_start", "host_of", "hour_start", "upserts"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER_US = 15 * 60 * 1_000_000
_LOCK = 8_244_002
_NAMES = ("org_id", "user_id", "api_key_id", "model", "service")
_SUMS = ("calls", "input_tokens", "output_tokens", "tokens", "nano", "pico_rem")
_AT_ONCE = 256  # rows made before others have their turn
_MANY_SCOPES = 4096

Record = Mapping[str, Any]
HoldId = tuple[int, int]
_Cells = defaultdict[tuple[Any, ...], list[int]]
_names = itemgetter(*_NAMES)


class _Hold(NamedTuple):
    """What a RESERVE said."""

    at_us: int
    call_id: str
    attempt: int
    model: str
    service: str
    scopes: tuple[str, ...]
    posted: bool = False

    @staticmethod
    def of(kept: Mapping[str, Any]) -> _Hold:
        """Return what was kept of it in an earlier look."""
        return _Hold(**{**kept, "scopes": tuple(kept["scopes"])})

    def kept(self) -> dict[str, Any]:
        """Return what is kept of it until it ends."""
        facts = self._asdict()
        del facts["posted"]
        return facts


class _End(NamedTuple):
    """What a SETTLE, VOID, EXPIRE or ADJUST said."""

    type: str
    epoch: int
    seq: int
    hold_epoch: int
    hold_seq: int
    at_us: int
    pico: int
    tokens: int
    flags: list[str]
    units: dict[str, int]
    price_version: str

    @property
    def hold(self) -> HoldId:
        return self.hold_epoch, self.hold_seq


@dataclass(slots=True)
class _News:
    """What is new in the ledger, and up to where it was read."""

    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    holds: dict[HoldId, _Hold] = field(default_factory=dict)
    ends: list[_End] = field(default_factory=list)
    limits: list[Record] = field(default_factory=list)
    alerts: list[Record] = field(default_factory=list)


class LedgerPoster:
    """Takes over one data folder's ledger. Several processes may; each record counts once."""

    def __init__(self, database: Database, data: Path) -> None:
        self._database, self._data = database, data
        self._host = host_of(data)

    async def post(self) -> int:
        """Take over what is new; return the number of new rows.

        Raises:
            StorageError: the database cannot be written, or the ledger lacks a hold.
        """
        async with self._database.read() as work:
            before = await self._places(work)
        try:
            news = await asyncio.to_thread(self._read, before)
        except NotFoundError:
            return 0  # nobody has called yet
        if news.places == before:
            return 0
        async with self._database.write() as work:
            if not self._database.is_sqlite:
                await work.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            if await self._places(work) != before:
                return 0  # another process took it over meanwhile; the next look finds the rest
            return await self._take(work, news)

    async def _places(self, work: AsyncSession) -> dict[int, tuple[int, int]]:
        rows = await work.scalars(
            select(PostedLedgerModel).where(PostedLedgerModel.host == self._host)
        )
        return {row.epoch: (row.records, row.bytes) for row in rows}

    def _read(self, before: dict[int, tuple[int, int]]) -> _News:
        news = _News(places=dict(before))
        for path in money.ledger_files(str(self._data)):
            epoch = int(path.rsplit("/", 1)[-1].split(".")[0])
            holds, ends, rest, *place = money.read_calls_on(path, *before.get(epoch, (0, 0)))
            news.places[epoch] = (place[0], place[1])
            news.holds.update(((hold[0], hold[1]), _Hold(*hold[2:])) for hold in holds)
            news.ends.extend(map(_End._make, ends))
            for record in rest:
                (news.limits if record["type"] == "LIMIT" else news.alerts).append(record)
        return news

    async def _take(self, work: AsyncSession, news: _News) -> int:
        ends = [end for end in news.ends if "conflict" not in end.flags]
        await self._recall(work, news, ends)
        rows = []
        for some in batches(ends, _AT_ONCE):
            rows += [self._row(end, news.holds) for end in some]
            await asyncio.sleep(0)
        ended = {end.hold for end in ends if end.type != "ADJUST"}
        still = [
            {"host": self._host, "epoch": id_[0], "seq": id_[1], "hold": hold.kept()}
            for id_, hold in news.holds.items()
            if id_ not in ended and not hold.posted
        ]
        await upserts(work, _table(OpenCallModel), still, add=())
        await inserts(work, _table(LlmCallModel), rows)
        await self._add_up(work, rows)
        await self._alert(work, news)
        places = [
            {"host": self._host, "epoch": epoch, "records": place[0], "bytes": place[1]}
            for epoch, place in news.places.items()
        ]
        await upserts(work, _table(PostedLedgerModel), places, set_=("records", "bytes"))
        return len(rows)

    async def _recall(self, work: AsyncSession, news: _News, ends: list[_End]) -> None:
        """Have the holds at hand that began in an earlier look; forget those that end now."""
        missing = [end.hold for end in ends if end.hold not in news.holds]
        for some in batches(missing):
            key = tuple_(OpenCallModel.epoch, OpenCallModel.seq)
            mine = OpenCallModel.host == self._host
            found = await work.scalars(select(OpenCallModel).where(mine, key.in_(some)))
            for row in found:
                news.holds[row.epoch, row.seq] = _Hold.of(row.hold)
            await work.execute(delete(OpenCallModel).where(mine, key.in_(some)))
        corrected = [e.hold for e in ends if e.type == "ADJUST" and e.hold not in news.holds]
        for some in batches(corrected):
            key = tuple_(LlmCallModel.hold_epoch, LlmCallModel.hold_seq)
            found_calls = await work.scalars(
                select(LlmCallModel).where(LlmCallModel.host == self._host, key.in_(some))
            )
            for call in found_calls:
                news.holds[call.hold_epoch, call.hold_seq] = _Hold(
                    call.reserved_us,
                    call.call_id,
                    call.attempt,
                    call.model,
                    call.service,
                    tuple(call.scopes),
                    posted=True,
                )

    def _row(self, end: _End, holds: Mapping[HoldId, _Hold]) -> dict[str, Any]:
        hold = holds.get(end.hold)
        if hold is None:
            raise StorageError(
                f"the ledger lacks the hold {end.hold_epoch}-{end.hold_seq}: "
                "run `dure ledger verify`"
            )
        who = _who(hold.scopes)
        return {
            "host": self._host,
            "epoch": end.epoch,
            "seq": end.seq,
            "hold_epoch": end.hold_epoch,
            "hold_seq": end.hold_seq,
            "type": end.type,
            "reserved_us": hold.at_us,
            "done_us": end.at_us,
            "call_id": hold.call_id,
            "attempt": hold.attempt,
            "org_id": who.org_id,
            "user_id": who.user_id,
            "api_key_id": who.api_key_id,
            "conversation": who.conversation,
            "model": hold.model,
            "service": hold.service,
            "scopes": who.scopes,
            "units": to_json(end.units),
            "input_tokens": _sum_of(end.units, "input."),
            "output_tokens": _sum_of(end.units, "output."),
            "tokens": end.tokens,
            "cost_pico": end.pico,
            "price_version": end.price_version,
            "flags": to_json(end.flags),
        }

    async def _add_up(self, work: AsyncSession, rows: list[dict[str, Any]]) -> None:
        zones = await _zones(work, {row["org_id"] for row in rows})
        quarters: _Cells = defaultdict(_no_sums)
        for row in rows:
            quarter = row["reserved_us"] - row["reserved_us"] % _QUARTER_US
            _add(quarters[quarter, *_names(row)], _amounts(row))
        hours: _Cells = defaultdict(_no_sums)
        days: _Cells = defaultdict(_no_sums)
        for (quarter, org_id, *names), amounts in quarters.items():
            zone = zones.get(org_id, UTC)
            _add(hours[hour_start(quarter, zone), org_id, *names], amounts)
            _add(days[day_start(quarter, zone), org_id, *names], amounts)
        for model, cells in (
            (UsageQuarterModel, quarters),
            (UsageStatisticsModel, hours),
            (UsageDailyModel, days),
        ):
            values = [
                dict(zip(("start_us", *_NAMES, *_SUMS), (*key, *cell), strict=True))
                for key, cell in cells.items()
            ]
            await upserts(work, _table(model), values, add=_SUMS)

    async def _alert(self, work: AsyncSession, news: _News) -> None:
        """Write thresholds that were crossed, each once: the ledger tells of each once."""
        limits = {
            record["budget"]: {
                "host": self._host,
                "number": record["budget"],
                "scope": record["scope"],
                "unit": record["unit"],
                "maximum": record["limit"],
            }
            for record in news.limits
        }
        names = ("scope", "unit", "maximum")
        await upserts(work, _table(PostedBudgetModel), list(limits.values()), set_=names)
        if not news.alerts:
            return
        known = await work.scalars(
            select(PostedBudgetModel).where(PostedBudgetModel.host == self._host)
        )
        budgets = {row.number: row for row in known}
        orgs = set(await work.scalars(select(OrgModel.id)))
        rows = []
        for alert in news.alerts:
            budget = budgets.get(alert["budget"])
            org = None if budget is None else org_of(budget.scope)
            if budget is None or org not in orgs:
                continue  # a budget of a program on this machine, not of the service
            rows.append(
                {
                    "id": new_id("alr"),
                    "org_id": org,
                    "scope": budget.scope,
                    "window_start_us": alert["window_start_us"],
                    "percent": alert["percent"],
                    "used": budget.maximum * alert["percent"] // 100,
                    "maximum": budget.maximum,
                    "at_us": alert["at_us"],
                }
            )
        await upserts(
            work,
            _table(TokenUsageAlertModel),
            rows,
            add=(),
            key=("org_id", "scope", "window_start_us", "percent"),
        )


def org_of(scope: str) -> str | None:
    """Return the tenant that a budget's scope belongs to: `org:acme`, `user:acme/usr_1`."""
    kind, _, name = scope.partition(":")
    if kind == "org":
        return name
    org, slash, _ = name.partition("/")
    return org if slash and kind in {"user", "conversation", "tag"} else None


class _Who(NamedTuple):
    """Whose a call was, and its scopes as they are stored."""

    org_id: str
    user_id: str
    api_key_id: str
    conversation: str
    scopes: str


@lru_cache(_MANY_SCOPES)
def _who(scopes: tuple[str, ...]) -> _Who:
    """Return tenant, person, key and conversation of a call, as `calling.call_of` named them."""
    found = {"org_id": "", "user_id": "", "api_key_id": "", "conversation": ""}
    for scope in scopes:
        kind, _, name = scope.partition(":")
        if kind == "org":
            found["org_id"] = name
        elif kind == "user":
            found["user_id"] = name.partition("/")[2] or name
        elif kind == "conversation":
            found["conversation"] = name.partition("/")[2] or name
        elif kind == "tag" and name.startswith(KEY_TAG):
            found["api_key_id"] = name.removeprefix(KEY_TAG)
    return _Who(**found, scopes=to_json(scopes))


def _no_sums() -> list[int]:
    return [0] * len(_SUMS)


def _add(cell: list[int], amounts: Iterable[int]) -> None:
    for i, amount in enumerate(amounts):
        cell[i] += amount


def _amounts(row: Mapping[str, Any]) -> tuple[int, ...]:
    nano, pico_rem = divmod(row["cost_pico"], 1000)
    return (
        int(
            row["type"] == "SETTLE" and not any(f'"{flag}"' in row["flags"] for flag in SERVED_FREE)
        ),
        row["input_tokens"],
        row["output_tokens"],
        row["tokens"],
        nano,
        pico_rem,
    )


def _sum_of(units: Mapping[str, int], start: str) -> int:
    return sum(count for unit, count in units.items() if unit.startswith(start))


async def _zones(work: AsyncSession, orgs: set[str]) -> dict[str, tzinfo]:
    rows = await work.execute(select(OrgModel.id, OrgModel.zone).where(OrgModel.id.in_(orgs)))
    return {org_id: ZoneInfo(zone) for org_id, zone in rows}


def hour_start(us: int, zone: tzinfo) -> int:
    """Return the UTC start of the local hour: of two that a clock shows twice, its own."""
    local = (_EPOCH + timedelta(microseconds=us)).astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return us - into // timedelta(microseconds=1)


def day_start(us: int, zone: tzinfo) -> int:
    """Return the UTC start of the local day: its first existing instant."""
    local = (_EPOCH + timedelta(microseconds=us)).astimezone(zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone).astimezone(UTC)
    return (midnight - _EPOCH) // timedelta(microseconds=1)


def _table(model: Any) -> Table:  # noqa: ANN401 - a mapped class
    found: Table = model.__table__
    return found


def host_of(data: Path) -> str:
    """Return the name of a data folder among all that share a database; made on first use.

    Raises:
        StorageError: it cannot be written.
    """
    path = data / "host.id"
    try:
        if not path.exists():
            fresh = path.with_name(f"host.id.{secrets.token_hex(8)}")
            fresh.write_text(secrets.token_hex(8))
            with suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        return path.read_text().strip()
    except OSError as failed:
        raise StorageError(f"{path} cannot be written: {failed.strerror}") from None
