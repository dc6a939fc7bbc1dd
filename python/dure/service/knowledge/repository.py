"""Documents of one tenant."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Text, exists, or_, select, tuple_, type_coerce, update

from dure.db.repository import ScopedRepository
from dure.db.tables import DocumentModel, FileModel, JobModel
from dure.service.kit.clock import microseconds

__all__ = ["DocumentRepository"]


class DocumentRepository(ScopedRepository[DocumentModel]):
    """Documents; `reader` narrows them to what a person may see."""

    table = DocumentModel

    async def one(self, document_id: str, *, lock: bool = False) -> DocumentModel | None:
        """Return a document."""
        query = self.rows().where(DocumentModel.id == document_id)
        return await self.one_or_none(query.with_for_update() if lock else query)

    async def page(
        self, limit: int, after: tuple[int, str] | None, readers: Sequence[str] | None
    ) -> tuple[Sequence[DocumentModel], tuple[int, str] | None]:
        """Return documents, newest first, that one of the readers may see; None: all."""
        made = type_coerce(DocumentModel.created_at, BigInteger)
        query = self.rows().order_by(made.desc(), DocumentModel.id.desc()).limit(limit + 1)
        if readers is not None:
            access = type_coerce(DocumentModel.access, Text)  # a JSON list: each name in quotes
            query = query.where(
                or_(*(access.contains(f'"{one}"', autoescape=True) for one in readers))
            )
        if after is not None:
            query = query.where(tuple_(made, DocumentModel.id) < tuple_(*after))
        found = await self.all(query)
        more = len(found) > limit
        found = found[:limit]
        return found, (microseconds(found[-1].created_at), found[-1].id) if more else None

    async def models(self) -> list[str]:
        """Return which models made the vectors that answer now."""
        query = (
            select(DocumentModel.model)
            .where(DocumentModel.org_id == self._org_id, DocumentModel.model.is_not(None))
            .distinct()
        )
        return sorted(one for one in (await self._work.scalars(query)).all() if one)

    async def titles(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the titles of documents that are there."""
        query = select(DocumentModel.id, DocumentModel.title).where(
            DocumentModel.org_id == self._org_id, DocumentModel.id.in_(ids)
        )
        return {row.id: row.title for row in await self._work.execute(query)}

    async def stale(self, model: str, limit: int) -> Sequence[DocumentModel]:
        """Return documents whose vectors another model made."""
        query = self.rows().where(DocumentModel.state == "ready", DocumentModel.model != model)
        query = query.order_by(DocumentModel.id).limit(limit)
        return await self.all(query.with_for_update(skip_locked=True))

    async def file_of(self, row: DocumentModel) -> FileModel | None:
        """Return the file that a document is made of."""
        query = select(FileModel).where(
            FileModel.org_id == self._org_id, FileModel.id == row.file_id
        )
        found: FileModel | None = await self._work.scalar(query)
        return found

    async def uses(self, file_id: str) -> bool:
        """Whether a document is made of a file."""
        query = select(
            exists().where(DocumentModel.org_id == self._org_id, DocumentModel.file_id == file_id)
        )
        return bool(await self._work.scalar(query))

    async def remove(self, row: DocumentModel) -> None:
        """Remove a document's row and what is queued for it."""
        await self._work.execute(
            update(JobModel)
            .where(
                JobModel.org_id == self._org_id,
                JobModel.kind == "index",
                JobModel.target == row.id,
                JobModel.state.in_(("queued", "running")),
            )
            .values(state="done", token=JobModel.token + 1, holder=None)
            .execution_options(synchronize_session=False)
        )
        await self._work.delete(row)
