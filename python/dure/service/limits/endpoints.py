"""Limits: `/api/admin/usage/{limits,alerts}`, `/api/admin/approvals`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query, Request, Response

from dure.db.tables import OrgTokenPoolModel, UserTokenLimitModel
from dure.service.auth.identities import Identities
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Subject, Who
from dure.service.kit.clock import microseconds
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from . import service
from .repository import EVERYBODY, AlertRepository, ApprovalRepository, LimitRepository
from .schemas import (
    AlertList,
    AlertOut,
    ApprovalList,
    ApprovalOut,
    Grant,
    LimitCreate,
    LimitIn,
    LimitList,
    LimitOut,
)

router = APIRouter(prefix="/api/v1/admin", tags=["limits"], route_class=PolicyRoute)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
State = Literal["pending", "granted", "refused", "expired"]


def limits_of(request: Request) -> service.Limits:
    """Return the app's limits."""
    return cast("service.Limits", request.app.state.budgets)


async def _shown(
    request: Request, who: Subject, row: UserTokenLimitModel | OrgTokenPoolModel
) -> LimitOut:
    if isinstance(row, OrgTokenPoolModel):
        scope = service.pool_scope(who.org_id)
    elif row.user_id == EVERYBODY:
        return service.shown(row, None)
    else:
        scope = service.person_scope(who.org_id, row.user_id)
    return service.shown(row, await limits_of(request).budget(scope))


async def _enforced(request: Request, who: Subject, user_id: str | None) -> None:
    """Let a change count: at once for whom it names, for others with their next look-up."""
    cast("Identities", request.app.state.identities).forget()
    named = None if user_id in (None, EVERYBODY) else user_id
    await limits_of(request).admit(Subject(who.org_id, named or who.user_id, None, "viewer"))
    await limits_of(request).keep()


@router.get("/usage/limits")
@requires(role="admin", scope="limits:read", owner="org")
async def list_limits(
    who: Who, work: ReadWork, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> LimitList:
    """List pool, default, and people's own limits with what is used."""
    repository = LimitRepository(work, who.org_id)
    after = read_cursor(cursor, str)
    rows = await repository.page(limit, after)
    pool, default = await repository.pool(), await repository.of(EVERYBODY)
    users = [await _shown(request, who, row) for row in rows[:limit]]
    more = len(rows) > limit
    return LimitList(
        pool=None if pool is None else await _shown(request, who, pool),
        default=None if default is None else await _shown(request, who, default),
        users=users,
        next=cursor_of(rows[limit - 1].user_id) if more else None,
    )


@router.post("/usage/limits", status_code=201)
@requires(role="admin", scope="limits:write", owner="org")
async def create_limit(who: Who, asked: LimitCreate, request: Request) -> LimitOut:
    """Give a person a limit of their own."""
    state = state_of(request)
    given = LimitIn(**asked.model_dump(exclude={"user_id"}))
    async with state.database.write() as work:
        row = await service.put_user(work, state, who, asked.user_id, given, new=True)
    await _enforced(request, who, asked.user_id)
    return await _shown(request, who, row)


@router.put("/usage/limits/pool")
@requires(role="admin", scope="limits:write", owner="org")
async def set_pool(who: Who, asked: LimitIn, request: Request) -> LimitOut:
    """Set the organisation's pool."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.put_pool(work, state, who, asked)
    await _enforced(request, who, None)
    return await _shown(request, who, row)


@router.delete("/usage/limits/pool", status_code=204)
@requires(role="admin", scope="limits:write", owner="org")
async def remove_pool(who: Who, request: Request) -> Response:
    """Take the organisation's pool away."""
    state = state_of(request)
    async with state.database.write() as work:
        await service.remove_pool(work, state, who)
    await _enforced(request, who, None)
    return Response(status_code=204)


@router.put("/usage/limits/users/{user_id}")
@requires(role="admin", scope="limits:write", owner="org")
async def set_limit(who: Who, user_id: str, asked: LimitIn, request: Request) -> LimitOut:
    """Set a person's limit; `*` is the default of all without one."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.put_user(work, state, who, user_id, asked, new=False)
    await _enforced(request, who, user_id)
    return await _shown(request, who, row)


@router.delete("/usage/limits/users/{user_id}", status_code=204)
@requires(role="admin", scope="limits:write", owner="org")
async def remove_limit(who: Who, user_id: str, request: Request) -> Response:
    """Take a person's own limit away: the default counts for them."""
    state = state_of(request)
    async with state.database.write() as work:
        await service.remove_user(work, state, who, user_id)
    await _enforced(request, who, user_id)
    return Response(status_code=204)


@router.get("/usage/alerts")
@requires(role="admin", scope="limits:read", owner="org")
async def list_alerts(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> AlertList:
    """List the thresholds that were crossed, newest first."""
    before = read_cursor(cursor, int, str)
    rows = await AlertRepository(work, who.org_id).page(limit, before)
    alerts = [
        AlertOut(
            id=row.id,
            scope=row.scope,
            percent=row.percent,
            maximum=row.maximum,
            at=_EPOCH + timedelta(microseconds=row.at_us),
        )
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return AlertList(alerts=alerts, next=None if last is None else cursor_of(last.at_us, last.id))


@router.get("/approvals")
@requires(role="admin", scope="limits:read", owner="org")
async def list_approvals(
    who: Who,
    work: ReadWork,
    state: Annotated[State | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ApprovalList:
    """List requests beyond a limit, newest first."""
    before = read_cursor(cursor, int, str)
    rows = await ApprovalRepository(work, who.org_id).page(limit, before, state)
    last = rows[limit - 1] if len(rows) > limit else None
    return ApprovalList(
        approvals=[ApprovalOut.model_validate(row) for row in rows[:limit]],
        next=None if last is None else cursor_of(microseconds(last.created_at), last.id),
    )


@router.post("/approvals/{approval_id}/grant")
@requires(role="admin", scope="limits:write", owner="org")
async def grant_approval(who: Who, approval_id: str, asked: Grant, request: Request) -> ApprovalOut:
    """Grant so many more tokens to the scope of a request, until a moment."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.decide(work, state, who, approval_id, asked)
    return ApprovalOut.model_validate(row)


@router.post("/approvals/{approval_id}/refuse")
@requires(role="admin", scope="limits:write", owner="org")
async def refuse_approval(who: Who, approval_id: str, request: Request) -> ApprovalOut:
    """Refuse a request."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.decide(work, state, who, approval_id, None)
    return ApprovalOut.model_validate(row)
