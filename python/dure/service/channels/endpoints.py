"""Notifications: `/api/notifications/...`; rules of usage also at `/api/admin/usage/alerts`."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query, Request, Response

from dure.db.base import new_id
from dure.errors import DureError, InvalidArgumentError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.kit.clock import microseconds
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork, WriteWork

from . import service
from .repository import ChannelRepository, DeliveryRepository, RuleRepository
from .schemas import (
    EVENTS,
    ChannelCreate,
    ChannelList,
    ChannelOut,
    ChannelUpdate,
    DeliveryList,
    DeliveryOut,
    RuleCreate,
    RuleList,
    RuleOut,
    RuleUpdate,
    Tested,
)
from .senders import Message, Senders

router = APIRouter(prefix="/api/v1", tags=["notifications"], route_class=PolicyRoute)

_USAGE = tuple(event for event in EVENTS if event.startswith(("usage.", "approval.")))
DeliveryState = Literal["pending", "sent", "failed"]


@router.post("/notifications/channels", status_code=201)
@requires(role="admin", scope="notifications:write", owner="org")
async def create_channel(
    who: Who, asked: ChannelCreate, work: WriteWork, request: Request
) -> ChannelOut:
    """Make a channel. Its address and secrets are encrypted and never shown again."""
    return await service.create_channel(work, state_of(request), who, asked)


@router.get("/notifications/channels")
@requires(role="admin", scope="notifications:read", owner="org")
async def list_channels(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> ChannelList:
    """List the organisation's channels."""
    after = read_cursor(cursor, str)
    rows = await ChannelRepository(work, who.org_id).page(limit, after)
    return ChannelList(
        channels=[service.shown(row) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )


@router.patch("/notifications/channels/{channel_id}")
@requires(role="admin", scope="notifications:write", owner="org")
async def change_channel(
    who: Who, channel_id: str, asked: ChannelUpdate, work: WriteWork, request: Request
) -> ChannelOut:
    """Change a channel, or switch it off."""
    return await service.change_channel(work, state_of(request), who, channel_id, asked)


@router.delete("/notifications/channels/{channel_id}", status_code=204)
@requires(role="admin", scope="notifications:write", owner="org")
async def delete_channel(who: Who, channel_id: str, work: WriteWork, request: Request) -> Response:
    """Delete a channel with its rules and deliveries."""
    await service.remove_channel(work, state_of(request), who, channel_id)
    return Response(status_code=204)


@router.post("/notifications/channels/{channel_id}/test")
@requires(role="admin", scope="notifications:write", owner="org")
async def test_channel(who: Who, channel_id: str, request: Request) -> Tested:
    """Send a message there now, and say what it met."""
    state = state_of(request)
    async with state.database.read() as work:
        row = await service.needed(work, who, channel_id)
    text = "This is a test message of dure: the channel works."
    message = Message(new_id("dlv"), "test", state.clock.now(), "dure: test", text, {})
    senders = cast("Senders", request.app.state.senders)
    try:
        await senders.send(service.opened(state.envelope, row), message)
    except DureError as failed:
        return Tested(ok=False, error=str(failed))
    return Tested(ok=True, error=None)


@router.post("/notifications/rules", status_code=201)
@requires(role="admin", scope="notifications:write", owner="org")
async def create_rule(who: Who, asked: RuleCreate, work: WriteWork, request: Request) -> RuleOut:
    """Let a channel be told of an event."""
    return RuleOut.model_validate(await service.create_rule(work, state_of(request), who, asked))


@router.get("/notifications/rules")
@requires(role="admin", scope="notifications:read", owner="org")
async def list_rules(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> RuleList:
    """List who is told of what."""
    return await _rules(who, work, limit, cursor, None)


@router.patch("/notifications/rules/{rule_id}")
@requires(role="admin", scope="notifications:write", owner="org")
async def change_rule(
    who: Who, rule_id: str, asked: RuleUpdate, work: WriteWork, request: Request
) -> RuleOut:
    """Change a rule, or switch it off."""
    row = await service.change_rule(work, state_of(request), who, rule_id, asked)
    return RuleOut.model_validate(row)


@router.delete("/notifications/rules/{rule_id}", status_code=204)
@requires(role="admin", scope="notifications:write", owner="org")
async def delete_rule(who: Who, rule_id: str, work: WriteWork, request: Request) -> Response:
    """Delete a rule."""
    await service.remove_rule(work, state_of(request), who, rule_id)
    return Response(status_code=204)


@router.get("/notifications/deliveries")
@requires(role="admin", scope="notifications:read", owner="org")
async def list_deliveries(
    who: Who,
    work: ReadWork,
    state: Annotated[DeliveryState | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryList:
    """List what was told, or could not be, newest first."""
    before = read_cursor(cursor, int, str)
    rows = await DeliveryRepository(work, who.org_id).page(limit, before, state)
    last = rows[limit - 1] if len(rows) > limit else None
    return DeliveryList(
        deliveries=[DeliveryOut.model_validate(row) for row in rows[:limit]],
        next=None if last is None else cursor_of(microseconds(last.created_at), last.id),
    )


@router.post("/notifications/deliveries/{delivery_id}/retry")
@requires(role="admin", scope="notifications:write", owner="org")
async def retry_delivery(
    who: Who, delivery_id: str, work: WriteWork, request: Request
) -> DeliveryOut:
    """Try a failed delivery again, from the beginning."""
    row = await service.again(work, state_of(request), who, delivery_id)
    return DeliveryOut.model_validate(row)


@router.get("/admin/usage/alerts/rules")
@requires(role="admin", scope="limits:read", owner="org")
async def list_alert_rules(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> RuleList:
    """List who is told of thresholds, reports, forecasts, anomalies and requests."""
    return await _rules(who, work, limit, cursor, _USAGE)


@router.post("/admin/usage/alerts", status_code=201)
@requires(role="admin", scope="limits:write", owner="org")
async def create_alert_rule(
    who: Who, asked: RuleCreate, work: WriteWork, request: Request
) -> RuleOut:
    """Let a channel be told of thresholds, reports, forecasts, anomalies or requests."""
    if asked.event not in _USAGE:
        raise InvalidArgumentError(
            f"event is one of {', '.join(_USAGE)}", argument="event", http_status=422
        )
    return await create_rule(who, asked, work, request)


@router.put("/admin/usage/alerts/{rule_id}")
@requires(role="admin", scope="limits:write", owner="org")
async def set_alert_rule(
    who: Who, rule_id: str, asked: RuleUpdate, work: WriteWork, request: Request
) -> RuleOut:
    """Change from which threshold on a channel is told, or switch the rule off."""
    return await change_rule(who, rule_id, asked, work, request)


@router.delete("/admin/usage/alerts/{rule_id}", status_code=204)
@requires(role="admin", scope="limits:write", owner="org")
async def delete_alert_rule(who: Who, rule_id: str, work: WriteWork, request: Request) -> Response:
    """Delete a rule."""
    return await delete_rule(who, rule_id, work, request)


async def _rules(
    who: Who, work: ReadWork, limit: int, cursor: str | None, events: tuple[str, ...] | None
) -> RuleList:
    after = read_cursor(cursor, str)
    rows = await RuleRepository(work, who.org_id).page(limit, after, events)
    return RuleList(
        rules=[RuleOut.model_validate(row) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )
