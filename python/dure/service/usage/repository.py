"""Sums and calls of one tenant; `org_id` None: of all, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Executable, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import LlmCallModel, MembershipModel, OrgModel, UsageDailyModel, UserModel

__all__ = ["SUMS", "UsageRepository"]

SUMS = ("calls", "input_tokens", "output_tokens", "tokens", "nano", "pico_rem")
_DAILY = [func.coalesce(func.sum(getattr(UsageDailyModel, name)), 0).label(name) for name in SUMS]
_MOST_CONVERSATIONS = 100

Values = tuple[Any, ...]


class UsageRepository:
    """Reads sums by local day; every question is one statement."""

    def __init__(self, work: AsyncSession, org_id: str | None, user_id: str | None = None) -> None:
        self._work, self._org_id, self._user_id = work, org_id, user_id

    async def zone(self, org_id: str) -> str:
        """Return the tenant's time zone."""
        return await self._work.scalar(select(OrgModel.zone).where(OrgModel.id == org_id)) or "UTC"

    async def total(self, since_us: int) -> Values:
        """Return the sums since a moment."""
        return (await self._rows(select(*_DAILY).where(*self._mine(since_us))))[0]

    async def by_day(self, since_us: int) -> list[Values]:
        """Return (start_us, sums) per local day, oldest first."""
        start = UsageDailyModel.start_us
        query = select(start, *_DAILY).where(*self._mine(since_us)).group_by(start).order_by(start)
        return await self._rows(query)

    async def by_model(self, since_us: int) -> list[Values]:
        """Return (model, sums), most tokens first."""
        model = UsageDailyModel.model
        query = select(model, *_DAILY).where(*self._mine(since_us)).group_by(model)
        return await self._rows(query.order_by(_DAILY[3].desc(), model))

    async def top_users(self, since_us: int, limit: int) -> list[Values]:
        """Return (user_id, email, name, sums) of those with most tokens."""
        user = UsageDailyModel.user_id
        query = (
            select(user, UserModel.email, UserModel.name, *_DAILY)
            .outerjoin(UserModel, UserModel.id == user)
            .where(*self._mine(since_us))
            .group_by(user, UserModel.email, UserModel.name)
            .order_by(_DAILY[3].desc(), user)
            .limit(limit)
        )
        return await self._rows(query)

    async def members(self, since_us: int, limit: int, after: str | None) -> list[Values]:
        """Return (user_id, email, name, sums) of the tenant's people, by id, one more than asked.

        Who used nothing is there with zeros.
        """
        used = (UsageDailyModel.user_id == UserModel.id) & (
            UsageDailyModel.org_id == MembershipModel.org_id
        )
        query = (
            select(UserModel.id, UserModel.email, UserModel.name, *_DAILY)
            .join(MembershipModel, MembershipModel.user_id == UserModel.id)
            .outerjoin(UsageDailyModel, used & (UsageDailyModel.start_us >= since_us))
            .where(MembershipModel.org_id == self._org_id)
            .group_by(UserModel.id, UserModel.email, UserModel.name)
            .order_by(UserModel.id)
            .limit(limit + 1)
        )
        if after is not None:
            query = query.where(UserModel.id > after)
        return await self._rows(query)

    async def member(self, user_id: str) -> Values | None:
        """Return (user_id, email, name) of one of the tenant's people."""
        query = (
            select(UserModel.id, UserModel.email, UserModel.name)
            .join(MembershipModel, MembershipModel.user_id == UserModel.id)
            .where(MembershipModel.org_id == self._org_id, UserModel.id == user_id)
        )
        found = await self._rows(query)
        return found[0] if found else None

    async def conversations(self, since_us: int) -> list[Values]:
        """Return (conversation, newest reserved_us, sums) of a person, newest first."""
        newest = func.max(LlmCallModel.reserved_us)
        query = (
            select(
                LlmCallModel.conversation,
                newest,
                func.count().filter(LlmCallModel.type == "SETTLE"),
                func.sum(LlmCallModel.input_tokens),
                func.sum(LlmCallModel.output_tokens),
                func.sum(LlmCallModel.tokens),
                func.sum(LlmCallModel.cost_pico),
            )
            .where(*self._calls(), LlmCallModel.reserved_us >= since_us)
            .where(LlmCallModel.conversation != "")
            .group_by(LlmCallModel.conversation)
            .order_by(newest.desc())
            .limit(_MOST_CONVERSATIONS)
        )
        return await self._rows(query)

    async def calls(
        self, conversation: str, limit: int, before: tuple[int, ...] | None
    ) -> Sequence[LlmCallModel]:
        """Return a conversation's calls, newest first, one more than asked for."""
        order = (LlmCallModel.reserved_us, LlmCallModel.epoch, LlmCallModel.seq)
        query = (
            select(LlmCallModel)
            .where(*self._calls(), LlmCallModel.conversation == conversation)
            .order_by(*(column.desc() for column in order))
            .limit(limit + 1)
        )
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return (await self._work.scalars(query)).all()

    async def _rows(self, query: Executable) -> list[Values]:
        return [tuple(row) for row in await self._work.execute(query)]

    def _mine(self, since_us: int) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [UsageDailyModel.start_us >= since_us]
        if self._org_id is not None:
            found.append(UsageDailyModel.org_id == self._org_id)
        if self._user_id is not None:
            found.append(UsageDailyModel.user_id == self._user_id)
        return found

    def _calls(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [LlmCallModel.org_id == self._org_id]
        if self._user_id is not None:
            found.append(LlmCallModel.user_id == self._user_id)
        return found
