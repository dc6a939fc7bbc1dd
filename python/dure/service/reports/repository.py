"""Sums for reports, and reports and anomalies as they are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.repository import ScopedRepository
from dure.db.tables import (
    LlmCallModel,
    NotificationRuleModel,
    OrgModel,
    OrgTokenPoolModel,
    ReportModel,
    UsageAnomalyModel,
    UsageDailyModel,
    UsageStatisticsModel,
)
from dure.service.usage.repository import SUMS

__all__ = [
    "AnomalyRepository",
    "ExportRepository",
    "PoolRepository",
    "ReportRepository",
    "SumsRepository",
    "active_orgs",
    "waiting_orgs",
]

Values = tuple[Any, ...]


class ReportRepository(ScopedRepository[ReportModel]):
    """Reports."""

    table = ReportModel

    async def one(self, report_id: str) -> ReportModel | None:
        """Return a report."""
        return await self.one_or_none(self.rows().where(ReportModel.id == report_id))

    async def of(self, kind: str, window_start_us: int) -> ReportModel | None:
        """Return the report of a kind and window."""
        return await self.one_or_none(
            self.rows().where(
                ReportModel.kind == kind, ReportModel.window_start_us == window_start_us
            )
        )

    async def page(
        self, limit: int, before: tuple[int, str] | None, kind: str | None
    ) -> list[Values]:
        """Return (id, kind, window_start_us, created_by, created_at), newest window first."""
        table = ReportModel
        order = (table.window_start_us, table.id)
        query = select(
            table.id, table.kind, table.window_start_us, table.created_by, table.created_at
        ).where(table.org_id == self._org_id)
        if kind is not None:
            query = query.where(table.kind == kind)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        found = await self._work.execute(
            query.order_by(*(one.desc() for one in order)).limit(limit + 1)
        )
        return [tuple(row) for row in found]


class AnomalyRepository(ScopedRepository[UsageAnomalyModel]):
    """Anomalies."""

    table = UsageAnomalyModel

    async def page(self, limit: int, before: tuple[int, str] | None) -> Sequence[UsageAnomalyModel]:
        """Return anomalies, newest first, one more than asked for if there are more."""
        order = (UsageAnomalyModel.start_us, UsageAnomalyModel.id)
        query = self.rows().order_by(*(one.desc() for one in order)).limit(limit + 1)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return await self.all(query)


class PoolRepository:
    """Pools: one tenant's, or all, for operators."""

    def __init__(self, work: AsyncSession, org_id: str | None) -> None:
        self._work, self._org_id = work, org_id

    async def page(self, limit: int, after: str | None) -> Sequence[OrgTokenPoolModel]:
        """Return pools by tenant, one more than asked for if there are more."""
        query = select(OrgTokenPoolModel).order_by(OrgTokenPoolModel.org_id).limit(limit + 1)
        if self._org_id is not None:
            query = query.where(OrgTokenPoolModel.org_id == self._org_id)
        if after is not None:
            query = query.where(OrgTokenPoolModel.org_id > after)
        return (await self._work.scalars(query)).all()


class SumsRepository:
    """Sums of one tenant (`user_id`: of one person in it)."""

    def __init__(self, work: AsyncSession, org_id: str, user_id: str | None = None) -> None:
        self._work, self._org_id, self._user_id = work, org_id, user_id

    async def org(self) -> OrgModel | None:
        """Return the tenant."""
        return await self._work.get(OrgModel, self._org_id)

    async def pool(self) -> OrgTokenPoolModel | None:
        """Return the tenant's pool."""
        return await self._work.get(OrgTokenPoolModel, self._org_id)

    async def hours(self, since_us: int) -> list[Values]:
        """Return (start_us, tokens) of each local hour."""
        table = UsageStatisticsModel
        query = select(table.start_us, func.sum(table.tokens)).where(
            table.org_id == self._org_id, table.start_us >= since_us
        )
        if self._user_id is not None:
            query = query.where(table.user_id == self._user_id)
        return [tuple(row) for row in await self._work.execute(query.group_by(table.start_us))]

    async def by_user_at(self, starts: Sequence[int]) -> list[Values]:
        """Return (user_id, start_us, tokens) of each person at some local hours."""
        table = UsageStatisticsModel
        query = (
            select(table.user_id, table.start_us, func.sum(table.tokens))
            .where(table.org_id == self._org_id, table.start_us.in_(starts))
            .group_by(table.user_id, table.start_us)
        )
        return [tuple(row) for row in await self._work.execute(query)]

    async def by_user_and_day(self, since_us: int, until_us: int) -> list[Values]:
        """Return (user_id, start_us, nano) of each person and local day."""
        table = UsageDailyModel
        query = (
            select(table.user_id, table.start_us, func.sum(table.nano))
            .where(
                table.org_id == self._org_id,
                table.start_us >= since_us,
                table.start_us < until_us,
            )
            .group_by(table.user_id, table.start_us)
        )
        return [tuple(row) for row in await self._work.execute(query)]

    async def begun(self, users: Sequence[str]) -> dict[str, int]:
        """Return when each person's first day was."""
        table = UsageDailyModel
        query = (
            select(table.user_id, func.min(table.start_us))
            .where(table.org_id == self._org_id, table.user_id.in_(users))
            .group_by(table.user_id)
        )
        return {row[0]: int(row[1]) for row in await self._work.execute(query)}

    async def between(self, group: str, since_us: int, until_us: int) -> list[Values]:
        """Return (group, sums) of a span, most tokens first."""
        table = UsageDailyModel
        column = getattr(table, group)
        sums = [func.sum(getattr(table, name)) for name in SUMS]
        query = (
            select(column, *sums)
            .where(
                table.org_id == self._org_id,
                table.start_us >= since_us,
                table.start_us < until_us,
            )
            .group_by(column)
            .order_by(sums[3].desc(), column)
        )
        return [tuple(row) for row in await self._work.execute(query)]

    async def conversation(self, name: str) -> list[Values]:
        """Return (user_id, calls, input, output, tokens, pico) of each person in it."""
        table = LlmCallModel
        query = (
            select(
                table.user_id,
                func.count().filter(table.type == "SETTLE"),
                func.sum(table.input_tokens),
                func.sum(table.output_tokens),
                func.sum(table.tokens),
                func.sum(table.cost_pico),
            )
            .where(table.org_id == self._org_id, table.conversation == name)
            .group_by(table.user_id)
            .order_by(table.user_id)
        )
        return [tuple(row) for row in await self._work.execute(query)]


class ExportRepository:
    """Sums as a stream: any number of rows, a few in memory. `org_id` None: all tenants."""

    def __init__(self, work: AsyncSession, org_id: str | None) -> None:
        self._work, self._org_id = work, org_id

    async def rows(
        self, groups: Sequence[str], since_us: int, until_us: int
    ) -> AsyncIterator[Values]:
        """Give (groups, sums) in the order of the groups."""
        table = UsageDailyModel
        columns = [getattr(table, name) for name in groups]
        sums = [func.sum(getattr(table, name)) for name in SUMS]
        query: Select[Any] = select(*columns, *sums).where(*self._span(since_us, until_us))
        query = query.group_by(*columns).order_by(*columns).execution_options(yield_per=500)
        async for row in await self._work.stream(query):
            yield tuple(row)

    def _span(self, since_us: int, until_us: int) -> list[ColumnElement[bool]]:
        table = UsageDailyModel
        found = [table.start_us >= since_us, table.start_us < until_us]
        return found if self._org_id is None else [*found, table.org_id == self._org_id]


async def waiting_orgs(work: AsyncSession, events: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (org_id, zone, event) of tenants that want to be told of something."""
    table = NotificationRuleModel
    query = (
        select(table.org_id, OrgModel.zone, table.event)
        .distinct()
        .join(OrgModel, OrgModel.id == table.org_id)
        .where(table.event.in_(events), table.enabled.is_(True))
    )
    return [(row[0], row[1], row[2]) for row in await work.execute(query)]


async def active_orgs(work: AsyncSession, since_us: int) -> list[tuple[str, str]]:
    """Return (org_id, zone) of tenants with usage since a moment."""
    table = UsageStatisticsModel
    used = select(table.org_id).where(table.start_us >= since_us)
    query = select(OrgModel.id, OrgModel.zone).where(OrgModel.id.in_(used)).order_by(OrgModel.id)
    return [(row[0], row[1]) for row in await work.execute(query)]
