"""Reports and forecasts are made of the sums by local day; a report that was made stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from dure._dollars import to_dollars
from dure.db.base import new_id
from dure.db.tables import ReportModel
from dure.errors import InvalidArgumentError, NotFoundError
from dure.service.kit.clock import microseconds
from dure.service.usage.poster import day_start
from dure.service.usage.repository import UsageRepository
from dure.service.usage.service import start_of

from .forecast import forecast
from .repository import ReportRepository, SumsRepository
from .schemas import DayAhead, ForecastOut, HeatMap, Kind

__all__ = ["Span", "forecast_of", "heat_map", "make", "needed", "span_of", "totals"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOP = 10
_HISTORY = 400  # days that a forecast looks back


@dataclass(frozen=True, slots=True)
class Span:
    """A local week or month: its start, its end, and the one before."""

    before_us: int
    start_us: int
    end_us: int


def span_of(kind: str, day: date | None, zone: ZoneInfo, now: datetime) -> Span:
    """Return the week or month that a day is in; None: the last whole one.

    Raises:
        InvalidArgumentError: it is not over yet.
    """
    step: Any = "week" if kind == "weekly" else "month"
    running = start_of(_day_us(now.astimezone(zone).date(), zone), step, zone)
    start = running if day is None else start_of(_day_us(day, zone), step, zone)
    if day is None:
        start = _before(start, step, zone)
    elif start >= running:
        raise InvalidArgumentError(
            f"the {step} of {day} is not over yet", argument="day", http_status=422
        )
    return Span(_before(start, step, zone), start, _after(start, step, zone))


def _day_us(day: date, zone: ZoneInfo) -> int:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)
    return day_start(microseconds(noon.astimezone(UTC)), zone)


def _before(start_us: int, step: Any, zone: ZoneInfo) -> int:  # noqa: ANN401 - a Step
    return start_of(start_us - 12 * 3600 * 10**6, step, zone)


def _after(start_us: int, step: Any, zone: ZoneInfo) -> int:  # noqa: ANN401 - a Step
    days = 10 if step == "week" else 40
    return start_of(start_us + days * 86_400 * 10**6, step, zone)


async def make(
    work: AsyncSession,
    now: datetime,
    org_id: str,
    kind: Kind,
    day: date | None,
    by: str,
) -> tuple[ReportModel, bool]:
    """Return the report of a window, made now if it is not there; and whether it was made now.

    Raises:
        InvalidArgumentError: the window is not over yet.
    """
    zone = ZoneInfo(await UsageRepository(work, org_id).zone(org_id))
    if kind == "forecast":
        start = _day_us(now.astimezone(zone).date(), zone)
    else:
        span = span_of(kind, day, zone, now)
        start = span.start_us
    repository = ReportRepository(work, org_id)
    row = await repository.of(kind, start)
    if row is not None:
        return row, False
    if kind == "forecast":
        content = (await forecast_of(work, now, org_id)).model_dump(mode="json")
    else:
        content = await _content(work, org_id, span, zone)
    row = repository.add(
        ReportModel(
            id=new_id("rep"),
            org_id=org_id,
            kind=kind,
            window_start_us=start,
            content=content,
            created_by=by,
            created_at=now,
        )
    )
    await work.flush()
    return row, True


async def _content(work: AsyncSession, org_id: str, span: Span, zone: ZoneInfo) -> dict[str, Any]:
    sums = SumsRepository(work, org_id)
    users = await sums.between("user_id", span.start_us, span.end_us)
    models = await sums.between("model", span.start_us, span.end_us)
    before = await sums.between("model", span.before_us, span.start_us)
    days = await sums.between("start_us", span.start_us, span.end_us)
    return {
        "zone": str(zone),
        "start": _time(span.start_us).astimezone(zone).isoformat(),
        "end": _time(span.end_us).astimezone(zone).isoformat(),
        "totals": totals([_sum(models)])[0],
        "before": totals([_sum(before)])[0],
        "users": [{"user_id": row[0], **one} for row, one in _pairs(users[:_TOP])],
        "user_count": len(users),
        "models": [{"model": row[0], **one} for row, one in _pairs(models)],
        "days": [
            {"day": _time(int(row[0])).astimezone(zone).date().isoformat(), **one}
            for row, one in _pairs(sorted(days))
        ],
    }


def _pairs(rows: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
    return list(zip(rows, totals([row[1:] for row in rows]), strict=True))


def _sum(rows: Sequence[Any]) -> list[int]:
    return [sum(int(row[i]) for row in rows) for i in range(1, 7)]


def totals(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Return sums as they are shown."""
    found = []
    for row in rows:
        calls, read, written, tokens, nano, rest = (int(value) for value in row)
        pico = nano * 1000 + rest
        found.append(
            {
                "calls": calls,
                "input_tokens": read,
                "output_tokens": written,
                "tokens": tokens,
                "cost_pico": pico,
                "cost_usd": f"{to_dollars(pico):f}",
            }
        )
    return found


async def forecast_of(
    work: AsyncSession, now: datetime, org_id: str, user_id: str | None = None
) -> ForecastOut:
    """Return what the running month will come to: of the tenant, or of one person.

    Whole local days are looked at; what today has come to so far is left out of the pattern.
    """
    usage = UsageRepository(work, org_id, user_id)
    name = await usage.zone(org_id)
    zone = ZoneInfo(name)
    today = now.astimezone(zone).date()
    first = _day_us(today - timedelta(days=_HISTORY), zone)
    rows = {int(row[0]): row for row in await usage.by_day(first)}
    values = _gapless(rows, today, zone)
    month_end = _time(_after(_day_us(today.replace(day=1), zone), "month", zone))
    ahead = (month_end.astimezone(zone).date() - today).days
    found = forecast([one[0] for one in values], ahead)
    money = forecast([one[1] for one in values], ahead)
    passed = [row for start, row in rows.items() if _date(start, zone) >= today.replace(day=1)]
    so_far = [row for row in passed if _date(int(row[0]), zone) < today]
    tokens, nano = sum(int(row[4]) for row in so_far), sum(int(row[5]) for row in so_far)
    pool = None if user_id else await SumsRepository(work, org_id).pool()
    pico = round(nano + money.total[0]) * 1000
    days = [
        DayAhead(
            day=today + timedelta(days=i),
            tokens=round(found.days[i]),
            low=round(found.low[i]),
            high=round(found.high[i]),
        )
        for i in range(ahead)
    ]
    whole = [tokens + round(one) for one in found.total]
    return ForecastOut(
        zone=name,
        method=found.method,
        data_days=len(values),
        month_tokens_so_far=sum(int(row[4]) for row in passed),
        month_tokens=whole[0],
        month_tokens_low=whole[1],
        month_tokens_high=whole[2],
        month_cost_pico=pico,
        month_cost_usd=f"{to_dollars(pico):f}",
        pool_tokens=None if pool is None else pool.max_tokens,
        pool_reached_on=None if pool is None else _reached(tokens, days, pool.max_tokens),
        days=days,
    )


def _gapless(rows: dict[int, Any], today: date, zone: ZoneInfo) -> list[tuple[int, int]]:
    """Return (tokens, nano) of each whole day from the first with usage; none is left out."""
    days = {_date(start, zone): row for start, row in rows.items()}
    known = [day for day in days if day < today]
    if not known:
        return []
    begun, found = min(known), []
    for offset in range((today - begun).days):
        row = days.get(begun + timedelta(days=offset))
        found.append((int(row[4]), int(row[5])) if row else (0, 0))
    return found


def _reached(so_far: int, days: Sequence[DayAhead], maximum: int) -> date | None:
    used = so_far
    for one in days:
        used += one.tokens
        if used >= maximum:
            return one.day
    return None


async def heat_map(
    work: AsyncSession, now: datetime, org_id: str, user_id: str | None, days: int
) -> HeatMap:
    """Return tokens by weekday and local hour."""
    name = await UsageRepository(work, org_id).zone(org_id)
    zone = ZoneInfo(name)
    since = _day_us(now.astimezone(zone).date() - timedelta(days=days - 1), zone)
    cells = [[0] * 24 for _ in range(7)]
    for start, tokens in await SumsRepository(work, org_id, user_id).hours(since):
        local = _time(int(start)).astimezone(zone)
        cells[local.weekday()][local.hour] += int(tokens)
    return HeatMap(zone=name, since=_time(since), tokens=cells)


async def needed(work: AsyncSession, org_id: str, report_id: str) -> ReportModel:
    """Return a report.

    Raises:
        NotFoundError: there is no such report in the tenant.
    """
    row = await ReportRepository(work, org_id).one(report_id)
    if row is None:
        raise NotFoundError("no such report")
    return row


def _date(us: int, zone: ZoneInfo) -> date:
    return _time(us).astimezone(zone).date()


def _time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
