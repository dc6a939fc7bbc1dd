"""Who is known: people, memberships, logins, keys. Looked up before a tenant is known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import new_id
from dure.db.tables import (
    ApiKey,
    IdentityModel,
    MembershipModel,
    OrgModel,
    RefreshTokenModel,
    UserModel,
)

__all__ = ["IdentityRepository"]


class IdentityRepository:
    """The only queries that begin without a tenant: they find out which one it is."""

    def __init__(self, work: AsyncSession) -> None:
        self._work = work

    async def has_logins(self, but: str) -> bool:
        """Whether anybody but one is known yet."""
        query = select(func.count()).select_from(IdentityModel).where(IdentityModel.user_id != but)
        return bool(await self._work.scalar(query))

    async def add_local_user(self, user_id: str, now: datetime) -> None:
        """Make who acts while login is skipped; nobody can log in as them."""
        self._work.add(
            UserModel(
                id=user_id,
                email=None,
                name="local",
                password_hash=None,
                zone="UTC",
                operator=False,
                disabled_at=None,
                created_at=now,
            )
        )
        await self._work.flush()

    async def org(self, org_id: str) -> OrgModel | None:
        """Return a tenant."""
        return await self._work.get(OrgModel, org_id)

    async def user(self, user_id: str) -> UserModel | None:
        """Return a person."""
        return await self._work.get(UserModel, user_id)

    async def member(self, org_id: str, user_id: str) -> tuple[UserModel, MembershipModel] | None:
        """Return a person in a tenant, unless they are disabled."""
        found = await self._work.execute(
            select(UserModel, MembershipModel)
            .join(MembershipModel, MembershipModel.user_id == UserModel.id)
            .where(
                MembershipModel.org_id == org_id,
                UserModel.id == user_id,
                UserModel.disabled_at.is_(None),
            )
        )
        row = found.one_or_none()
        return None if row is None else (row[0], row[1])

    async def by_identity(self, issuer: str, subject: str) -> UserModel | None:
        """Return who an issuer means."""
        found: UserModel | None = await self._work.scalar(
            select(UserModel)
            .join(IdentityModel, IdentityModel.user_id == UserModel.id)
            .where(IdentityModel.issuer == issuer, IdentityModel.subject == subject)
        )
        return found

    async def memberships(self, user_id: str) -> list[MembershipModel]:
        """Return the tenants of a person, oldest first."""
        found = await self._work.scalars(
            select(MembershipModel)
            .where(MembershipModel.user_id == user_id)
            .order_by(MembershipModel.created_at, MembershipModel.org_id)
        )
        return list(found)

    async def key(self, key_id: str) -> ApiKey | None:
        """Return an API key."""
        return await self._work.get(ApiKey, key_id)

    async def family(self, family: str, *, lock: bool = False) -> RefreshTokenModel | None:
        """Return a login; `lock` keeps others from turning it meanwhile."""
        return await self._work.get(RefreshTokenModel, family, with_for_update=lock or None)

    async def open_families(self, user_id: str, start: str) -> list[RefreshTokenModel]:
        """Return a person's logins whose names begin so, but those that ended."""
        found = await self._work.scalars(
            select(RefreshTokenModel)
            .where(
                RefreshTokenModel.user_id == user_id,
                RefreshTokenModel.family.startswith(start, autoescape=True),
                RefreshTokenModel.revoked_at.is_(None),
            )
            .with_for_update()
        )
        return list(found)

    async def end_logins(self, user_id: str, now: datetime) -> None:
        """End every login of a person."""
        await self._work.execute(
            update(RefreshTokenModel)
            .where(RefreshTokenModel.user_id == user_id, RefreshTokenModel.revoked_at.is_(None))
            .values(revoked_at=now)
        )

    async def used(self, key_ids: Iterable[str], now: datetime) -> None:
        """Write down that keys were used."""
        await self._work.execute(
            update(ApiKey).where(ApiKey.id.in_(list(key_ids))).values(last_used_at=now)
        )

    async def add_org(self, org_id: str, name: str, now: datetime) -> OrgModel:
        """Make a tenant."""
        row = OrgModel(id=org_id, name=name, zone="UTC", log_content="off", created_at=now)
        self._work.add(row)
        await self._work.flush()
        return row

    async def add_user(
        self,
        issuer: str,
        subject: str,
        now: datetime,
        *,
        email: str | None,
        name: str,
        password_hash: str | None = None,
        operator: bool = False,
    ) -> UserModel:
        """Make a person whom an issuer knows."""
        row = UserModel(
            id=new_id("usr"),
            email=email,
            name=name,
            password_hash=password_hash,
            zone="UTC",
            operator=operator,
            disabled_at=None,
            created_at=now,
        )
        self._work.add(row)
        await self._work.flush()
        self._work.add(
            IdentityModel(issuer=issuer, subject=subject, user_id=row.id, created_at=now)
        )
        await self._work.flush()
        return row

    async def set_role(self, org_id: str, user_id: str, role: str, now: datetime) -> bool:
        """Give a person a role in a tenant; return whether that is news."""
        row = await self._work.get(MembershipModel, (org_id, user_id))
        if row is None:
            self._work.add(
                MembershipModel(org_id=org_id, user_id=user_id, role=role, created_at=now)
            )
        elif row.role == role:
            return False
        else:
            row.role = role
        await self._work.flush()
        return True
