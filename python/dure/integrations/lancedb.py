"""LanceDB as a `dure.VectorStore`: `pip install "dure[lancedb]"`.

Example::

    store = dure.integrations.lancedb.LanceStore(lancedb.connect("kb"), "docs", dim=384)

A row's metadata stand whole as JSON; beside them each field that was ever written has columns of
its own, by the kind of its values, which filters ask. Latency follows the number of fragments: call
`optimize()` after many small writes.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from dure.errors import DimensionMismatchError, MissingExtraError
from dure.integrations._stores import Condition, EngineStore, Record, condition, no_filter, positive

try:
    import lancedb  # noqa: F401 - only whether it is there
    import pyarrow
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("lancedb", "lancedb") from error

if TYPE_CHECKING:
    from dure.retrieval import Embedder, Vectors, Where

__all__ = ["LanceStore"]

_FIXED = ("id", "document", "text", "metadata")
_EXACT = 1 << 53  # numbers are doubles


class LanceStore(EngineStore):
    """Rows in a table of LanceDB's, made if it is not there. Searched exactly without an index."""

    backend = "lancedb"
    capabilities = frozenset({"filter", "delete_by_filter", "persistent", "multi_process", "exact"})

    def __init__(
        self,
        database: Any,  # noqa: ANN401 - lancedb.DBConnection
        table: str,
        *,
        dim: int | None = None,
        metric: str = "cosine",
        embedder: Embedder | None = None,
    ) -> None:
        """Use a table of `database`, which stays the caller's.

        Raises:
            DimensionMismatchError: the table holds vectors of another length.
        """
        super().__init__(dim=dim, metric=metric, embedder=embedder)
        text = pyarrow.string()
        vector = pyarrow.list_(pyarrow.float32(), self.dim)
        schema = pyarrow.schema({**dict.fromkeys(_FIXED, text), "vector": vector})
        self._lock = threading.Lock()
        try:
            self._table = database.open_table(table)
        except ValueError:  # not there; another process may be faster
            self._table = database.create_table(table, schema=schema, exist_ok=True)
        stored = self._table.schema.field("vector").type.list_size
        if stored != self.dim:
            raise DimensionMismatchError(
                f"table {table!r} holds vectors of {stored} floats, not {self.dim}: use the model "
                "that filled it, or another table",
                argument="dim",
                collection=table,
                stored=stored,
                given=self.dim,
            )

    def optimize(self) -> None:
        """Merge the fragments of small writes and drop old versions."""
        self._table.optimize()

    def _put(self, records: list[Record]) -> None:
        rows = []
        kinds: dict[str, Any] = {}
        for record in records:
            row: dict[str, Any] = {
                "id": record.id,
                "document": record.document,
                "text": record.text,
                "metadata": json.dumps(record.metadata, ensure_ascii=False),
                "vector": record.vector,
            }
            _flatten("", record.metadata, row, kinds)
            rows.append(row)
        with self._lock:
            known = set(self._table.schema.names)
            for name in sorted(kinds.keys() - known):
                self._table.add_columns(pyarrow.field(name, kinds[name]))
            schema = self._table.schema
            columns = {name: [row.get(name) for row in rows] for name in schema.names}
            table = pyarrow.table(columns, schema=schema)
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(table)

    def _search(
        self, vector: Vectors, top_k: int, where: Where | None
    ) -> list[tuple[Record, float]]:
        distance = {"cosine": "cosine", "ip": "dot", "l2": "l2"}[self.metric]
        query = self._table.search(vector, vector_column_name="vector").distance_type(distance)
        if where is not None:
            query = query.where(self._where(where), prefilter=True)
        found = query.select([*_FIXED, "_distance"]).limit(top_k).to_list()
        l2 = self.metric == "l2"
        return [(_record(one), -one["_distance"] if l2 else 1 - one["_distance"]) for one in found]

    def _remove(self, ids: list[str]) -> int:
        chosen = f"id IN ({', '.join(map(_text, ids))})"
        return self._remove_chosen(chosen)

    def _remove_where(self, where: Where) -> int:
        return self._remove_chosen(self._where(where))

    def _remove_chosen(self, chosen: str) -> int:
        with self._lock:
            count = int(self._table.count_rows(chosen))
            if count:
                self._table.delete(chosen)
            return count

    def _ids_of_document(self, document: str) -> list[str]:
        found = self._table.search().where(f"document = {_text(document)}").select(["id"])
        return [one["id"] for one in found.limit(1 << 31).to_list()]

    def _count(self, where: Where | None) -> int:
        return int(self._table.count_rows(None if where is None else self._where(where)))

    def _scroll(
        self, after: str | None, limit: int, where: Where | None
    ) -> tuple[list[Record], str | None]:
        offset = int(after or 0)
        query = self._table.search()
        if where is not None:
            query = query.where(self._where(where))
        found = query.select(list(_FIXED)).limit(limit + 1).offset(offset).to_list()
        rows = [_record(one) for one in found]
        return rows[:limit], str(offset + limit) if len(rows) > limit else None

    # --- filters ---------------------------------------------------------------------------------

    def _where(self, where: Where) -> str:
        tree, unknown = condition(where)
        return self._translate(positive(tree), unknown, set(self._table.schema.names))

    def _translate(self, node: Condition, unknown: bool, known: set[str]) -> str:
        if node.op == "not":
            inner = node.children[0]
            test = f"(NOT {self._translate(inner, unknown, known)})"
            if not unknown or inner.op == "is_null":
                return test
            there = _column(inner.field, "there")
            return f"({there} IS NOT NULL AND {test})" if there in known else "(1 = 0)"
        if node.children and not node.field:
            if node.op == "at_least":
                raise no_filter("lancedb", "min_should")
            parts = [self._translate(one, unknown, known) for one in node.children]
            return f"({f' {node.op.upper()} '.join(parts)})"
        if node.op in ("holds_null", "is_empty"):
            raise no_filter("lancedb", node.op)
        if node.op == "is_null":
            there = _column(node.field, "there")
            return f"({there} IS NULL)" if there in known else "(1 = 1)"
        return f"coalesce({self._test(node, known)}, false)"

    def _test(self, node: Condition, known: set[str]) -> str:
        leaves = node.children or [node]
        kind = _kind(leaves[0].values[0])
        column = _column(node.field, kind)
        items = _column(node.field, "items")
        listed = items in known and (node.any_element or node.op == "has_element")
        scalar = "1 = 0"
        if column in known and node.op != "has_element":
            scalar = " AND ".join(_compare(column, one) for one in leaves)
        if not listed:
            return f"({scalar})"
        if len(leaves) > 1 or leaves[0].op not in ("=", "in", "has_element"):
            raise no_filter("lancedb", "bounds and exceptions of elements of a list")
        held = " OR ".join(f"array_has({items}, {_text(_item(value))})" for value in node.values)
        return f"(coalesce({scalar}, false) OR coalesce({held}, false))"


def _compare(column: str, leaf: Condition) -> str:
    if leaf.op in ("in", "not_in"):
        listed = ", ".join(map(_literal, leaf.values))
        return f"{column} {'IN' if leaf.op == 'in' else 'NOT IN'} ({listed})"
    if leaf.op == "has_text":
        return f"strpos({column}, {_text(leaf.values[0])}) > 0"
    if leaf.op == "like":
        if "\\" in leaf.values[0]:
            raise no_filter("lancedb", "LIKE with a backslash")
        return f"{column} LIKE {_text(leaf.values[0])}"
    return f"{column} {leaf.op} {_literal(leaf.values[0])}"


def _column(field: str, kind: str) -> str:
    """Return the column of a field's values of one kind; any field's name makes a plain one."""
    return f"m_{field.encode().hex()}_{kind}"


def _kind(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def _item(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value if isinstance(value, bool | str) else float(value))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _literal(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if abs(value) > _EXACT:
        raise no_filter("lancedb", "whole numbers beyond 2^53")
    return repr(float(value))


def _flatten(
    prefix: str, values: dict[str, Any], row: dict[str, Any], kinds: dict[str, Any]
) -> None:
    def put(field: str, kind: str, value: Any, type: Any) -> None:  # noqa: ANN401
        name = _column(field, kind)
        row[name] = value
        kinds[name] = type

    for key, value in values.items():
        field = prefix + key
        if value is None or row.get(_column(field, "there")):  # "a.b" goes before the b of a
            continue
        put(field, "there", True, pyarrow.bool_())
        if isinstance(value, dict):
            _flatten(f"{field}.", value, row, kinds)
        elif isinstance(value, list):
            items = [_item(one) for one in value if isinstance(one, bool | int | float | str)]
            put(field, "items", items, pyarrow.list_(pyarrow.string()))
        elif isinstance(value, bool):
            put(field, "flag", value, pyarrow.bool_())
        elif isinstance(value, str):
            put(field, "text", value, pyarrow.string())
        else:
            put(field, "number", float(value), pyarrow.float64())


def _record(row: dict[str, Any]) -> Record:
    return Record(row["id"], row["document"], row["text"], json.loads(row["metadata"]))
