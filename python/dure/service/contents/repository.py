"""Logs of contents of one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BigInteger, delete, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.repository import ScopedRepository
from dure.db.tables import ContentLogModel, OrgModel

__all__ = ["ContentRepository", "levels", "prune"]


class ContentRepository(ScopedRepository[ContentLogModel]):
    """Requests to models."""

    table = ContentLogModel

    async def one(self, content_id: str) -> ContentLogModel | None:
        """Return one."""
        return await self.one_or_none(self.rows().where(ContentLogModel.id == content_id))

    async def page(
        self, limit: int, before: tuple[int, str] | None, user_id: str | None
    ) -> Sequence[ContentLogModel]:
        """Return them newest first, one more than asked for if there are more."""
        at = type_coerce(ContentLogModel.at, BigInteger)
        order = (at, ContentLogModel.id)
        query = self.rows().order_by(*(one.desc() for one in order)).limit(limit + 1)
        if user_id is not None:
            query = query.where(ContentLogModel.user_id == user_id)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return await self.all(query)

    async def remove(self, user_id: str | None) -> int:
        """Remove all, or one person's; return how many there were."""
        statement = delete(ContentLogModel).where(ContentLogModel.org_id == self._org_id)
        if user_id is not None:
            statement = statement.where(ContentLogModel.user_id == user_id)
        found = await self._work.execute(statement)
        return int(found.rowcount)  # type: ignore[attr-defined]


async def levels(work: AsyncSession) -> dict[str, str]:
    """Return what is kept of each tenant that wants something kept."""
    query = select(OrgModel.id, OrgModel.log_content).where(OrgModel.log_content != "off")
    return {row[0]: row[1] for row in await work.execute(query)}


async def prune(work: AsyncSession, before: datetime) -> None:
    """Remove what is older, of all tenants."""
    await work.execute(delete(ContentLogModel).where(ContentLogModel.at < before))
