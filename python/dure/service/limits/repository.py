"""Limits, alerts and approvals of one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BigInteger, or_, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from dure.db.repository import ScopedRepository
from dure.db.tables import (
    ApprovalRequestModel,
    MembershipModel,
    OrgModel,
    OrgTokenPoolModel,
    TokenUsageAlertModel,
    UserTokenLimitModel,
)

__all__ = [
    "EVERYBODY",
    "AlertRepository",
    "ApprovalRepository",
    "LimitRepository",
    "MaximumRepository",
]

EVERYBODY = "*"


class LimitRepository(ScopedRepository[UserTokenLimitModel]):
    """People's limits, the default, and the pool."""

    table = UserTokenLimitModel

    async def of(self, user_id: str) -> UserTokenLimitModel | None:
        """Return a person's own limit, or the default's."""
        return await self.one_or_none(self.rows().where(UserTokenLimitModel.user_id == user_id))

    async def counting(self, user_id: str) -> UserTokenLimitModel | None:
        """Return the limit that counts for a person: their own, else the default."""
        found = await self.all(
            self.rows().where(UserTokenLimitModel.user_id.in_((user_id, EVERYBODY)))
        )
        own = [row for row in found if row.user_id == user_id]
        return next(iter(own or found), None)

    async def page(self, limit: int, after: str | None) -> Sequence[UserTokenLimitModel]:
        """Return people's limits by id, one more than asked for if there are more."""
        query = self.rows().where(UserTokenLimitModel.user_id != EVERYBODY)
        if after is not None:
            query = query.where(UserTokenLimitModel.user_id > after)
        return await self.all(query.order_by(UserTokenLimitModel.user_id).limit(limit + 1))

    async def pool(self) -> OrgTokenPoolModel | None:
        """Return the tenant's pool."""
        return await self._work.get(OrgTokenPoolModel, self._org_id)

    async def zone(self) -> str:
        """Return the tenant's time zone."""
        query = select(OrgModel.zone).where(OrgModel.id == self._org_id)
        return await self._work.scalar(query) or "UTC"

    async def is_member(self, user_id: str) -> bool:
        """Whether a person is in the tenant."""
        return await self._work.get(MembershipModel, (self._org_id, user_id)) is not None


class MaximumRepository:
    """What the hosts of a fleet share: the only query here that begins without a tenant."""

    def __init__(self, work: AsyncSession) -> None:
        self._work = work

    async def pools(self) -> Sequence[tuple[OrgTokenPoolModel, str]]:
        """Return every pool that holds, with its tenant's zone."""
        found = await self._work.execute(
            select(OrgTokenPoolModel, OrgModel.zone)
            .join(OrgModel, OrgModel.id == OrgTokenPoolModel.org_id)
            .where(OrgTokenPoolModel.policy != "warn")
        )
        return [(row, zone) for row, zone in found]

    async def people(self) -> Sequence[tuple[str, str, UserTokenLimitModel, str]]:
        """Return tenant, person, the limit that counts for them, and the zone."""
        own, default = aliased(UserTokenLimitModel), aliased(UserTokenLimitModel)
        found = await self._work.execute(
            select(MembershipModel.org_id, MembershipModel.user_id, own, default, OrgModel.zone)
            .join(OrgModel, OrgModel.id == MembershipModel.org_id)
            .outerjoin(
                own,
                (own.org_id == MembershipModel.org_id) & (own.user_id == MembershipModel.user_id),
            )
            .outerjoin(
                default, (default.org_id == MembershipModel.org_id) & (default.user_id == EVERYBODY)
            )
            .where(or_(own.org_id.is_not(None), default.org_id.is_not(None)))
        )
        rows = [(org, user, mine or theirs, zone) for org, user, mine, theirs, zone in found]
        return [row for row in rows if row[2].policy != "warn"]

    async def grants(self, now: datetime) -> dict[str, int]:
        """Return what is granted to each scope at a moment."""
        found = await self._work.scalars(
            select(ApprovalRequestModel).where(
                ApprovalRequestModel.state == "granted", ApprovalRequestModel.until > now
            )
        )
        sums: dict[str, int] = {}
        for row in found:
            sums[row.scope] = sums.get(row.scope, 0) + (row.amount or 0)
        return sums


class AlertRepository(ScopedRepository[TokenUsageAlertModel]):
    """Thresholds that were crossed."""

    table = TokenUsageAlertModel

    async def page(
        self, limit: int, before: tuple[int, str] | None
    ) -> Sequence[TokenUsageAlertModel]:
        """Return alerts, newest first, one more than asked for if there are more."""
        order = (TokenUsageAlertModel.at_us, TokenUsageAlertModel.id)
        query = self.rows().order_by(*(column.desc() for column in order)).limit(limit + 1)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return await self.all(query)


class ApprovalRepository(ScopedRepository[ApprovalRequestModel]):
    """Requests beyond a limit."""

    table = ApprovalRequestModel

    async def one(self, approval_id: str, *, lock: bool = False) -> ApprovalRequestModel | None:
        """Return a request; `lock` keeps others from deciding it meanwhile."""
        query = self.rows().where(ApprovalRequestModel.id == approval_id)
        return await self.one_or_none(query.with_for_update() if lock else query)

    async def lock(self) -> None:
        """Keep others from opening a request of this tenant meanwhile."""
        await self._work.execute(
            select(OrgModel.id).where(OrgModel.id == self._org_id).with_for_update()
        )

    async def newest(self, scope: str, window_start_us: int) -> ApprovalRequestModel | None:
        """Return a scope's last request of a window."""
        return await self.one_or_none(
            self.rows()
            .where(
                ApprovalRequestModel.scope == scope,
                ApprovalRequestModel.window_start_us == window_start_us,
            )
            .order_by(ApprovalRequestModel.round.desc())
            .limit(1)
        )

    async def page(
        self, limit: int, before: tuple[int, str] | None, state: str | None
    ) -> Sequence[ApprovalRequestModel]:
        """Return requests, newest first, one more than asked for if there are more."""
        made = type_coerce(ApprovalRequestModel.created_at, BigInteger)
        order = (made, ApprovalRequestModel.id)
        query = self.rows().order_by(*(column.desc() for column in order)).limit(limit + 1)
        if state is not None:
            query = query.where(ApprovalRequestModel.state == state)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return await self.all(query)
