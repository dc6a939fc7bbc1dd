"""The scoped repository: every query begins with the rows of one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import Base

__all__ = ["Row", "ScopedRepository"]

Row = TypeVar("Row", bound=Base)


class ScopedRepository(Generic[Row]):
    """Rows of one table that belong to one tenant; a foreign id finds nothing."""

    table: type[Row]

    def __init__(self, work: AsyncSession, org_id: str) -> None:
        """Narrow everything to the tenant."""
        self._work, self._org_id = work, org_id

    def rows(self) -> Select[Any]:
        """Return the query that each method begins with."""
        return select(self.table).where(self.table.org_id == self._org_id)  # type: ignore[attr-defined]

    async def one_or_none(self, query: Select[Any]) -> Row | None:
        """Return the one row, or None."""
        found: Row | None = (await self._work.execute(query)).scalar_one_or_none()
        return found

    async def all(self, query: Select[Any]) -> Sequence[Row]:
        """Return every row of a query."""
        found: Sequence[Row] = (await self._work.execute(query)).scalars().all()
        return found

    def add(self, row: Row) -> Row:
        """Keep a new row when the unit of work ends; it must be this tenant's."""
        assert row.org_id == self._org_id  # type: ignore[attr-defined]
        self._work.add(row)
        return row
