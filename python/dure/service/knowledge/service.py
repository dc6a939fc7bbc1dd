"""Documents: whose they are, who finds them, and what is found."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from dure import prompts
from dure.calls import Call
from dure.db.base import new_id
from dure.db.tables import DocumentModel, FileModel, OrgModel
from dure.errors import InvalidArgumentError, NotFoundError
from dure.retrieval import Hit
from dure.service.auth.subject import Subject
from dure.service.errors import ConflictError, ForbiddenError
from dure.service.files.service import Files, owner_of
from dure.service.inference.manager import ModelManager
from dure.service.kit import jobs
from dure.service.kit.state import State

from .repository import DocumentRepository
from .schemas import DocumentCreate, Found, QueryRequest, SearchRequest, Source
from .shelves import DOCUMENT, Shelves
from .vectors import embed, model_of

__all__ = ["INDEX", "Knowledge", "Prompt", "cited", "readers_of"]

INDEX = "index"
_ACCESS = "dure_access"
_CITED = re.compile(r"\[(\d{1,3})\]")
_EXTENSION = ".md"
_MANY = 1000  # documents of one look


@dataclass(frozen=True, slots=True)
class Prompt:
    """What goes to the model, and what it is from."""

    messages: list[dict[str, Any]]
    sources: list[Found]
    cost_pico: int  # of the search


class Knowledge:
    """The documents of all tenants. Task-safe."""

    def __init__(self, state: State, files: Files, shelves: Shelves, models: ModelManager) -> None:
        self._state, self._files = state, files
        self._shelves, self._models = shelves, models

    # Documents

    async def create(self, who: Subject, asked: DocumentCreate) -> DocumentModel:
        """Keep a document and queue its indexing.

        Raises:
            InvalidArgumentError: it has neither a text nor a file, or both.
            NotFoundError: the file is not the caller's.
            ConflictError: the file is not ready.
        """
        if (asked.text is None) == (asked.file_id is None):
            raise InvalidArgumentError("give either text or file_id", argument="text")
        if asked.file_id is not None:
            file = await self._files.one(who, asked.file_id)
        else:
            name = f"{_plain(asked.title or 'text')}{_EXTENSION}"
            text = (asked.text or "").encode("utf-8", "surrogatepass")
            file = await self._files.whole(who, name, "text/markdown", _once(text))
        return await self.of_file(who, file, asked)

    async def of_file(self, who: Subject, file: FileModel, asked: DocumentCreate) -> DocumentModel:
        """Keep a document of a file that is there.

        Raises:
            ConflictError: the file is not ready.
        """
        if file.state != "ready":
            raise ConflictError(f"The file is {file.state}.", code="not_ready")
        row = DocumentModel(
            id=new_id("doc"),
            org_id=who.org_id,
            owner_id=owner_of(who),
            title=asked.title or file.name,
            file_id=file.id,
            details={"file_type": file.kind, **asked.metadata},
            access=_access(who, asked),
            chunk_chars=asked.chunk_chars,
            state="pending",
            reason=None,
            done=0,
            total=0,
            model=None,
            stamp=None,
            cost_pico=0,
            created_at=self._state.clock.now(),
            indexed_at=None,
        )
        async with self._state.database.write() as work:
            DocumentRepository(work, who.org_id).add(row)
            await work.flush()
            self._queue(work, who, row)
        return row

    def _queue(self, work: Any, who: Subject, row: DocumentModel) -> None:  # noqa: ANN401
        jobs.add(
            work,
            self._state.clock,
            INDEX,
            row.id,
            org_id=who.org_id,
            owner_id=owner_of(who),
            key_id=who.key_id,
        )

    async def one(self, who: Subject, document_id: str) -> DocumentModel:
        """Return a document.

        Raises:
            NotFoundError: there is none, or the caller may not see it.
        """
        async with self._state.database.read() as work:
            row = await DocumentRepository(work, who.org_id).one(document_id)
        if row is None or not _may_see(who, row):
            raise NotFoundError("no such document")
        return row

    async def reindex(self, who: Subject, document_id: str) -> DocumentModel:
        """Queue a document once more; what it has answers until it is done.

        Raises:
            NotFoundError, ForbiddenError: it is not there, or not the caller's.
        """
        async with self._state.database.write() as work:
            row = await self._own(who, document_id, DocumentRepository(work, who.org_id))
            row.state, row.reason, row.done, row.stamp = "pending", None, 0, None
            self._queue(work, who, row)
        return row

    async def delete(self, who: Subject, document_id: str) -> None:
        """Remove a document: its row, its chunks, its vectors, and its bytes with the last of them.

        Raises:
            NotFoundError, ForbiddenError: it is not there, or not the caller's.
        """
        async with self._state.database.write() as work:
            documents = DocumentRepository(work, who.org_id)
            row = await self._own(who, document_id, documents)
            models = await documents.models()
            file = await documents.file_of(row)
            await documents.remove(row)
            await work.flush()
            if file is not None and await documents.uses(file.id):
                file = None  # another document is made of it, too
            if file is not None:
                await work.delete(file)
        for model in {*models, model_of(self._state.settings)}:
            await asyncio.to_thread(self._shelves.forget, who.org_id, model, row.id)
        if file is not None:
            await self._files.forget_bytes(file)

    async def _own(
        self, who: Subject, document_id: str, documents: DocumentRepository
    ) -> DocumentModel:
        row = await documents.one(document_id, lock=True)
        if row is None or not _may_see(who, row):
            raise NotFoundError("no such document")
        if who.role != "admin" and row.owner_id != owner_of(who):
            raise ForbiddenError("This document is another's.", code="not_owner")
        return row

    async def renew(self) -> int:
        """Queue every document whose vectors another model made; return how many.

        Each is charged to its organisation's user `system`. What there is answers meanwhile.
        """
        model, queued = model_of(self._state.settings), 0
        async with self._state.database.read() as work:
            orgs = (await work.scalars(select(OrgModel.id))).all()
        for org_id in orgs:
            async with self._state.database.write() as work:
                for row in await DocumentRepository(work, org_id).stale(model, _MANY):
                    row.state, row.done = "pending", 0
                    jobs.add(
                        work,
                        self._state.clock,
                        INDEX,
                        row.id,
                        org_id=org_id,
                        owner_id="system",
                        key_id=None,
                    )
                    queued += 1
        return queued

    # Search and answers

    async def search(
        self, who: Subject, asked: SearchRequest, call: Call
    ) -> tuple[list[Found], int]:
        """Return what the caller may find, best first, and what it cost.

        Raises:
            FilterError, UnsupportedError: the filter or the mode is not the store's.
        """
        async with self._state.database.read() as work:
            models = await DocumentRepository(work, who.org_id).models()
        where = _narrowed(who, asked.where)
        hits: list[Hit] = []
        cost = 0
        for model in models:
            vectors, pico = await embed(self._state, self._models, model, [asked.query], call)
            cost += pico
            hits += await asyncio.to_thread(
                self._shelves.search,
                who.org_id,
                model,
                vectors[0],
                text=asked.query,
                top_k=asked.top_k,
                mode=asked.mode,
                where=where,
            )
        hits.sort(key=lambda hit: -hit.score)
        return await self._told(who, hits[: asked.top_k]), cost

    async def _told(self, who: Subject, hits: list[Hit]) -> list[Found]:
        ids = [str(hit.metadata.get(DOCUMENT)) for hit in hits]
        async with self._state.database.read() as work:
            titles = await DocumentRepository(work, who.org_id).titles(ids)
        return [
            Found(
                document_id=one,
                title=titles[one],
                score=hit.score,
                text=hit.text or "",
                metadata={k: v for k, v in hit.metadata.items() if not k.startswith("dure_")},
            )
            for one, hit in zip(ids, hits, strict=True)
            if one in titles  # deleted meanwhile
        ]

    async def prompt(self, who: Subject, asked: QueryRequest, model: str, call: Call) -> Prompt:
        """Return the messages for a question: what was found stands in a fence, as data.

        Raises:
            InvalidArgumentError: the question alone is larger than the prompt may be.
        """
        found, cost = await self.search(who, asked, call)
        hits = [
            Hit(f"{n}", one.score, one.text, {**one.metadata, "source": one.title})
            for n, one in enumerate(found)
        ]
        messages = await asyncio.to_thread(
            prompts.fit, asked.query, hits, model=model, max_tokens=asked.max_context_tokens
        )
        used = len(prompts.question_and_sources(messages)[1])
        kept = [found[int(hit.id)] for hit in prompts.distinct(hits)[:used]]
        return Prompt(messages, kept, cost)


def cited(text: str, sources: list[Found]) -> list[Source]:
    """Return the sources by number, and which of them the answer names."""
    named = {int(one) for one in _CITED.findall(text)}
    return [Source(n=n, cited=n in named, **one.model_dump()) for n, one in enumerate(sources, 1)]


def readers_of(who: Subject) -> list[str] | None:
    """Return under which names the caller finds documents; None: an administrator finds all."""
    return None if who.role == "admin" else ["org", f"user:{owner_of(who)}"]


def metadata_of(row: DocumentModel) -> dict[str, Any]:
    """Return what each chunk of a document carries."""
    return {**row.details, DOCUMENT: row.id, _ACCESS: row.access}


def _may_see(who: Subject, row: DocumentModel) -> bool:
    readers = readers_of(who)
    return readers is None or bool(set(readers) & set(row.access))


def _narrowed(who: Subject, where: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the caller's filter within what they may find."""
    readers = readers_of(who)
    if readers is None:
        return where or None
    may = {"$or": [{_ACCESS: {"$contains": one}} for one in readers]}
    return {"$and": [may, where]} if where else may


def _access(who: Subject, asked: DocumentCreate) -> list[str]:
    owner = f"user:{owner_of(who)}"
    if asked.access == "org":
        return ["org", owner]
    shared = asked.shared_with if asked.access == "shared" else []
    return list(dict.fromkeys([owner, *(f"user:{one}" for one in shared)]))


def _plain(title: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f/\\]+", " ", title)[:200].strip(". ") or "text"


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def read_all(pieces: AsyncGenerator[bytes]) -> bytes:
    """Return all bytes of a file."""
    return b"".join([piece async for piece in pieces])
