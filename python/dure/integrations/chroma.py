"""Chroma as a `dure.VectorStore`: `pip install "dure[chroma]"`.

Example::

    store = dure.integrations.chroma.ChromaStore(chromadb.HttpClient(...), "docs", dim=384)

Chroma's metadata are flat: a row's own stand whole as JSON under `dure:metadata`, and beside it
what filters ask for: each scalar under its dotted name (numbers as floats), `name?` for a field
that is there, and `name[]=value` for each element of a list. Conditions on parts of strings and on
their order are refused. To take over a folder that Chroma filled, see `Collection.load`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError, MissingExtraError
from dure.integrations._stores import Condition, EngineStore, Record, condition, no_filter, positive

try:
    import chromadb  # noqa: F401 - only whether it is there
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("chroma", "chromadb") from error

if TYPE_CHECKING:
    from dure.retrieval import Embedder, Vectors, Where

__all__ = ["ChromaStore"]

_METADATA, _DOCUMENT, _HAS_TEXT = "dure:metadata", "dure:document", "dure:text"
_BATCH = 500
_EXACT = 1 << 53  # numbers are doubles


class ChromaStore(EngineStore):
    """Rows in a collection of Chroma's, made if it is not there."""

    backend = "chroma"
    capabilities = frozenset({"filter", "delete_by_filter", "persistent", "multi_process"})

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - chromadb.ClientAPI
        collection: str,
        *,
        dim: int | None = None,
        metric: str = "cosine",
        embedder: Embedder | None = None,
    ) -> None:
        """Use `client` (`chromadb.PersistentClient`, `HttpClient`), which stays the caller's.

        Raises:
            InvalidArgumentError: the collection has another metric.
        """
        super().__init__(dim=dim, metric=metric, embedder=embedder)
        self._collection = client.get_or_create_collection(
            collection, embedding_function=None, metadata={"hnsw:space": metric}
        )
        space = (self._collection.metadata or {}).get("hnsw:space", "l2")
        if space != metric:
            raise InvalidArgumentError(
                f"collection {collection!r} has metric {space}, not {metric}: say so, or use "
                "another collection",
                argument="metric",
            )

    def _put(self, records: list[Record]) -> None:
        for begin in range(0, len(records), _BATCH):
            some = records[begin : begin + _BATCH]
            ids = [record.id for record in some]
            # An upsert merges metadata: fields that are gone would stay.
            there = self._collection.get(ids=ids, include=[])["ids"]
            if there:
                self._collection.delete(ids=there)
            self._collection.add(
                ids=ids,
                embeddings=[record.vector for record in some],
                documents=[record.text or "" for record in some],
                metadatas=[_flat(record) for record in some],
            )

    def _search(
        self, vector: Vectors, top_k: int, where: Where | None
    ) -> list[tuple[Record, float]]:
        count = self._collection.count()
        if not count:
            return []
        found = self._collection.query(
            query_embeddings=[vector],
            n_results=min(top_k, count),
            where=_filter(where),
            include=["documents", "metadatas", "distances"],
        )
        rows = zip(
            found["ids"][0],
            found["documents"][0],
            found["metadatas"][0],
            found["distances"][0],
            strict=True,
        )
        return [
            (_record(id, text, metadata), -float(far) if self.metric == "l2" else 1 - float(far))
            for id, text, metadata, far in rows
        ]

    def _remove(self, ids: list[str]) -> int:
        there = self._collection.get(ids=ids, include=[])["ids"]
        if there:
            self._collection.delete(ids=there)
        return len(there)

    def _remove_where(self, where: Where) -> int:
        return self._remove_found(_filter(where))

    def _remove_found(self, chosen: Any) -> int:  # noqa: ANN401
        there = self._collection.get(where=chosen, include=[])["ids"]
        for begin in range(0, len(there), _BATCH):
            self._collection.delete(ids=there[begin : begin + _BATCH])
        return len(there)

    def _ids_of_document(self, document: str) -> list[str]:
        found = self._collection.get(where={_DOCUMENT: {"$eq": document}}, include=[])
        return list(found["ids"])

    def _count(self, where: Where | None) -> int:
        if where is None:
            return int(self._collection.count())
        return len(self._collection.get(where=_filter(where), include=[])["ids"])

    def _scroll(
        self, after: str | None, limit: int, where: Where | None
    ) -> tuple[list[Record], str | None]:
        offset = int(after or 0)
        found = self._collection.get(
            where=_filter(where),
            limit=limit + 1,
            offset=offset,
            include=["documents", "metadatas"],
        )
        rows = [
            _record(*one)
            for one in zip(found["ids"], found["documents"], found["metadatas"], strict=True)
        ]
        return rows[:limit], str(offset + limit) if len(rows) > limit else None


def _record(id: str, text: str, metadata: dict[str, Any]) -> Record:
    return Record(
        id,
        metadata.get(_DOCUMENT),
        text if metadata.get(_HAS_TEXT) else None,
        json.loads(metadata[_METADATA]) if _METADATA in metadata else metadata,
    )


def _flat(record: Record) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    _flatten("", record.metadata, flat)
    flat[_METADATA] = json.dumps(record.metadata, ensure_ascii=False)
    flat[_HAS_TEXT] = record.text is not None
    if record.document is not None:
        flat[_DOCUMENT] = record.document
    return flat


def _flatten(prefix: str, values: dict[str, Any], flat: dict[str, Any]) -> None:
    for key, value in values.items():
        name = prefix + key
        if value is None or f"{name}?" in flat:  # "a.b" itself goes before the b of a
            continue
        flat[f"{name}?"] = True
        if isinstance(value, list):
            for one in value:
                if isinstance(one, bool | int | float | str):
                    flat[_element(name, one)] = True
        elif isinstance(value, dict):
            _flatten(f"{name}.", value, flat)
        else:
            flat[name] = value if isinstance(value, bool | str) else float(value)


def _element(field: str, value: Any) -> str:  # noqa: ANN401
    return f"{field}[]={json.dumps(_plain(value), ensure_ascii=False)}"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bool | str):
        return value
    if abs(value) > _EXACT:
        raise no_filter("chroma", "whole numbers beyond 2^53")
    return float(value)


def _filter(where: Where | None) -> Any:  # noqa: ANN401
    if where is None:
        return None
    tree, unknown = condition(where)
    return _translate(positive(tree), unknown)


def _translate(node: Condition, unknown: bool) -> Any:  # noqa: ANN401
    if node.op == "not":
        return _negated(node.children[0], unknown)
    if node.children and not node.field:
        if node.op == "at_least":
            raise no_filter("chroma", "min_should")
        return _group(f"${node.op}", [_translate(one, unknown) for one in node.children])
    return _leaf(node)


def _group(op: str, parts: list[Any]) -> Any:  # noqa: ANN401
    return parts[0] if len(parts) == 1 else {op: parts}


def _there(field: str, *, yes: bool = True) -> dict[str, Any]:
    return {f"{field}?": {"$eq" if yes else "$ne": True}}


def _leaf(node: Condition) -> Any:  # noqa: ANN401
    field = node.field
    if node.op == "is_null":
        return _there(field, yes=False)
    if node.op == "has_element":
        return {_element(field, node.values[0]): {"$eq": True}}
    if node.op in ("=", "in"):
        values = [_plain(value) for value in node.values]
        scalar = {field: {"$eq": values[0]} if node.op == "=" else {"$in": values}}
        elements = [{_element(field, value): {"$eq": True}} for value in node.values]
        return _group("$or", [scalar, *elements]) if node.any_element else scalar
    if node.any_element:
        raise no_filter("chroma", "bounds and exceptions of what may be a list")
    if node.op == "not_in":
        values = [_plain(value) for value in node.values]
        return {"$and": [{field: {"$nin": values}}, _there(field)]}
    names = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
    parts = []
    for one in node.children or [node]:
        if one.op not in names or isinstance(one.values[0], str):
            raise no_filter("chroma", "parts and order of strings")
        parts.append({field: {names[one.op]: _plain(one.values[0])}})
    return _group("$and", parts)


def _negated(node: Condition, unknown: bool) -> Any:  # noqa: ANN401
    field = node.field
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
    if node.op == "is_null":
        return _there(field)
    if node.op == "has_element":
        missing: Any = {_element(field, node.values[0]): {"$ne": True}}
        return {"$and": [missing, _there(field)]} if unknown else missing
    if node.op in ("=", "in"):
        values = [_plain(value) for value in node.values]
        other: list[Any] = [{field: {"$nin": values}}]
        if node.any_element:
            other += [{_element(field, value): {"$ne": True}} for value in node.values]
        return _group("$and", [*other, _there(field)] if unknown else other)
    if node.op in opposite and not node.any_element:
        turned = _leaf(node._replace(op=opposite[node.op]))
        return turned if unknown else {"$or": [turned, _there(field, yes=False)]}
    raise no_filter("chroma", f"the opposite of {node.op}")
