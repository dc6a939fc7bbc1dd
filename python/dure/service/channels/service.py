"""Channels and rules are kept, announcements become deliveries: in the caller's unit of work."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import new_id
from dure.db.tables import ChannelModel, DeliveryModel, NotificationRuleModel
from dure.db.upserts import upserts
from dure.errors import NotFoundError
from dure.service.auth.subject import Subject
from dure.service.errors import ConflictError
from dure.service.kit import audit
from dure.service.kit.envelope import Envelope, Place
from dure.service.kit.state import State

from .repository import ChannelRepository, DeliveryRepository, RuleRepository
from .schemas import (
    ChannelCreate,
    ChannelOut,
    ChannelUpdate,
    RuleCreate,
    RuleUpdate,
    plain,
)
from .senders import check_target, shown_target

__all__ = [
    "Notice",
    "again",
    "announce",
    "change_channel",
    "change_rule",
    "create_channel",
    "create_rule",
    "needed",
    "opened",
    "place_of",
    "remove_channel",
    "remove_rule",
    "shown",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is told to whoever asked for it; the same `id` is told once a channel."""

    id: str
    org_id: str
    event: str
    title: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    html: str | None = None
    percent: int | None = None


async def announce(work: AsyncSession, now: datetime, notice: Notice) -> int:
    """Write a delivery for every channel that is to be told; return how many there are.

    They are kept with what they tell of, or neither is.
    """
    channels = await RuleRepository(work, notice.org_id).channels(notice.event, notice.percent)
    rows = [_delivery(notice, channel_id, now) for channel_id in channels]
    table: Table = DeliveryModel.__table__  # type: ignore[assignment]
    await upserts(work, table, rows, key=("channel_id", "event_id"))
    return len(rows)


def _delivery(notice: Notice, channel_id: str, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("dlv"),
        "org_id": notice.org_id,
        "channel_id": channel_id,
        "event_id": notice.id,
        "event": notice.event,
        "title": notice.title[:255],
        "body": {"text": notice.text, "data": notice.data, "html": notice.html},
        "state": "pending",
        "attempts": 0,
        "error": None,
        "created_at": now,
        "next_at": now,
        "sent_at": None,
    }


def place_of(row: ChannelModel) -> Place:
    """Return where a channel's secrets are sealed."""
    return Place("channels", "sealed", row.org_id, row.id)


def opened(envelope: Envelope, row: ChannelModel) -> dict[str, Any]:
    """Return a channel's target with its secrets.

    Raises:
        StorageError: they cannot be opened.
    """
    found: dict[str, Any] = json.loads(envelope.open(row.sealed, place_of(row)))
    return found


async def create_channel(
    work: AsyncSession, state: State, who: Subject, asked: ChannelCreate
) -> ChannelOut:
    """Keep a channel; a webhook's new secret is in this answer only.

    Raises:
        ConflictError: there is one of that name.
        InvalidArgumentError: its address cannot be.
    """
    target, made = _complete(plain(asked.target))
    repository = ChannelRepository(work, who.org_id)
    if await repository.named(asked.name) is not None:
        raise _taken()
    row = ChannelModel(
        id=new_id("chn"),
        org_id=who.org_id,
        owner_id=who.user_id or who.actor,
        name=asked.name,
        kind=target["kind"],
        target=shown_target(target)[:255],
        sealed="",
        enabled=True,
        created_at=state.clock.now(),
    )
    row.sealed = state.envelope.seal(json.dumps(target), place_of(row))
    repository.add(row)
    await _flushed(work)
    await audit.tell(work, state, who, "channel.create", row.id, kind=row.kind, name=row.name)
    return shown(row, made)


async def change_channel(
    work: AsyncSession, state: State, who: Subject, channel_id: str, asked: ChannelUpdate
) -> ChannelOut:
    """Change a channel.

    Raises:
        NotFoundError: there is no such channel.
        ConflictError: there is another of that name.
        InvalidArgumentError: its address cannot be.
    """
    row = await needed(work, who, channel_id)
    made = None
    if asked.target is not None:
        target, made = _complete(plain(asked.target))
        row.kind, row.target = target["kind"], shown_target(target)[:255]
        row.sealed = state.envelope.seal(json.dumps(target), place_of(row))
    if asked.name is not None:
        row.name = asked.name
    if asked.enabled is not None:
        row.enabled = asked.enabled
    await _flushed(work)
    changed = sorted(asked.model_dump(exclude_none=True))
    await audit.tell(work, state, who, "channel.change", row.id, changed=changed)
    return shown(row, made)


def _complete(target: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return a target that can be used, and the secret that was made for it."""
    made = None
    if target["kind"] == "webhook" and target["secret"] is None:
        made = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        target = target | {"secret": made}
    check_target(target)
    return target, made


async def remove_channel(work: AsyncSession, state: State, who: Subject, channel_id: str) -> None:
    """Take a channel away with its rules and deliveries.

    Raises:
        NotFoundError: there is no such channel.
    """
    row = await needed(work, who, channel_id)
    await ChannelRepository(work, who.org_id).remove(row)
    await audit.tell(work, state, who, "channel.delete", channel_id, name=row.name)


async def needed(work: AsyncSession, who: Subject, channel_id: str) -> ChannelModel:
    """Return a channel.

    Raises:
        NotFoundError: there is no such channel in the tenant.
    """
    row = await ChannelRepository(work, who.org_id).one(channel_id)
    if row is None:
        raise NotFoundError("no such channel")
    return row


def shown(row: ChannelModel, secret: str | None = None) -> ChannelOut:
    """Return what is shown of a channel."""
    return ChannelOut(
        id=row.id,
        name=row.name,
        kind=row.kind,
        target=row.target,
        enabled=row.enabled,
        created_at=row.created_at,
        secret=secret,
    )


async def create_rule(
    work: AsyncSession, state: State, who: Subject, asked: RuleCreate
) -> NotificationRuleModel:
    """Let a channel be told of an event.

    Raises:
        NotFoundError: there is no such channel.
        ConflictError: it is told already.
    """
    await needed(work, who, asked.channel_id)
    repository = RuleRepository(work, who.org_id)
    if await repository.of(asked.event, asked.channel_id) is not None:
        raise ConflictError("this channel is told of it already: change the rule")
    row = repository.add(
        NotificationRuleModel(
            id=new_id("rul"),
            org_id=who.org_id,
            event=asked.event,
            channel_id=asked.channel_id,
            percent=asked.percent,
            enabled=True,
            created_by=who.user_id or who.actor,
            created_at=state.clock.now(),
        )
    )
    await _flushed(work)
    await audit.tell(
        work, state, who, "rule.create", row.id, event=row.event, channel=row.channel_id
    )
    return row


async def change_rule(
    work: AsyncSession, state: State, who: Subject, rule_id: str, asked: RuleUpdate
) -> NotificationRuleModel:
    """Change a rule.

    Raises:
        NotFoundError: there is no such rule.
    """
    row = await _rule(work, who, rule_id)
    changed = asked.model_dump(exclude_none=True)
    for name, value in changed.items():
        setattr(row, name, value)
    await audit.tell(work, state, who, "rule.change", row.id, **changed)
    return row


async def remove_rule(work: AsyncSession, state: State, who: Subject, rule_id: str) -> None:
    """Take a rule away.

    Raises:
        NotFoundError: there is no such rule.
    """
    await work.delete(await _rule(work, who, rule_id))
    await audit.tell(work, state, who, "rule.delete", rule_id)


async def _rule(work: AsyncSession, who: Subject, rule_id: str) -> NotificationRuleModel:
    row = await RuleRepository(work, who.org_id).one(rule_id)
    if row is None:
        raise NotFoundError("no such rule")
    return row


async def again(work: AsyncSession, state: State, who: Subject, delivery_id: str) -> DeliveryModel:
    """Try a failed delivery again.

    Raises:
        NotFoundError: there is no such delivery.
        ConflictError: it did not fail.
    """
    row = await DeliveryRepository(work, who.org_id).one(delivery_id)
    if row is None:
        raise NotFoundError("no such delivery")
    if row.state != "failed":
        raise ConflictError(f"this delivery is {row.state}", code="not_failed")
    row.state, row.attempts, row.next_at = "pending", 0, state.clock.now()
    return row


def _taken() -> ConflictError:
    return ConflictError("there is one of that name already")


async def _flushed(work: AsyncSession) -> None:
    try:
        await work.flush()
    except IntegrityError:  # two at once
        raise _taken() from None
