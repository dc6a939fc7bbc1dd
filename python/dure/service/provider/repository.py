"""Ids at the provider of one tenant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import BigInteger, delete, tuple_, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from dure.db.repository import ScopedRepository
from dure.db.tables import ProviderObjectModel as Known

__all__ = ["ProviderObjects"]


class ProviderObjects(ScopedRepository[Known]):
    """Ids; `owner_id` narrows them to a person's."""

    table = Known

    async def of(self, kind: str, ids: Collection[str], owner_id: str | None) -> dict[str, Known]:
        """Return those of the ids that are there, by id."""
        query = self.rows().where(Known.kind == kind, Known.id.in_(ids))
        if owner_id is not None:
            query = query.where(Known.owner_id == owner_id)
        return {row.id: row for row in await self.all(query)}

    async def page(
        self, kind: str, limit: int, after: Known | None, owner_id: str | None, *, rising: bool
    ) -> Sequence[Known]:
        """Return rows by age, one more than asked for if there are more."""
        made: ColumnElement[int] = type_coerce(Known.created_at, BigInteger)
        order = (made.asc(), Known.id.asc()) if rising else (made.desc(), Known.id.desc())
        query = self.rows().where(Known.kind == kind).order_by(*order).limit(limit + 1)
        if owner_id is not None:
            query = query.where(Known.owner_id == owner_id)
        if after is not None:
            from dure.service.kit.clock import microseconds

            place = tuple_(microseconds(after.created_at), after.id)
            here = tuple_(made, Known.id)
            query = query.where(here > place if rising else here < place)
        return await self.all(query)

    async def forget(self, kind: str, ids: Collection[str]) -> None:
        """Remove ids of this tenant."""
        await self._work.execute(
            delete(Known).where(Known.org_id == self._org_id, Known.kind == kind, Known.id.in_(ids))
        )
