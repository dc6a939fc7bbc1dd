"""API keys of one tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import tuple_

from dure.db.repository import ScopedRepository
from dure.db.tables import ApiKey
from dure.service.kit.clock import microseconds

__all__ = ["KeyRepository"]


class KeyRepository(ScopedRepository[ApiKey]):
    """Keys; `owner_id` narrows them to a person's."""

    table = ApiKey

    async def one(self, key_id: str, owner_id: str | None) -> ApiKey | None:
        """Return a key."""
        query = self.rows().where(ApiKey.id == key_id)
        if owner_id is not None:
            query = query.where(ApiKey.owner_id == owner_id)
        return await self.one_or_none(query)

    async def page(
        self, limit: int, after: tuple[int, str] | None, owner_id: str | None
    ) -> tuple[Sequence[ApiKey], tuple[int, str] | None]:
        """Return keys, newest first, and where the next page begins."""
        from sqlalchemy import BigInteger, type_coerce

        made = type_coerce(ApiKey.created_at, BigInteger)
        query = self.rows().order_by(made.desc(), ApiKey.id.desc()).limit(limit + 1)
        if owner_id is not None:
            query = query.where(ApiKey.owner_id == owner_id)
        if after is not None:
            query = query.where(tuple_(made, ApiKey.id) < tuple_(*after))
        found = await self.all(query)
        more = len(found) > limit
        found = found[:limit]
        return found, (microseconds(found[-1].created_at), found[-1].id) if more else None
