"""What is done once per fleet: reports that somebody waits for, and a look for odd usage."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import new_id
from dure.db.tables import UsageAnomalyModel
from dure.service.channels.service import Notice, announce
from dure.service.kit import leases
from dure.service.kit.clock import microseconds
from dure.service.kit.state import State
from dure.service.usage.poster import day_start, hour_start

from . import service
from .anomaly import LEAST_DAYS, Finding, odd_day, odd_hour
from .formats import html_of, text_of
from .repository import SumsRepository, active_orgs, waiting_orgs
from .schemas import Kind

__all__ = ["Watch", "find_anomalies"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEASE = timedelta(minutes=3)
_HOUR = 3600 * 10**6
_DAY = 24 * _HOUR
_WEEKS_BACK = 8
_DAYS_BACK = 28
_HOURS_LOOKED_AT = 3  # late corrections, and a fleet that slept
_EVENTS: dict[str, Kind] = {
    "usage.report.weekly": "weekly",
    "usage.report.monthly": "monthly",
    "usage.forecast": "forecast",
}


class Watch:
    """Makes what is due; one process of the fleet at a time."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._name = secrets.token_hex(8)

    async def work(self) -> None:
        """Make reports that are due, look for anomalies.

        Raises:
            StorageError: the database cannot be reached.
        """
        now = self._state.clock.now()
        async with self._state.database.write() as work:
            if not await leases.held(work, "usage-watch", self._name, now, _LEASE):
                return
        async with self._state.database.read() as work:
            waiting = await waiting_orgs(work, list(_EVENTS))
            active = await active_orgs(work, microseconds(now) - 2 * _DAY)
        for org_id, zone, event in waiting:
            if event != "usage.forecast" or now.astimezone(ZoneInfo(zone)).weekday() == 0:
                async with self._state.database.write() as work:
                    await _report(work, now, org_id, event)
        for org_id, zone in active:
            async with self._state.database.write() as work:
                await find_anomalies(work, now, org_id, ZoneInfo(zone))


async def _report(work: AsyncSession, now: datetime, org_id: str, event: str) -> None:
    kind = _EVENTS[event]
    row, is_new = await service.make(work, now, org_id, kind, None, "system")
    if is_new:
        await announce(
            work,
            now,
            Notice(
                id=row.id,
                org_id=org_id,
                event=event,
                title=f"dure: {kind} report of {org_id}",
                text=text_of(kind, row.content),
                data={"report_id": row.id, "kind": kind},
                html=html_of(kind, row.content),
            ),
        )


async def find_anomalies(
    work: AsyncSession, now: datetime, org_id: str, zone: ZoneInfo
) -> list[UsageAnomalyModel]:
    """Keep and announce what is odd in the last whole hours and days; each once."""
    found = await _odd_hours(work, now, org_id, zone) + await _odd_days(work, now, org_id, zone)
    known = await work.execute(
        select(UsageAnomalyModel.user_id, UsageAnomalyModel.start_us, UsageAnomalyModel.reason)
        .where(UsageAnomalyModel.org_id == org_id)
        .where(UsageAnomalyModel.start_us.in_([start for _, start, _ in found]))
    )
    seen = {tuple(row) for row in known}
    fresh = []
    for user_id, start, finding in found:
        if (user_id, start, finding.reason) in seen:
            continue
        row = UsageAnomalyModel(
            id=new_id("ano"),
            org_id=org_id,
            user_id=user_id,
            start_us=start,
            reason=finding.reason,
            expected=finding.expected,
            seen=finding.seen,
            score=str(finding.score),
            created_at=now,
        )
        work.add(row)
        await announce(work, now, _notice(row))
        fresh.append(row)
    return fresh


Odd = tuple[str, int, Finding]


async def _odd_hours(work: AsyncSession, now: datetime, org_id: str, zone: ZoneInfo) -> list[Odd]:
    sums = SumsRepository(work, org_id)
    running = hour_start(microseconds(now), zone)
    hours = [running - n * _HOUR for n in range(1, _HOURS_LOOKED_AT + 1)]
    weeks = {hour: _same_hours(hour, zone) for hour in hours}
    wanted = {start for hour in hours for start in (hour, *weeks[hour])}
    tokens: dict[tuple[str, int], int] = defaultdict(int)
    for user_id, start, count in await sums.by_user_at(sorted(wanted)):
        tokens[user_id, int(start)] += int(count)
    users = sorted({user for user, start in tokens if start in weeks})
    begun = await sums.begun(users)
    found = []
    for user in users:
        for hour in hours:
            before = [tokens[user, one] for one in weeks[hour] if one >= begun[user]]
            finding = odd_hour(before, tokens[user, hour])
            if finding is not None:
                found.append((user, hour, finding))
    return found


def _same_hours(hour: int, zone: ZoneInfo) -> list[int]:
    """Return the same local hour of the weeks before, by what the clock on the wall showed."""
    local = (_EPOCH + timedelta(microseconds=hour)).astimezone(zone)
    found = []
    for week in range(1, _WEEKS_BACK + 1):
        then = (local.replace(tzinfo=None) - timedelta(weeks=week)).replace(tzinfo=zone)
        found.append(hour_start(microseconds(then.astimezone(UTC)), zone))
    return found


async def _odd_days(work: AsyncSession, now: datetime, org_id: str, zone: ZoneInfo) -> list[Odd]:
    today = day_start(microseconds(now), zone)
    yesterday = day_start(today - _DAY // 2, zone)
    first = day_start(yesterday - _DAYS_BACK * _DAY, zone)
    rows = await SumsRepository(work, org_id).by_user_and_day(first, today)
    days: dict[str, dict[int, int]] = defaultdict(dict)
    for user_id, start, nano in rows:
        days[user_id][int(start)] = int(nano) * 1000
    found = []
    for user, spent in days.items():
        if yesterday not in spent:
            continue
        before = [spent.get(day, 0) for day in _days_between(min(spent), yesterday, zone)]
        finding = odd_day(before, spent[yesterday]) if len(before) >= LEAST_DAYS else None
        if finding is not None:
            found.append((user, yesterday, finding))
    return found


def _days_between(first: int, end: int, zone: ZoneInfo) -> Iterable[int]:
    """Give the local days from the first to before the end, by their starts."""
    day = first
    while day < end:
        yield day
        day = day_start(day + _DAY + _DAY // 2, zone)


def _notice(row: UsageAnomalyModel) -> Notice:
    start = (_EPOCH + timedelta(microseconds=row.start_us)).isoformat()
    unit = "tokens" if row.reason == "hour" else "pico-dollars"
    who = row.user_id or "programs"
    return Notice(
        id=row.id,
        org_id=row.org_id,
        event="usage.anomaly",
        title=f"Unusual usage of {who}",
        text=f"The {row.reason} from {start}: {row.seen:,} {unit}, usual are {row.expected:,}.",
        data={
            "user_id": row.user_id,
            "start": start,
            "reason": row.reason,
            "expected": row.expected,
            "seen": row.seen,
        },
    )
