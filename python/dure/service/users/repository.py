"""People of one tenant; tenants, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import ApiKey, MembershipModel, OrgModel, RefreshTokenModel, UserModel

__all__ = ["OrgRepository", "UserRepository"]

Member = tuple[UserModel, MembershipModel]


class UserRepository:
    """People by their memberships: whoever is not in the tenant is not there."""

    def __init__(self, work: AsyncSession, org_id: str) -> None:
        self._work, self._org_id = work, org_id

    async def one(self, user_id: str) -> Member | None:
        """Return a person."""
        row = (await self._work.execute(self._rows().where(UserModel.id == user_id))).one_or_none()
        return None if row is None else (row[0], row[1])

    async def page(self, limit: int, after: str | None) -> list[Member]:
        """Return people after an id, one more than asked for if there are more."""
        query = self._rows().order_by(UserModel.id).limit(limit + 1)
        if after is not None:
            query = query.where(UserModel.id > after)
        return [(row[0], row[1]) for row in (await self._work.execute(query)).all()]

    async def remove(self, membership: MembershipModel, now: datetime) -> None:
        """End a membership, and the person's keys and logins in the tenant."""
        mine = membership.user_id
        await self._work.execute(
            update(ApiKey)
            .where(ApiKey.org_id == self._org_id, ApiKey.owner_id == mine)
            .where(ApiKey.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        await self._work.execute(
            update(RefreshTokenModel)
            .where(RefreshTokenModel.org_id == self._org_id, RefreshTokenModel.user_id == mine)
            .where(RefreshTokenModel.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        await self._work.delete(membership)

    def _rows(self) -> Select[UserModel, MembershipModel]:
        return (
            select(UserModel, MembershipModel)
            .join(MembershipModel, MembershipModel.user_id == UserModel.id)
            .where(MembershipModel.org_id == self._org_id)
        )


class OrgRepository:
    """Tenants: only operators see more than their own."""

    def __init__(self, work: AsyncSession) -> None:
        self._work = work

    async def one(self, org_id: str) -> OrgModel | None:
        """Return a tenant."""
        return await self._work.get(OrgModel, org_id)

    async def page(self, limit: int, after: str | None) -> Sequence[OrgModel]:
        """Return tenants after an id, one more than asked for if there are more."""
        query = select(OrgModel).order_by(OrgModel.id).limit(limit + 1)
        if after is not None:
            query = query.where(OrgModel.id > after)
        return (await self._work.scalars(query)).all()
