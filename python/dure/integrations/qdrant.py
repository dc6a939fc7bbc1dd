"""Qdrant as a `dure.VectorStore`: `pip install "dure[qdrant]"`.

Example::

    from qdrant_client import QdrantClient
    store = dure.integrations.qdrant.QdrantStore(QdrantClient("http://..."), "docs", dim=384)

A point's id is the UUIDv5 of the row's id, which stands in the payload with document, text and
metadata. Filters go to Qdrant whole: a field that holds an empty list counts as missing there, and
`LIKE` and the order of strings are refused.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from dure.errors import DimensionMismatchError, InvalidArgumentError, MissingExtraError
from dure.integrations._stores import (
    Condition,
    EngineStore,
    Record,
    condition,
    no_filter,
    paths_of,
    positive,
)

try:
    from qdrant_client import QdrantClient, models
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("qdrant", "qdrant-client") from error

if TYPE_CHECKING:
    from dure.retrieval import Embedder, Vectors, Where

__all__ = ["QdrantStore"]

_SPACE = uuid.UUID("5f0c9a52-6d7e-5b53-8a3e-64757265716b")  # of the points' ids
_BATCH = 256
_EXACT = 1 << 53  # ranges are doubles


class QdrantStore(EngineStore):
    """Rows in a collection of Qdrant's, made if it is not there."""

    backend = "qdrant"
    capabilities = frozenset(
        {"filter", "delete_by_filter", "persistent", "multi_process", "quantization", "snapshot"}
    )

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        *,
        dim: int | None = None,
        metric: str = "cosine",
        embedder: Embedder | None = None,
    ) -> None:
        """Use `client`, which stays the caller's.

        Raises:
            DimensionMismatchError: the collection holds vectors of another length.
            InvalidArgumentError: it has another metric, or named vectors.
        """
        super().__init__(dim=dim, metric=metric, embedder=embedder)
        self._client = client
        self._name = collection
        distance = {
            "cosine": models.Distance.COSINE,
            "ip": models.Distance.DOT,
            "l2": models.Distance.EUCLID,
        }[metric]
        if not client.collection_exists(collection):
            client.create_collection(
                collection,
                vectors_config=models.VectorParams(size=self.dim, distance=distance),
            )
            return
        params = client.get_collection(collection).config.params.vectors
        if not isinstance(params, models.VectorParams):
            raise InvalidArgumentError(
                f"collection {collection!r} has named vectors: choose another",
                argument="collection",
            )
        if params.size != self.dim:
            raise DimensionMismatchError(
                f"collection {collection!r} holds vectors of {params.size} floats, not {self.dim}: "
                "use the model that filled it, or another collection",
                argument="dim",
                collection=collection,
                stored=params.size,
                given=self.dim,
            )
        if params.distance != distance:
            raise InvalidArgumentError(
                f"collection {collection!r} has metric {params.distance}, not {metric}",
                argument="metric",
            )

    def _put(self, records: list[Record]) -> None:
        for begin in range(0, len(records), _BATCH):
            points = [
                models.PointStruct(
                    id=_point(record.id),
                    vector=record.vector.tolist() if record.vector is not None else [],
                    payload={
                        "id": record.id,
                        "document": record.document,
                        "text": record.text,
                        "metadata": record.metadata,
                    },
                )
                for record in records[begin : begin + _BATCH]
            ]
            self._client.upsert(self._name, points, wait=True)

    def _search(
        self, vector: Vectors, top_k: int, where: Where | None
    ) -> list[tuple[Record, float]]:
        found = self._client.query_points(
            self._name,
            query=vector.tolist(),
            limit=top_k,
            query_filter=_filter(where),
            with_payload=True,
        )
        return [
            (_record(one.payload), -(one.score**2) if self.metric == "l2" else one.score)
            for one in found.points
        ]

    def _remove(self, ids: list[str]) -> int:
        points: list[Any] = [_point(id) for id in ids]
        there = [one.id for one in self._client.retrieve(self._name, points, with_payload=False)]
        if there:
            selector = models.PointIdsList(points=there)
            self._client.delete(self._name, points_selector=selector, wait=True)
        return len(there)

    def _remove_where(self, where: Where) -> int:
        chosen = _filter(where)
        count = int(self._client.count(self._name, count_filter=chosen, exact=True).count)
        if chosen is not None and count:
            selector = models.FilterSelector(filter=chosen)
            self._client.delete(self._name, points_selector=selector, wait=True)
        return count

    def _ids_of_document(self, document: str) -> list[str]:
        of_document = models.FieldCondition(key="document", match=models.MatchValue(value=document))
        ids: list[str] = []
        offset: Any = None
        while True:
            points, offset = self._client.scroll(
                self._name,
                scroll_filter=models.Filter(must=[of_document]),
                limit=1000,
                offset=offset,
                with_payload=["id"],
            )
            ids += [str((one.payload or {})["id"]) for one in points]
            if offset is None:
                return ids

    def _count(self, where: Where | None) -> int:
        return int(self._client.count(self._name, count_filter=_filter(where), exact=True).count)

    def _scroll(
        self, after: str | None, limit: int, where: Where | None
    ) -> tuple[list[Record], str | None]:
        points, following = self._client.scroll(
            self._name, scroll_filter=_filter(where), limit=limit, offset=after, with_payload=True
        )
        return [_record(one.payload) for one in points], None if following is None else str(
            following
        )


def _point(id: str) -> str:
    return str(uuid.uuid5(_SPACE, id))


def _record(payload: dict[str, Any] | None) -> Record:
    values = payload or {}
    return Record(
        str(values.get("id")),
        values.get("document"),
        values.get("text"),
        values.get("metadata") or {},
    )


def _filter(where: Where | None) -> models.Filter | None:
    if where is None:
        return None
    tree, unknown = condition(where)
    made = _translate(positive(tree), unknown)
    return made if isinstance(made, models.Filter) else models.Filter(must=[made])


def _translate(node: Condition, unknown: bool) -> Any:  # noqa: ANN401
    if node.op == "not":
        inner = node.children[0]
        none: list[Any] = [_translate(inner, unknown)]
        if unknown and inner.op not in ("is_null", "holds_null", "is_empty"):
            none.append(_is_empty(inner.field))
        return models.Filter(must_not=none)
    if node.children and not node.field:
        parts = [_translate(one, unknown) for one in node.children]
        if node.op == "and":
            return models.Filter(must=parts)
        if node.op == "or":
            return models.Filter(should=parts)
        return models.Filter(min_should=models.MinShould(conditions=parts, min_count=node.at_least))
    return _leaf(node)


def _keys(field: str) -> list[str]:
    if '"' in field:
        raise no_filter("qdrant", "fields with a quote in their name")
    return [".".join(["metadata", *map(_quoted, way)]) for way in paths_of(field)]


def _quoted(part: str) -> str:
    plain = part.replace("_", "a").replace("-", "a").isalnum()
    return part if plain else f'"{part}"'


def _is_empty(field: str) -> Any:  # noqa: ANN401
    parts: list[Any] = [
        models.IsEmptyCondition(is_empty=models.PayloadField(key=key)) for key in _keys(field)
    ]
    return parts[0] if len(parts) == 1 else models.Filter(must=parts)


def _leaf(node: Condition) -> Any:  # noqa: ANN401
    if node.op in ("is_null", "is_empty"):
        return _is_empty(node.field)
    if node.op == "not_in":
        if node.any_element:
            return _one_except(node)
        among = _leaf(node._replace(op="in"))
        return models.Filter(must_not=[among, _is_empty(node.field)])
    parts = [_at(node, key) for key in _keys(node.field)]
    return parts[0] if len(parts) == 1 else models.Filter(should=parts)


def _one_except(node: Condition) -> Any:  # noqa: ANN401
    """Return the condition that the value, or one element of it, is none of the values."""
    parts: list[Any] = []
    for key in _keys(node.field):
        if isinstance(node.values[0], str):
            match = models.MatchExcept(**{"except": node.values})
            parts.append(models.FieldCondition(key=key, match=match))
            continue
        if isinstance(node.values[0], bool):
            raise no_filter("qdrant", "exceptions of booleans")
        ends = sorted({_number(value) for value in node.values})  # between them, and beyond
        for low, high in zip([None, *ends], [*ends, None], strict=True):
            parts.append(models.FieldCondition(key=key, range=models.Range(gt=low, lt=high)))
    return parts[0] if len(parts) == 1 else models.Filter(should=parts)


def _at(node: Condition, key: str) -> Any:  # noqa: ANN401
    if node.op == "holds_null":
        return models.IsNullCondition(is_null=models.PayloadField(key=key))
    if node.op == "has_text":
        return models.FieldCondition(key=key, match=models.MatchText(text=node.values[0]))
    if node.op in ("=", "has_element"):
        return _equal(key, node.values[0])
    if node.op == "in":
        return models.Filter(should=[_equal(key, value) for value in node.values])
    bounds = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "gte"}
    ranged = {
        bounds[one.op]: _number(one.values[0])
        for one in node.children or [node]
        if one.op in bounds
    }
    if not ranged:
        raise no_filter("qdrant", node.op)
    return models.FieldCondition(key=key, range=models.Range(**ranged))


def _number(value: Any) -> float:  # noqa: ANN401
    if isinstance(value, str):
        raise no_filter("qdrant", "the order of strings")
    if abs(value) > _EXACT:
        raise no_filter("qdrant", "whole numbers beyond 2^53")
    return float(value)


def _equal(key: str, value: Any) -> models.FieldCondition:  # noqa: ANN401
    if isinstance(value, bool | str):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    number = _number(value)
    return models.FieldCondition(key=key, range=models.Range(gte=number, lte=number))
