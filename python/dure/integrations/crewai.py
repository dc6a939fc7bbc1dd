"""CrewAI's knowledge and memory in a `dure.Store`: `pip install "dure[crewai]"`.

Example::

    store = dure.Store.open("kb")
    dure.integrations.crewai.use(store, embedder=embedder)   # before the crews are made
    crew = Crew(..., memory=True, knowledge_sources=[...])

One store serves several workers, keeps what was saved through `kill -9`, and filters before it
searches. Scores are those of CrewAI's own store, (1 + cosine) / 2 between 0 and 1: its default
threshold of 0.6 asks for a cosine of 0.2.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from dure.errors import InvalidArgumentError, MissingExtraError, NotFoundError

try:
    from crewai.knowledge.storage.base_knowledge_storage import BaseKnowledgeStorage
    from crewai.knowledge.storage.factory import set_knowledge_storage_factory
    from crewai.memory.storage.backend import EmbeddingDimensionMismatchError
    from crewai.memory.storage.factory import set_memory_storage_factory
    from crewai.memory.types import MemoryRecord, ScopeInfo
    from pydantic import PrivateAttr
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("crewai", "crewai") from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dure.retrieval import Collection, Embedder, Hit, Row, Store

__all__ = ["DureClient", "DureKnowledge", "DureMemory", "use"]

_PAGE = 1000


def use(
    store: Store,
    *,
    embedder: Embedder | None = None,
    tenant: str | None = None,
    memory: str = "memory",
) -> None:
    """Make `store` the default of CrewAI's memory and knowledge in this process.

    Args:
        store: Stays the caller's.
        embedder: Of knowledge; None: `dure.local.HashEmbedder`. Memory brings its own vectors.
        tenant: Whose collections these are.
        memory: The collection of memories. Knowledge has one for each name CrewAI gives.
    """
    set_memory_storage_factory(lambda _spec: DureMemory(store, memory, tenant=tenant))
    set_knowledge_storage_factory(
        lambda _embedder, name: DureKnowledge.of(
            store, _knowledge(name), embedder=embedder, tenant=tenant
        )
    )


def _knowledge(name: str | None) -> str:
    return f"knowledge_{name}" if name else "knowledge"


def _score(cosine: float) -> float:
    return max(0.0, min(1.0, (1 + cosine) / 2))


class DureMemory:
    """A `StorageBackend` of CrewAI's: memories with scopes and categories. Thread-safe.

    Scopes are paths ("/org/acme/crew/7"); a prefix means the scope itself and all below it, and
    `root_scope` is a tenant as CrewAI means it. Filters hold before the search: `limit` memories
    come back if there are as many.
    """

    def __init__(self, store: Store, name: str = "memory", *, tenant: str | None = None) -> None:
        """Use a collection of `store`, which stays the caller's."""
        self._collection: Collection = store.collection(name, tenant=tenant)

    def save(self, records: list[MemoryRecord]) -> None:
        """Write memories, in one commit. Each has its embedding.

        Raises:
            InvalidArgumentError: one has none.
        """
        if not records:
            return
        for record in records:
            if record.embedding is None:
                raise InvalidArgumentError(
                    f"the memory {record.id!r} has no embedding: give the crew an embedder",
                    argument="records",
                )
        last = {record.id: record for record in records}
        vectors = [cast("list[float]", record.embedding) for record in last.values()]
        self._check_dim(len(vectors[0]))
        self._collection.upsert(
            ids=list(last),
            embeddings=vectors,
            texts=[record.content for record in last.values()],
            metadata=[_facts(record) for record in last.values()],
        )

    def _check_dim(self, given: int) -> None:
        stored = self._collection.dim
        if stored is not None and stored != given:
            raise EmbeddingDimensionMismatchError(stored, given)

    def search(
        self,
        query_embedding: list[float],
        scope_prefix: str | None = None,
        categories: list[str] | None = None,
        metadata_filter: dict[str, Any] | None = None,
        limit: int = 10,
        min_score: float = 0.0,
    ) -> list[tuple[MemoryRecord, float]]:
        """Return the nearest memories that pass, best first, with their scores."""
        self._check_dim(len(query_embedding))
        hits = self._collection.query(
            query_embedding,
            top_k=limit,
            where=_where(scope_prefix, categories, metadata_filter),
        )
        scored = [(_memory(hit), _score(hit.score)) for hit in hits]
        return [(record, score) for record, score in scored if score >= min_score]

    def delete(
        self,
        scope_prefix: str | None = None,
        categories: list[str] | None = None,
        record_ids: list[str] | None = None,
        older_than: datetime | None = None,
        metadata_filter: dict[str, Any] | None = None,
    ) -> int:
        """Remove the memories that meet all that is given, else all; return how many."""
        where = _where(scope_prefix, categories, metadata_filter, older_than)
        if record_ids is not None:
            if where is None:
                return self._collection.delete(ids=record_ids) if record_ids else 0
            wanted = set(record_ids)
            chosen = [row.id for row in self._rows(where) if row.id in wanted]
            return self._collection.delete(ids=chosen) if chosen else 0
        if where is not None:
            return self._collection.delete(where=where)
        return self._collection.delete(ids=[row.id for row in self._rows(None)] or ["-"])

    def update(self, record: MemoryRecord) -> None:
        """Replace a memory; its vector stays if the new one brings none."""
        if record.embedding is None:
            found = self._collection.get([record.id], include=["vector"])[0].vector
            record = record.model_copy(
                update={"embedding": None if found is None else found.tolist()}
            )
        self.save([record])

    def get_record(self, record_id: str) -> MemoryRecord | None:
        """Return one memory, None if there is none."""
        try:
            return _memory(self._collection.get([record_id], include=["vector"])[0])
        except NotFoundError:
            return None

    def list_records(
        self, scope_prefix: str | None = None, limit: int = 200, offset: int = 0
    ) -> list[MemoryRecord]:
        """Return memories of a scope, the newest first."""
        records = [_memory(row) for row in self._rows(_where(scope_prefix))]
        records.sort(key=lambda record: (record.created_at.timestamp(), record.id), reverse=True)
        return records[max(offset, 0) : max(offset, 0) + max(limit, 0)]

    def get_scope_info(self, scope: str) -> ScopeInfo:
        """Return what is known of a scope and all below it."""
        path = _path(scope)
        records = [_memory(row) for row in self._rows(_where(scope))]
        created = sorted((record.created_at for record in records), key=datetime.timestamp)
        return ScopeInfo(
            path=path,
            record_count=len(records),
            categories=sorted({one for record in records for one in record.categories}),
            oldest_record=created[0] if created else None,
            newest_record=created[-1] if created else None,
            child_scopes=_children(path, (record.scope for record in records)),
        )

    def list_scopes(self, parent: str = "/") -> list[str]:
        """Return the scopes right below `parent`."""
        return _children(
            _path(parent), (str(row.metadata["scope"]) for row in self._rows(_where(parent)))
        )

    def list_categories(self, scope_prefix: str | None = None) -> dict[str, int]:
        """Return how many memories of a scope have each category."""
        counts: dict[str, int] = {}
        for row in self._rows(_where(scope_prefix)):
            for category in row.metadata["categories"]:
                counts[category] = counts.get(category, 0) + 1
        return counts

    def count(self, scope_prefix: str | None = None) -> int:
        """Return how many memories a scope has."""
        return self._collection.count(where=_where(scope_prefix))

    def reset(self, scope_prefix: str | None = None) -> None:
        """Remove all memories of a scope."""
        self.delete(scope_prefix=scope_prefix)

    def _rows(self, where: dict[str, Any] | None) -> Iterator[Row]:
        after: str | None = None
        while True:
            page = self._collection.scroll(after=after, limit=_PAGE, where=where)
            yield from page.rows
            after = page.next
            if after is None:
                return

    async def asave(self, records: list[MemoryRecord]) -> None:
        """The coroutine of `save`."""
        await asyncio.to_thread(self.save, records)

    async def asearch(self, query_embedding: list[float], **options: Any) -> Any:  # noqa: ANN401
        """The coroutine of `search`."""
        return await asyncio.to_thread(self.search, query_embedding, **options)

    async def adelete(self, **options: Any) -> int:  # noqa: ANN401
        """The coroutine of `delete`."""
        return await asyncio.to_thread(self.delete, **options)


def _path(scope: str | None) -> str:
    parts = [part for part in (scope or "").split("/") if part]
    return "/" + "/".join(parts)


def _ancestors(scope: str) -> list[str]:
    parts = [part for part in scope.split("/") if part]
    return ["/", *("/" + "/".join(parts[: i + 1]) for i in range(len(parts)))]


def _children(path: str, scopes: Iterable[str]) -> list[str]:
    prefix = path.rstrip("/") + "/"
    below = {one[len(prefix) :].split("/", 1)[0] for one in scopes if one.startswith(prefix)}
    return sorted(prefix + one for one in below if one)


def _facts(record: MemoryRecord) -> dict[str, Any]:
    values = record.model_dump(mode="json", exclude={"id", "content"})
    scope = _path(record.scope)
    created = record.created_at.timestamp()
    return {**values, "scope": scope, "scopes": _ancestors(scope), "created": created}


def _memory(row: Row | Hit) -> MemoryRecord:
    values = {key: value for key, value in row.metadata.items() if key not in ("scopes", "created")}
    vector = None if row.vector is None else row.vector.tolist()
    return MemoryRecord(id=row.id, content=row.text or "", embedding=vector, **values)


def _where(
    scope: str | None,
    categories: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    older_than: datetime | None = None,
) -> dict[str, Any] | None:
    must: list[dict[str, Any]] = []
    if _path(scope) != "/":
        must.append({"key": "scopes", "match": {"value": _path(scope)}})
    if categories:
        must.append({"key": "categories", "match": {"any": categories}})
    if older_than is not None:
        must.append({"key": "created", "range": {"lt": older_than.timestamp()}})
    must += [
        {"key": f"metadata.{key}", "match": {"value": value}}
        for key, value in (metadata or {}).items()
    ]
    return {"must": must} if must else None


class DureKnowledge(BaseKnowledgeStorage):
    """Knowledge of a crew in one collection; made by `use`, or by `DureKnowledge.of`."""

    _collection: Any = PrivateAttr()
    _store: Any = PrivateAttr()
    _name: tuple[str, str | None] = PrivateAttr()

    @classmethod
    def of(
        cls,
        store: Store,
        name: str = "knowledge",
        *,
        embedder: Embedder | None = None,
        tenant: str | None = None,
    ) -> DureKnowledge:
        """Use a collection of `store`, which stays the caller's."""
        made = cls()
        made._store = store
        made._name = (name, tenant)
        made._collection = store.collection(name, tenant=tenant, embedder=embedder)
        return made

    def search(
        self,
        query: list[str],
        limit: int = 5,
        metadata_filter: dict[str, Any] | None = None,
        score_threshold: float = 0.6,
    ) -> list[Any]:
        """Return the nearest documents; several queries are asked as one."""
        if not query:
            raise InvalidArgumentError("the query is empty", argument="query")
        return _found(
            self._collection, " ".join(query), limit, metadata_filter or None, score_threshold
        )

    async def asearch(
        self,
        query: list[str],
        limit: int = 5,
        metadata_filter: dict[str, Any] | None = None,
        score_threshold: float = 0.6,
    ) -> list[Any]:
        """The coroutine of `search`."""
        return await asyncio.to_thread(self.search, query, limit, metadata_filter, score_threshold)

    def save(self, documents: list[str]) -> None:
        """Add documents; one that is there already costs nothing."""
        unique = list(dict.fromkeys(one for one in documents if one))
        if unique:
            self._collection.upsert(unique)

    async def asave(self, documents: list[str]) -> None:
        """The coroutine of `save`."""
        await asyncio.to_thread(self.save, documents)

    def reset(self) -> None:
        """Remove all documents."""
        name, tenant = self._name
        embedder = self._collection.embedder
        self._store.drop(name, tenant=tenant)
        self._collection = self._store.collection(name, tenant=tenant, embedder=embedder)

    async def areset(self) -> None:
        """The coroutine of `reset`."""
        await asyncio.to_thread(self.reset)


def _found(
    collection: Collection,
    query: str,
    limit: int,
    where: dict[str, Any] | None,
    threshold: float | None,
) -> list[dict[str, Any]]:
    hits = collection.query(query, top_k=limit, mode="vector", where=where)
    scored = ((hit, _score(hit.score)) for hit in hits)
    return [
        {"id": hit.id, "content": hit.text or "", "metadata": hit.metadata, "score": score}
        for hit, score in scored
        if threshold is None or score >= threshold
    ]


class DureClient:
    """A RAG client as `crewai.rag.core.base_client.BaseClient` describes it, over a store."""

    def __init__(
        self, store: Store, *, embedder: Embedder | None = None, tenant: str | None = None
    ) -> None:
        """Use `store`, which stays the caller's."""
        self.client = store
        self._embedder = embedder
        self._tenant = tenant

    def embedding_function(self, input: Sequence[str]) -> list[Any]:
        """Return a vector for each text, as Chroma's embedding functions do."""
        embedder = self._embedder
        if embedder is None:
            from dure._core.index import HashEmbedder

            embedder = HashEmbedder()
        return list(embedder.embed_documents(list(input)))

    def _known(self, name: str) -> Collection:
        if name not in self.client.collections(tenant=self._tenant):
            raise ValueError(f"collection {name!r} does not exist")  # as CrewAI's clients do
        return self.get_or_create_collection(collection_name=name)

    def create_collection(self, **options: Any) -> None:  # noqa: ANN401
        """Make `collection_name`. Raises ValueError if it is there."""
        name = options["collection_name"]
        if name in self.client.collections(tenant=self._tenant):
            raise ValueError(f"collection {name!r} exists already")
        self.get_or_create_collection(collection_name=name)

    def get_or_create_collection(self, **options: Any) -> Collection:  # noqa: ANN401
        """Return `collection_name`, made if it is not there."""
        return self.client.collection(
            options["collection_name"], tenant=self._tenant, embedder=self._embedder
        )

    def add_documents(self, **options: Any) -> None:  # noqa: ANN401
        """Add `documents`: content, metadata, and `doc_id`, else an id made of the content."""
        collection = self._known(options["collection_name"])
        if not options["documents"]:
            raise ValueError("documents is empty")
        rows: dict[str, tuple[str, dict[str, Any]]] = {}
        for document in options["documents"]:
            id, metadata = _document_id(document), document.get("metadata") or {}
            if isinstance(metadata, list):
                metadata = metadata[0] if metadata else {}
            rows[id] = (document["content"], dict(metadata))
        collection.upsert(
            ids=list(rows),
            texts=[text for text, _ in rows.values()],
            metadata=[metadata for _, metadata in rows.values()],
        )

    def search(self, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Return what is nearest to `query`: id, content, metadata, score."""
        return _found(
            self._known(options["collection_name"]),
            options["query"],
            options.get("limit") or 10,
            options.get("metadata_filter") or None,
            options.get("score_threshold"),
        )

    def delete_collection(self, **options: Any) -> None:  # noqa: ANN401
        """Remove `collection_name`. Raises ValueError if there is none."""
        name = options["collection_name"]
        try:
            self.client.drop(name, tenant=self._tenant)
        except NotFoundError as error:
            raise ValueError(f"collection {name!r} does not exist") from error

    def reset(self) -> None:
        """Remove all collections of this tenant."""
        for name in self.client.collections(tenant=self._tenant):
            self.client.drop(name, tenant=self._tenant)

    async def acreate_collection(self, **options: Any) -> None:  # noqa: ANN401
        """The coroutine of `create_collection`."""
        await asyncio.to_thread(self.create_collection, **options)

    async def aget_or_create_collection(self, **options: Any) -> Collection:  # noqa: ANN401
        """The coroutine of `get_or_create_collection`."""
        return await asyncio.to_thread(self.get_or_create_collection, **options)

    async def aadd_documents(self, **options: Any) -> None:  # noqa: ANN401
        """The coroutine of `add_documents`."""
        await asyncio.to_thread(self.add_documents, **options)

    async def asearch(self, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """The coroutine of `search`."""
        return await asyncio.to_thread(self.search, **options)

    async def adelete_collection(self, **options: Any) -> None:  # noqa: ANN401
        """The coroutine of `delete_collection`."""
        await asyncio.to_thread(self.delete_collection, **options)

    async def areset(self) -> None:
        """The coroutine of `reset`."""
        await asyncio.to_thread(self.reset)


def _document_id(document: dict[str, Any]) -> str:
    from dure.retrieval import content_hash

    return str(document.get("doc_id") or content_hash(document["content"]).hex())
