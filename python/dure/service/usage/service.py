"""Usage as it is shown: it reads the sums of the ledger and counts nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from dure._dollars import to_dollars
from dure.db.tables import LlmCallModel
from dure.errors import NotFoundError
from dure.service.kit.clock import microseconds

from .poster import day_start
from .repository import SUMS, UsageRepository
from .schemas import (
    CallOut,
    ConversationTotals,
    ModelTotals,
    Point,
    Statistics,
    Step,
    Totals,
    UserDetail,
    UserTotals,
    Windows,
)

__all__ = ["call_out", "detail", "listed", "statistics"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOP = 10
Sums = Sequence[int]


async def statistics(
    work: AsyncSession, now: datetime, org: str | None, home: str, days: int, step: Step
) -> Statistics:
    """Return a tenant's statistics; `org` None: of all, in the time zone of `home`."""
    repository = UsageRepository(work, org)
    zone = await repository.zone(org or home)
    since_us = _since(now, ZoneInfo(zone), days)
    tops = await repository.top_users(since_us, _TOP)
    return Statistics(
        org=org or "*",
        zone=zone,
        since=_time(since_us),
        windows=await _windows(repository, now, ZoneInfo(zone)),
        series=_series(await repository.by_day(since_us), step, ZoneInfo(zone)),
        models=_models(await repository.by_model(since_us)),
        top_users=[_user(row[:3], row[3:]) for row in tops],
    )


async def listed(
    work: AsyncSession, now: datetime, org: str, days: int, limit: int, after: str | None
) -> tuple[list[UserTotals], bool]:
    """Return the tenant's people with what they used, and whether more follow."""
    repository = UsageRepository(work, org)
    since_us = _since(now, ZoneInfo(await repository.zone(org)), days)
    rows = await repository.members(since_us, limit, after)
    return [_user(row[:3], row[3:]) for row in rows[:limit]], len(rows) > limit


async def detail(
    work: AsyncSession, now: datetime, org: str, user_id: str, days: int, step: Step
) -> UserDetail:
    """Return one person's usage in the tenant.

    Raises:
        NotFoundError: there is no such person in it.
    """
    repository = UsageRepository(work, org, user_id)
    member = await repository.member(user_id)
    if member is None:
        raise NotFoundError("no such user")
    name = await repository.zone(org)
    zone = ZoneInfo(name)
    since_us = _since(now, zone, days)
    return UserDetail(
        user=_user(member, await repository.total(since_us)),
        zone=name,
        since=_time(since_us),
        windows=await _windows(repository, now, zone),
        series=_series(await repository.by_day(since_us), step, zone),
        models=_models(await repository.by_model(since_us)),
        conversations=[_conversation(row) for row in await repository.conversations(since_us)],
    )


def call_out(row: LlmCallModel) -> CallOut:
    """Return what is shown of a call."""
    return CallOut(
        at=_time(row.reserved_us),
        call_id=row.call_id,
        attempt=row.attempt,
        type=row.type,
        model=row.model,
        service=row.service,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cost_pico=row.cost_pico,
        cost_usd=f"{to_dollars(row.cost_pico):f}",
        price_version=row.price_version,
        flags=row.flags,
    )


async def _windows(repository: UsageRepository, now: datetime, zone: tzinfo) -> Windows:
    today = _since(now, zone, 1)
    starts = (today, start_of(today, "week", zone), start_of(today, "month", zone))
    day, week, month = [_totals(await repository.total(start)) for start in starts]
    return Windows(day=day, week=week, month=month)


def _since(now: datetime, zone: tzinfo, days: int) -> int:
    """Return the start of the first of so many local days, today the last."""
    noon = now.astimezone(zone).replace(hour=12) - timedelta(days=days - 1)
    return day_start(microseconds(noon.astimezone(UTC)), zone)


def start_of(us: int, step: Step, zone: tzinfo) -> int:
    """Return the start of the day, ISO week or month that a local day belongs to."""
    noon = (_time(us) + timedelta(hours=1)).astimezone(zone).replace(hour=12)
    if step == "week":
        noon -= timedelta(days=noon.weekday())
    elif step == "month":
        noon = noon.replace(day=1)
    return day_start(microseconds(noon.astimezone(UTC)), zone)


def _series(rows: Iterable[Any], step: Step, zone: tzinfo) -> list[Point]:
    sums: dict[int, list[int]] = {}
    for row in rows:
        cell = sums.setdefault(start_of(int(row[0]), step, zone), [0] * len(SUMS))
        for i, value in enumerate(row[1:]):
            cell[i] += int(value)
    return [
        Point(start=_time(start), **_totals(cell).model_dump())
        for start, cell in sorted(sums.items())
    ]


def _models(rows: Sequence[Any]) -> list[ModelTotals]:
    whole = sum(int(row[4]) for row in rows)
    return [
        ModelTotals(
            model=row[0],
            share=int(row[4]) / whole if whole else 0.0,
            **_totals(row[1:]).model_dump(),
        )
        for row in rows
    ]


def _user(who: Sequence[Any], sums: Sums) -> UserTotals:
    return UserTotals(user_id=who[0], email=who[1], name=who[2], **_totals(sums).model_dump())


def _conversation(row: Sequence[Any]) -> ConversationTotals:
    calls, read, written, tokens, pico = (int(value) for value in row[2:])
    return ConversationTotals(
        conversation=row[0],
        last_at=_time(int(row[1])),
        **_totals((calls, read, written, tokens, *divmod(pico, 1000))).model_dump(),
    )


def _totals(sums: Sums) -> Totals:
    calls, read, written, tokens, nano, pico_rem = (int(value) for value in sums)
    pico = nano * 1000 + pico_rem
    return Totals(
        calls=calls,
        input_tokens=read,
        output_tokens=written,
        tokens=tokens,
        cost_pico=pico,
        cost_usd=f"{to_dollars(pico):f}",
    )


def _time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
