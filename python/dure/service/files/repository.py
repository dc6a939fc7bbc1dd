"""Files of one tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, tuple_, type_coerce

from dure.db.repository import ScopedRepository
from dure.db.tables import FileModel
from dure.service.kit.clock import microseconds

__all__ = ["FileRepository"]


class FileRepository(ScopedRepository[FileModel]):
    """Files; `owner_id` narrows them to a person's."""

    table = FileModel

    async def one(
        self, file_id: str, owner_id: str | None, *, lock: bool = False
    ) -> FileModel | None:
        """Return a file; `lock`: nobody else changes it before the unit of work ends."""
        query = self.rows().where(FileModel.id == file_id)
        if owner_id is not None:
            query = query.where(FileModel.owner_id == owner_id)
        return await self.one_or_none(query.with_for_update() if lock else query)

    async def page(
        self, limit: int, after: tuple[int, str] | None, owner_id: str | None
    ) -> tuple[Sequence[FileModel], tuple[int, str] | None]:
        """Return files, newest first, and where the next page begins."""
        made = type_coerce(FileModel.created_at, BigInteger)
        query = self.rows().order_by(made.desc(), FileModel.id.desc()).limit(limit + 1)
        if owner_id is not None:
            query = query.where(FileModel.owner_id == owner_id)
        if after is not None:
            query = query.where(tuple_(made, FileModel.id) < tuple_(*after))
        found = await self.all(query)
        more = len(found) > limit
        found = found[:limit]
        return found, (microseconds(found[-1].created_at), found[-1].id) if more else None

    async def remove(self, row: FileModel) -> None:
        """Remove a file's row."""
        await self._work.delete(row)
