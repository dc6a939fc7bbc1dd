"""Milvus and Milvus Lite as a `dure.VectorStore`: `pip install "dure[milvus]"`.

Example::

    store = dure.integrations.milvus.MilvusStore(MilvusClient("http://..."), "docs", dim=384)

Ids have at most 512 bytes, texts 65,535. Filters go to Milvus whole; what its expressions say
otherwise than dure means it is refused.
"""

from __future__ import annotations

import itertools
import json
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
    from pymilvus import DataType, MilvusClient
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("milvus", "pymilvus") from error

if TYPE_CHECKING:
    from collections.abc import Generator

    from dure.retrieval import Embedder, Vectors, Where

__all__ = ["MilvusStore"]

_METRICS = {"cosine": "COSINE", "ip": "IP", "l2": "L2"}
_FIELDS = ["id", "document", "text", "metadata"]
_LONGEST_ID, _LONGEST_TEXT = 512, 65_535
_BATCH = 1000


class MilvusStore(EngineStore):
    """Rows in a collection of Milvus's, made if it is not there."""

    backend = "milvus"
    capabilities = frozenset(
        {"filter", "delete_by_filter", "persistent", "quantization", "multi_process"}
    )

    def __init__(
        self,
        client: MilvusClient,
        collection: str,
        *,
        dim: int | None = None,
        metric: str = "cosine",
        embedder: Embedder | None = None,
        index: str = "AUTOINDEX",
    ) -> None:
        """Use `client`, which stays the caller's.

        Args:
            client: Of a server, or of a file (Milvus Lite: one process).
            collection: Its name.
            dim: Length of the vectors.
            metric: Fixed when the collection is made.
            embedder: Makes vectors of texts.
            index: Of a collection that is made now: `"FLAT"` is exact.

        Raises:
            DimensionMismatchError: the collection holds vectors of another length.
            InvalidArgumentError: it has another metric.
        """
        super().__init__(dim=dim, metric=metric, embedder=embedder)
        self._client = client
        self._name = collection
        if not client.has_collection(collection):
            self._create(index)
        self._check()
        client.load_collection(collection)

    def _create(self, index: str) -> None:
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        text = DataType.VARCHAR
        schema.add_field("id", text, is_primary=True, max_length=_LONGEST_ID)
        schema.add_field("document", text, max_length=_LONGEST_ID, nullable=True)
        schema.add_field("text", text, max_length=_LONGEST_TEXT, nullable=True)
        schema.add_field("metadata", DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        params = self._client.prepare_index_params()
        params.add_index("vector", index_type=index, metric_type=_METRICS[self.metric])
        self._client.create_collection(
            self._name, schema=schema, index_params=params, consistency_level="Strong"
        )

    def _check(self) -> None:
        fields = self._client.describe_collection(self._name)["fields"]
        dims = [int(one["params"]["dim"]) for one in fields if one["name"] == "vector"]
        if dims != [self.dim]:
            stored = dims[0] if dims else None
            raise DimensionMismatchError(
                f"collection {self._name!r} holds vectors of {stored} floats, not {self.dim}: use "
                "the model that filled it, or another collection",
                argument="dim",
                collection=self._name,
                stored=stored,
                given=self.dim,
            )
        metric = self._client.describe_index(self._name, "vector")["metric_type"]
        if metric != _METRICS[self.metric]:
            raise InvalidArgumentError(
                f"collection {self._name!r} has metric {metric}, not {self.metric}: say so, or use "
                "another collection",
                argument="metric",
            )

    def _put(self, records: list[Record]) -> None:
        for row, record in enumerate(records):
            if len(record.id.encode()) > _LONGEST_ID or (
                len((record.text or "").encode()) > _LONGEST_TEXT
            ):
                raise InvalidArgumentError(
                    f"row {row} has an id of more than {_LONGEST_ID} bytes or a text of more than "
                    f"{_LONGEST_TEXT}: cut it into smaller chunks",
                    argument="texts",
                    row=row,
                )
        for begin in range(0, len(records), _BATCH):
            rows = [
                {
                    **record._asdict(),
                    "vector": None if record.vector is None else record.vector.tolist(),
                }
                for record in records[begin : begin + _BATCH]
            ]
            self._client.upsert(self._name, rows)

    def _search(
        self, vector: Vectors, top_k: int, where: Where | None
    ) -> list[tuple[Record, float]]:
        found = self._client.search(
            self._name,
            data=[vector.tolist()],
            limit=top_k,
            filter=_filter(where),
            output_fields=_FIELDS,
        )
        sign = -1.0 if self.metric == "l2" else 1.0
        return [(_record(one["entity"]), sign * one["distance"]) for one in found[0]]

    def _each(self, chosen: str, fields: list[str]) -> Generator[dict[str, Any], None, None]:
        rows = self._client.query_iterator(
            self._name, batch_size=_BATCH, filter=chosen, output_fields=fields
        )
        try:
            while batch := rows.next():
                yield from batch
        finally:
            rows.close()

    def _all_ids(self, chosen: str) -> list[str]:
        return [one["id"] for one in self._each(chosen, ["id"])]

    def _drop(self, ids: list[str]) -> int:
        for begin in range(0, len(ids), _BATCH):
            self._client.delete(self._name, ids=ids[begin : begin + _BATCH])
        return len(ids)

    def _remove(self, ids: list[str]) -> int:
        there: list[str] = []
        for begin in range(0, len(ids), _BATCH):
            some = ", ".join(map(_text, ids[begin : begin + _BATCH]))
            there += self._all_ids(f"id in [{some}]")
        return self._drop(there)

    def _remove_where(self, where: Where) -> int:
        return self._drop(self._all_ids(_filter(where)))

    def _ids_of_document(self, document: str) -> list[str]:
        return self._all_ids(f"document == {_text(document)}")

    def _count(self, where: Where | None) -> int:
        found = self._client.query(self._name, filter=_filter(where), output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def _scroll(
        self, after: str | None, limit: int, where: Where | None
    ) -> tuple[list[Record], str | None]:
        begin = int(after or 0)
        chosen = _filter(where) or 'id != ""'
        rows = self._each(chosen, _FIELDS)
        found = [_record(one) for one in itertools.islice(rows, begin, begin + limit + 1)]
        rows.close()
        return found[:limit], str(begin + limit) if len(found) > limit else None


def _record(row: dict[str, Any]) -> Record:
    return Record(row["id"], row.get("document"), row.get("text"), row["metadata"])


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _filter(where: Where | None) -> str:
    if where is None:
        return ""
    tree, unknown = condition(where)
    return _translate(positive(tree), unknown)


def _translate(node: Condition, unknown: bool) -> str:
    if node.op == "not":
        return _negated(node.children[0], unknown)
    if node.children and not node.field:
        if node.op == "at_least":
            raise no_filter("milvus", "min_should")
        parts = [_translate(one, unknown) for one in node.children]
        return "(" + f" {node.op} ".join(parts) + ")"
    if node.op == "is_null":
        return "(" + " and ".join(f"({path} is null)" for path in _ways(node.field)) + ")"
    parts = [f"(({path} is not null) and {_test(node, path)})" for path in _ways(node.field)]
    return "(" + " or ".join(parts) + ")"


def _negated(node: Condition, unknown: bool) -> str:
    there = " or ".join(f"({path} is not null)" for path in _ways(node.field))
    if node.op == "is_null":
        return f"({there})"
    parts = [f"(({path} is null) or not {_test(node, path)})" for path in _ways(node.field)]
    whole = " and ".join(parts)
    return f"(({there}) and {whole})" if unknown else f"({whole})"


def _ways(field: str) -> list[str]:
    return ["metadata" + "".join(f"[{_text(part)}]" for part in way) for way in paths_of(field)]


def _test(node: Condition, path: str) -> str:
    """Return the test of a value that is there."""
    if node.op == "has_element":
        return f"json_contains({path}, {_literal(node.values[0])})"
    if node.op in ("=", "in", "not_in"):
        equal = [f"{path} == {_literal(one)}" for one in node.values]
        if node.any_element and node.op != "not_in":
            equal += [f"json_contains({path}, {_literal(one)})" for one in node.values]
        elif node.any_element:
            raise no_filter("milvus", "an element that is not among values")
        among = f"({' or '.join(equal)})"
        return f"(not {among})" if node.op == "not_in" else among
    parts = []
    for one in node.children or [node]:
        if one.op not in ("<", "<=", ">", ">=", "=") or node.any_element:
            raise no_filter("milvus", f"{one.op} of what may be a list or a part of a string")
        parts.append(f"{path} {'==' if one.op == '=' else one.op} {_literal(one.values[0])}")
    return f"({' and '.join(parts)})"


def _literal(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)
