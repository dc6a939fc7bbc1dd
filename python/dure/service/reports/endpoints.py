"""Reports, forecast, anomalies, exports, pools: `/api/admin/usage/...`; own heat map, forecast."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from dure.costs import Budget
from dure.db.engine import Database
from dure.db.tables import ReportModel
from dure.errors import InvalidArgumentError, NotFoundError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Subject, Who
from dure.service.errors import ForbiddenError
from dure.service.kit import audit
from dure.service.kit.clock import microseconds
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork
from dure.service.limits import service as limits
from dure.service.usage.poster import day_start
from dure.service.usage.repository import UsageRepository
from dure.service.usage.schemas import Totals
from dure.service.usage.service import call_out

from . import service
from .formats import csv_of, html_of, to_csv, to_json
from .repository import (
    AnomalyRepository,
    ExportRepository,
    PoolRepository,
    ReportRepository,
    SumsRepository,
)
from .schemas import (
    AnomalyList,
    AnomalyOut,
    ConversationDetail,
    ForecastOut,
    Format,
    Group,
    HeatMap,
    Kind,
    PoolList,
    PoolOut,
    ReportCreate,
    ReportList,
    ReportOut,
    ReportRow,
)

router = APIRouter(prefix="/api/v1", tags=["reports"], route_class=PolicyRoute)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GROUPS = {
    "day": ("org_id", "start_us"),
    "user": ("org_id", "user_id"),
    "model": ("org_id", "model"),
    "org": ("org_id",),
}
_SHOWN = {"org_id": "org", "start_us": "day", "user_id": "user", "model": "model"}
_FIGURES = ("calls", "input_tokens", "output_tokens", "tokens", "cost_pico", "cost_usd")
_LONGEST = 3700  # days of one export
Days = Annotated[int, Query(ge=1, le=400, description="Local days, today the last.")]
Org = Annotated[str | None, Query(max_length=64, description="Operators: `*` is all.")]


@router.post("/admin/usage/reports", status_code=201)
@requires(role="admin", scope="usage:read", owner="org")
async def make_report(who: Who, asked: ReportCreate, request: Request) -> ReportOut:
    """Make a weekly, monthly or forecast report; one that is there is returned as it is."""
    state = state_of(request)
    async with state.database.write() as work:
        now = state.clock.now()
        row, is_new = await service.make(work, now, who.org_id, asked.kind, asked.day, who.actor)
        if is_new:
            await audit.tell(work, state_of(request), who, "report.make", row.id, kind=row.kind)
    return _report_out(row)


@router.get("/admin/usage/reports")
@requires(role="admin", scope="usage:read", owner="org")
async def list_reports(
    who: Who,
    work: ReadWork,
    kind: Annotated[Kind | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ReportList:
    """List the organisation's reports, newest window first."""
    before = read_cursor(cursor, int, str)
    rows = await ReportRepository(work, who.org_id).page(limit, before, kind)
    shown = [
        ReportRow(id=row[0], kind=row[1], start=_time(row[2]), created_by=row[3], created_at=row[4])
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return ReportList(reports=shown, next=None if last is None else cursor_of(last[2], last[0]))


@router.get("/admin/usage/reports/{report_id}", response_model=ReportOut)
@requires(role="admin", scope="usage:read", owner="org")
async def get_report(
    who: Who,
    report_id: str,
    work: ReadWork,
    shape: Annotated[Format, Query(alias="format")] = "json",
) -> Any:  # noqa: ANN401 - JSON by the model, or text
    """Return a report as JSON, CSV or HTML."""
    row = await service.needed(work, who.org_id, report_id)
    if shape == "json":
        return _report_out(row)
    if shape == "csv":
        return _attached(Response(csv_of(row.kind, row.content), media_type="text/csv"), row.kind)
    page = Response(html_of(row.kind, row.content), media_type="text/html")
    page.headers["content-security-policy"] = "default-src 'none'; sandbox"
    return page


@router.get("/admin/usage/forecast")
@requires(role="admin", scope="usage:read", owner="org")
async def get_forecast(
    who: Who,
    work: ReadWork,
    request: Request,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
) -> ForecastOut:
    """Say what the running month will come to, of all or of one person, and when the pool ends."""
    if user_id is not None:
        await _check_member(work, who, user_id)
    return await service.forecast_of(work, state_of(request).clock.now(), who.org_id, user_id)


@router.get("/admin/usage/anomalies")
@requires(role="admin", scope="usage:read", owner="org")
async def list_anomalies(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> AnomalyList:
    """List usage that was not like a person's own, newest first."""
    before = read_cursor(cursor, int, str)
    rows = await AnomalyRepository(work, who.org_id).page(limit, before)
    shown = [
        AnomalyOut(
            id=row.id,
            user_id=row.user_id,
            start=_time(row.start_us),
            reason=row.reason,
            expected=row.expected,
            seen=row.seen,
            score=float(row.score),
        )
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return AnomalyList(
        anomalies=shown, next=None if last is None else cursor_of(last.start_us, last.id)
    )


@router.get("/admin/usage/heatmap")
@requires(role="admin", scope="usage:read", owner="org")
async def get_heat_map(
    who: Who,
    work: ReadWork,
    request: Request,
    days: Days = 28,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
) -> HeatMap:
    """Show tokens by weekday and hour, of all or of one person."""
    if user_id is not None:
        await _check_member(work, who, user_id)
    now = state_of(request).clock.now()
    return await service.heat_map(work, now, who.org_id, user_id, days)


@router.get("/me/usage/heatmap")
@requires(role="viewer", scope="usage:read", owner="self")
async def my_heat_map(who: Who, work: ReadWork, request: Request, days: Days = 28) -> HeatMap:
    """Show the caller's tokens by weekday and hour."""
    now = state_of(request).clock.now()
    return await service.heat_map(work, now, who.org_id, _self(who), days)


@router.get("/me/usage/forecast")
@requires(role="viewer", scope="usage:read", owner="self")
async def my_forecast(who: Who, work: ReadWork, request: Request) -> ForecastOut:
    """Say what the caller's running month will come to."""
    return await service.forecast_of(work, state_of(request).clock.now(), who.org_id, _self(who))


@router.get("/admin/usage/conversations/{conversation}")
@requires(role="admin", scope="usage:read", owner="org")
async def get_conversation_of_all(
    who: Who, conversation: str, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> ConversationDetail:
    """Show what a conversation came to, whoever took part, and its calls, newest first."""
    sums = await SumsRepository(work, who.org_id).conversation(conversation)
    if not sums:
        raise NotFoundError("no such conversation")
    before = read_cursor(cursor, int, int, int)
    rows = await UsageRepository(work, who.org_id).calls(conversation, limit, before)
    whole = [sum(int(row[i]) for row in sums) for i in range(1, 6)]
    totals = service.totals([[*whole[:4], *divmod(whole[4], 1000)]])[0]
    shown, more = rows[:limit], len(rows) > limit
    last = shown[-1] if more else None
    return ConversationDetail(
        conversation=conversation,
        totals=Totals(**totals),
        users=[row[0] for row in sums],
        calls=[call_out(row) for row in shown],
        next=None if last is None else cursor_of(last.reserved_us, last.epoch, last.seq),
    )


@router.get("/admin/usage/pools")
@requires(role="admin", scope="limits:read", owner="org")
async def list_pools(
    who: Who,
    work: ReadWork,
    request: Request,
    org: Org = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PoolList:
    """List pools and how far they are used up: one's own, for operators any or all."""
    after = read_cursor(cursor, str)
    rows = await PoolRepository(work, _org_of(who, org)).page(limit, after)
    budgets = await _budgets(request)
    shown = [
        _pool_out(limits.shown(row, budgets.get(limits.pool_scope(row.org_id))), row.org_id)
        for row in rows[:limit]
    ]
    return PoolList(pools=shown, next=cursor_of(shown[-1].org_id) if len(rows) > limit else None)


@router.get("/admin/usage/export", response_class=StreamingResponse)
@requires(role="admin", scope="usage:read", owner="org")
async def export_usage(
    who: Who,
    request: Request,
    group: Annotated[Group, Query()] = "day",
    shape: Annotated[Literal["csv", "json"], Query(alias="format")] = "csv",
    start: Annotated[date | None, Query(description="First local day.")] = None,
    end: Annotated[date | None, Query(description="Last local day; today.")] = None,
    org: Org = None,
) -> StreamingResponse:
    """Stream usage by day, person, model or organisation; rows leave as they are read."""
    state = state_of(request)
    asked = _org_of(who, org)
    async with state.database.write() as work:
        zone = ZoneInfo(await UsageRepository(work, asked).zone(asked or who.org_id))
        span = _span(start, end, zone, state.clock.now())
        await audit.tell(
            work, state_of(request), who, "usage.export", asked or "*", group=group, format=shape
        )
    names = [_SHOWN[column] for column in _GROUPS[group]] + list(_FIGURES)
    rows = _rows(state.database, asked, group, span, zone)
    body = to_csv(names, rows) if shape == "csv" else to_json(names, rows)
    kind = "text/csv; charset=utf-8" if shape == "csv" else "application/json"
    found = StreamingResponse(body, media_type=kind)
    found.headers["content-disposition"] = f'attachment; filename="usage-{group}.{shape}"'
    return found


async def _rows(
    database: Database, org: str | None, group: str, span: tuple[int, int], zone: ZoneInfo
) -> AsyncIterator[list[object]]:
    columns = _GROUPS[group]
    width = len(columns)
    async with database.read() as work:
        async for row in ExportRepository(work, org).rows(columns, *span):
            keys: list[object] = list(row[:width])
            if group == "day":
                keys[1] = _time(int(row[1])).astimezone(zone).date().isoformat()
            figures = service.totals([row[width:]])[0]
            yield [*keys, *(figures[name] for name in _FIGURES)]


def _span(start: date | None, end: date | None, zone: ZoneInfo, now: datetime) -> tuple[int, int]:
    last = end or now.astimezone(zone).date()
    first = start or last - timedelta(days=29)
    if not 0 <= (last - first).days < _LONGEST or first.year < 1970 or last.year > 9000:
        raise InvalidArgumentError(
            f"start is before end, by {_LONGEST} days at most", argument="start", http_status=422
        )
    return _day_us(first, zone), _day_us(last + timedelta(days=1), zone)


def _day_us(day: date, zone: ZoneInfo) -> int:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)
    return day_start(microseconds(noon.astimezone(UTC)), zone)


async def _budgets(request: Request) -> dict[str, Budget]:
    found = await state_of(request).client.budgets.list()
    return {one.scope: one for one in found if one.unit == "tokens" and one.window == "month"}


def _pool_out(shown: Any, org_id: str) -> PoolOut:  # noqa: ANN401 - a LimitOut
    return PoolOut(org_id=org_id, **shown.model_dump(exclude={"user_id", "held", "granted"}))


def _report_out(row: ReportModel) -> ReportOut:
    return ReportOut(
        id=row.id,
        kind=row.kind,
        start=_time(row.window_start_us),
        created_by=row.created_by,
        created_at=row.created_at,
        content=row.content,
    )


def _attached(response: Response, kind: str) -> Response:
    response.headers["content-disposition"] = f'attachment; filename="usage-{kind}.csv"'
    return response


def _org_of(who: Subject, org: str | None) -> str | None:
    """Return the tenant that is asked for; None: all.

    Raises:
        ForbiddenError: it is another than the caller's, who is no operator.
    """
    if org not in (None, who.org_id) and not who.operator:
        raise ForbiddenError("Other organisations are for operators.", code="operator_only")
    return None if org == "*" else org or who.org_id


def _self(who: Subject) -> str:
    if who.user_id is None:
        raise NotFoundError("a program without a person has no usage of its own")
    return who.user_id


async def _check_member(work: ReadWork, who: Subject, user_id: str) -> None:
    if await UsageRepository(work, who.org_id).member(user_id) is None:
        raise NotFoundError("no such user")


def _time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
