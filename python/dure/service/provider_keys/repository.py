"""Provider keys: of the whole installation, kept by the operators' organisation."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.repository import ScopedRepository
from dure.db.tables import ProviderKeyModel

__all__ = ["ProviderKeyRepository", "active_keys"]


class ProviderKeyRepository(ScopedRepository[ProviderKeyModel]):
    """Provider keys of one tenant."""

    table = ProviderKeyModel

    async def one(self, key_id: str) -> ProviderKeyModel | None:
        """Return a key."""
        query = self.rows().where(ProviderKeyModel.id == key_id)
        return await self.one_or_none(query.with_for_update())

    async def page(self, limit: int, after: str | None) -> Sequence[ProviderKeyModel]:
        """Return keys by id, one more than asked for if there are more."""
        query = self.rows().order_by(ProviderKeyModel.id).limit(limit + 1)
        return await self.all(query if after is None else query.where(ProviderKeyModel.id > after))


async def active_keys(work: AsyncSession, provider: str) -> Sequence[ProviderKeyModel]:
    """Return the keys that calls to a provider take turns with, oldest first."""
    query = (
        select(ProviderKeyModel)
        .where(ProviderKeyModel.provider == provider, ProviderKeyModel.state == "active")
        .order_by(ProviderKeyModel.created_at, ProviderKeyModel.id)
    )
    return (await work.scalars(query)).all()
