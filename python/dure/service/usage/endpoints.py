"""Usage: `/api/usage`, `/api/me/usage`, `/api/admin/usage/...`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from dure.errors import NotFoundError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.errors import ForbiddenError
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from . import service
from .repository import UsageRepository
from .schemas import CallList, Statistics, Step, UserDetail, UserUsageList

router = APIRouter(prefix="/api/v1", tags=["usage"], route_class=PolicyRoute)

Days = Annotated[int, Query(ge=1, le=400, description="Local days, today the last.")]


@router.get("/usage")
@requires(role="viewer", scope="usage:read", owner="self")
async def own_usage(
    who: Who, work: ReadWork, request: Request, days: Days = 30, step: Step = "day"
) -> UserDetail:
    """Show what the caller used: totals, series, models, conversations."""
    if who.user_id is None:
        raise NotFoundError("a program without a person has no usage of its own")
    now = state_of(request).clock.now()
    return await service.detail(work, now, who.org_id, who.user_id, days, step)


@router.get("/me/usage")
@requires(role="viewer", scope="usage:read", owner="self")
async def my_usage(
    who: Who, work: ReadWork, request: Request, days: Days = 30, step: Step = "day"
) -> UserDetail:
    """Show the same as `/api/usage`."""
    return await own_usage(who, work, request, days, step)


@router.get("/admin/usage/statistics")
@requires(role="admin", scope="usage:read", owner="org")
async def statistics(
    who: Who,
    work: ReadWork,
    request: Request,
    days: Days = 30,
    step: Step = "day",
    org: Annotated[str | None, Query(max_length=64, description="Operators: `*` is all.")] = None,
) -> Statistics:
    """Show the organisation's totals, series, models and top ten; operators: any or all."""
    if org not in (None, who.org_id) and not who.operator:
        raise ForbiddenError("Other organisations are for operators.", code="operator_only")
    asked = None if org == "*" else org or who.org_id
    now = state_of(request).clock.now()
    return await service.statistics(work, now, asked, who.org_id, days, step)


@router.get("/admin/usage/users")
@requires(role="admin", scope="usage:read", owner="org")
async def list_users(
    who: Who,
    work: ReadWork,
    request: Request,
    days: Days = 30,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> UserUsageList:
    """List the organisation's people with what they used, input and output apart."""
    after = read_cursor(cursor, str)
    now = state_of(request).clock.now()
    users, more = await service.listed(work, now, who.org_id, days, limit, after)
    return UserUsageList(users=users, next=cursor_of(users[-1].user_id) if more else None)


@router.get("/admin/usage/users/{user_id}")
@requires(role="admin", scope="usage:read", owner="org")
async def get_user(
    who: Who,
    user_id: str,
    work: ReadWork,
    request: Request,
    days: Days = 30,
    step: Step = "day",
) -> UserDetail:
    """Show one person's usage: totals, series, models, conversations."""
    now = state_of(request).clock.now()
    return await service.detail(work, now, who.org_id, user_id, days, step)


@router.get("/admin/usage/users/{user_id}/conversations/{conversation}")
@requires(role="admin", scope="usage:read", owner="org")
async def get_conversation(
    who: Who,
    user_id: str,
    conversation: str,
    work: ReadWork,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CallList:
    """List the calls of one conversation, newest first."""
    repository = UsageRepository(work, who.org_id, user_id)
    if await repository.member(user_id) is None:
        raise NotFoundError("no such user")
    before = read_cursor(cursor, int, int, int)
    rows = await repository.calls(conversation, limit, before)
    shown = rows[:limit]
    more = len(rows) > limit
    return CallList(
        calls=[service.call_out(row) for row in shown],
        next=cursor_of(shown[-1].reserved_us, shown[-1].epoch, shown[-1].seq) if more else None,
    )
