"""Channels, rules and deliveries of one tenant; the courier's own queries over all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, delete, select, tuple_, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.repository import ScopedRepository
from dure.db.tables import (
    ChannelModel,
    DeliveryModel,
    NotificationRuleModel,
    TokenUsageAlertModel,
)

__all__ = ["ChannelRepository", "CourierRepository", "DeliveryRepository", "RuleRepository"]


class ChannelRepository(ScopedRepository[ChannelModel]):
    """Channels."""

    table = ChannelModel

    async def one(self, channel_id: str) -> ChannelModel | None:
        """Return a channel."""
        return await self.one_or_none(self.rows().where(ChannelModel.id == channel_id))

    async def named(self, name: str) -> ChannelModel | None:
        """Return the channel of a name."""
        return await self.one_or_none(self.rows().where(ChannelModel.name == name))

    async def page(self, limit: int, after: str | None) -> Sequence[ChannelModel]:
        """Return channels by id, one more than asked for if there are more."""
        query = self.rows().order_by(ChannelModel.id).limit(limit + 1)
        return await self.all(query if after is None else query.where(ChannelModel.id > after))

    async def remove(self, row: ChannelModel) -> None:
        """Take a channel away with its rules and deliveries."""
        tables: tuple[Any, ...] = (DeliveryModel, NotificationRuleModel)
        for table in tables:
            await self._work.execute(delete(table).where(table.channel_id == row.id))
        await self._work.delete(row)


class RuleRepository(ScopedRepository[NotificationRuleModel]):
    """Rules."""

    table = NotificationRuleModel

    async def one(self, rule_id: str) -> NotificationRuleModel | None:
        """Return a rule."""
        return await self.one_or_none(self.rows().where(NotificationRuleModel.id == rule_id))

    async def of(self, event: str, channel_id: str) -> NotificationRuleModel | None:
        """Return the rule of an event and a channel."""
        table = NotificationRuleModel
        return await self.one_or_none(
            self.rows().where(table.event == event, table.channel_id == channel_id)
        )

    async def page(
        self, limit: int, after: str | None, events: Sequence[str] | None
    ) -> Sequence[NotificationRuleModel]:
        """Return rules by id, one more than asked for if there are more."""
        query = self.rows().order_by(NotificationRuleModel.id).limit(limit + 1)
        if events is not None:
            query = query.where(NotificationRuleModel.event.in_(events))
        if after is not None:
            query = query.where(NotificationRuleModel.id > after)
        return await self.all(query)

    async def channels(self, event: str, percent: int | None) -> Sequence[str]:
        """Return the ids of the channels that are to be told."""
        table = NotificationRuleModel
        query = (
            select(table.channel_id)
            .join(ChannelModel, ChannelModel.id == table.channel_id)
            .where(table.org_id == self._org_id, table.event == event, table.enabled.is_(True))
            .where(ChannelModel.enabled.is_(True))
        )
        if percent is not None:
            query = query.where(table.percent <= percent)
        return (await self._work.scalars(query)).all()


class DeliveryRepository(ScopedRepository[DeliveryModel]):
    """Deliveries."""

    table = DeliveryModel

    async def one(self, delivery_id: str) -> DeliveryModel | None:
        """Return a delivery."""
        return await self.one_or_none(self.rows().where(DeliveryModel.id == delivery_id))

    async def page(
        self, limit: int, before: tuple[int, str] | None, state: str | None
    ) -> Sequence[DeliveryModel]:
        """Return deliveries, newest first, one more than asked for if there are more."""
        made = type_coerce(DeliveryModel.created_at, BigInteger)
        order = (made, DeliveryModel.id)
        query = self.rows().order_by(*(one.desc() for one in order)).limit(limit + 1)
        if state is not None:
            query = query.where(DeliveryModel.state == state)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return await self.all(query)


class CourierRepository:
    """What is to be told, of all tenants: the courier asks for nobody."""

    def __init__(self, work: AsyncSession) -> None:
        self._work = work

    async def has_news(self, now: datetime) -> bool:
        """Whether an alert was not told yet, or a delivery is due."""
        told = select(TokenUsageAlertModel.id).where(TokenUsageAlertModel.told_at.is_(None))
        if await self._work.scalar(told.limit(1)) is not None:
            return True
        due = select(DeliveryModel.id).where(
            DeliveryModel.state == "pending", DeliveryModel.next_at <= now
        )
        return await self._work.scalar(due.limit(1)) is not None

    async def untold(self, most: int) -> Sequence[TokenUsageAlertModel]:
        """Return alerts that nobody was told of; nobody else gets them meanwhile."""
        query = (
            select(TokenUsageAlertModel)
            .where(TokenUsageAlertModel.told_at.is_(None))
            .order_by(TokenUsageAlertModel.at_us, TokenUsageAlertModel.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return (await self._work.scalars(query)).all()

    async def due(self, now: datetime, most: int) -> Sequence[DeliveryModel]:
        """Return deliveries that are due; nobody else gets them meanwhile."""
        query = (
            select(DeliveryModel)
            .where(DeliveryModel.state == "pending", DeliveryModel.next_at <= now)
            .order_by(DeliveryModel.next_at, DeliveryModel.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        return (await self._work.scalars(query)).all()

    async def channels(self, ids: set[str]) -> dict[str, ChannelModel]:
        """Return channels by id."""
        found = await self._work.scalars(select(ChannelModel).where(ChannelModel.id.in_(ids)))
        return {row.id: row for row in found}

    async def end(self, delivery: DeliveryModel, **values: object) -> None:
        """Write what became of a try, unless a later one was begun."""
        await self._work.execute(
            update(DeliveryModel)
            .where(
                DeliveryModel.id == delivery.id,
                DeliveryModel.state == "pending",
                DeliveryModel.attempts == delivery.attempts,
            )
            .values(**values)
        )
