"""PostgreSQL with pgvector as a `dure.VectorStore`: `pip install "dure[pgvector]"`.

Example::

    store = dure.integrations.pgvector.PgVectorStore("postgresql://...", "docs", dim=384)
    store.create_index()   # HNSW; without it every search is exact

Filters become SQL over the `metadata` column (jsonb) and run before the search ends: with an index
`hnsw.iterative_scan` is switched on and read back, so that an answer is not short.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from dure.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    MissingExtraError,
    UnavailableError,
    UnsupportedError,
)
from dure.integrations._stores import Condition, EngineStore, Record, condition, no_filter, paths_of

try:
    import psycopg
    from psycopg import sql
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("pgvector", "psycopg") from error

if TYPE_CHECKING:
    from dure.retrieval import Embedder, Vectors, Where

__all__ = ["PgVectorStore"]

_OPERATORS = {"cosine": "<=>", "ip": "<#>", "l2": "<->"}
_CLASSES = {"cosine": "vector_cosine_ops", "ip": "vector_ip_ops", "l2": "vector_l2_ops"}
_LARGEST_EF = 1000  # of pgvector


class PgVectorStore(EngineStore):
    """Rows in a table, made if it is not there. Thread-safe: calls take turns on one connection."""

    backend = "pgvector"
    capabilities = frozenset(
        {"filter", "delete_by_filter", "persistent", "multi_process", "snapshot"}
    )

    def __init__(
        self,
        url: str,
        table: str,
        *,
        dim: int | None = None,
        metric: str = "cosine",
        embedder: Embedder | None = None,
    ) -> None:
        """Connect, and make the table if it is missing.

        Args:
            url: As libpq takes it.
            table: A plain name.
            dim: Length of the vectors.
            metric: Which distance searches order by.
            embedder: Makes vectors of texts.

        Raises:
            UnavailableError: the server cannot be reached.
            UnsupportedError: it has no pgvector, or one before 0.8.
            DimensionMismatchError: the table holds vectors of another length.
        """
        super().__init__(dim=dim, metric=metric, embedder=embedder)
        self._lock = threading.Lock()
        self._table = sql.Identifier(table)
        self._name = table
        try:
            self._connection = psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError as wrong:
            raise UnavailableError(f"PostgreSQL cannot be reached: {wrong}") from wrong
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        try:
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
            found = self._run("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            version = tuple(int(part) for part in str(found[0][0]).split(".")[:2])
        except psycopg.Error as wrong:
            raise UnsupportedError(
                f"this PostgreSQL has no pgvector: {wrong}", backend=self.backend, flag="filter"
            ) from wrong
        if version < (0, 8):
            raise UnsupportedError(
                f"pgvector {version} answers filtered searches short: 0.8 or later is needed",
                backend=self.backend,
                flag="filter",
            )
        self._run(
            sql.SQL(
                'CREATE TABLE IF NOT EXISTS {} (id text COLLATE "C" PRIMARY KEY, document text, '
                "text text, metadata jsonb NOT NULL, embedding vector({}) NOT NULL)"
            ).format(self._table, sql.Literal(self.dim))
        )
        stored = self._run(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND "
            "attname = 'embedding'",
            [self._table.as_string(self._connection)],
        )
        if stored[0][0] != self.dim:
            raise DimensionMismatchError(
                f"table {self._name!r} holds vectors of {stored[0][0]} floats, not {self.dim}: use "
                "the model that filled it, or another table",
                argument="dim",
                collection=self._name,
                stored=stored[0][0],
                given=self.dim,
            )
        self._run(
            sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (document)").format(
                sql.Identifier(f"{self._name}_document"), self._table
            )
        )
        self._run("SET hnsw.iterative_scan = 'strict_order'")
        if self._run("SHOW hnsw.iterative_scan")[0][0] != "strict_order":  # a wrong name only warns
            raise UnsupportedError(
                "hnsw.iterative_scan cannot be switched on: filtered answers would be short",
                backend=self.backend,
                flag="filter",
            )

    def _run(
        self, query: str | sql.Composable, values: list[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        with self._lock, self._connection.cursor() as cursor:
            cursor.execute(query, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def create_index(self, *, m: int = 16, ef_construction: int = 64) -> None:
        """Make an HNSW index for this store's metric; searches become approximate and faster."""
        self._run(
            sql.SQL(
                "CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (embedding {}) "
                "WITH (m = {}, ef_construction = {})"
            ).format(
                sql.Identifier(f"{self._name}_{self.metric}"),
                self._table,
                sql.SQL(_CLASSES[self.metric]),
                sql.Literal(m),
                sql.Literal(ef_construction),
            )
        )

    def _put(self, records: list[Record]) -> None:
        if any("\0" in (text or "") for row in records for text in (row.id, row.text)):
            raise InvalidArgumentError(
                "PostgreSQL keeps no text with a zero character: remove it", argument="texts"
            )
        query = sql.SQL(
            "INSERT INTO {} (id, document, text, metadata, embedding) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (id) DO UPDATE SET document = excluded.document, text = excluded.text, "
            "metadata = excluded.metadata, embedding = excluded.embedding"
        ).format(self._table)
        rows = [
            (one.id, one.document, one.text, json.dumps(one.metadata), _vector(one.vector))
            for one in records
        ]
        with self._lock, self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(query, rows)

    def _search(
        self, vector: Vectors, top_k: int, where: Where | None
    ) -> list[tuple[Record, float]]:
        condition, values = _where(where)
        query = sql.SQL(
            "SELECT id, document, text, metadata, embedding {} %s::vector AS far FROM {} WHERE {} "
            "ORDER BY embedding {} %s::vector LIMIT %s"
        ).format(*(sql.SQL(part) for part in self._parts(condition)))
        text = _vector(vector)
        with self._lock, self._connection.transaction(), self._connection.cursor() as cursor:
            width = min(_LARGEST_EF, max(40, 2 * top_k))
            cursor.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(width)))
            cursor.execute(query, [text, *values, text, top_k])
            found = cursor.fetchall()
        return [(Record(*row[:4]), self._score(row[4])) for row in found]

    def _parts(self, condition: str) -> list[str]:
        operator = _OPERATORS[self.metric]
        return [operator, self._table.as_string(self._connection), condition, operator]

    def _score(self, far: float) -> float:
        if self.metric == "cosine":
            return 1 - far
        return -far if self.metric == "ip" else -(far**2)

    def _select(
        self, what: str, where: Where | None, rest: str = "", more: tuple[Any, ...] = ()
    ) -> list[tuple[Any, ...]]:
        condition, values = _where(where)
        query = f"{what} {self._table.as_string(self._connection)} WHERE {condition} {rest}"
        return self._run(sql.SQL(query), [*values, *more])

    def _remove(self, ids: list[str]) -> int:
        query = sql.SQL("DELETE FROM {} WHERE id = ANY(%s) RETURNING 1").format(self._table)
        return len(self._run(query, [ids]))

    def _remove_where(self, where: Where) -> int:
        return len(self._select("DELETE FROM", where, "RETURNING 1"))

    def _ids_of_document(self, document: str) -> list[str]:
        query = sql.SQL("SELECT id FROM {} WHERE document = %s").format(self._table)
        return [row[0] for row in self._run(query, [document])]

    def _count(self, where: Where | None) -> int:
        return int(self._select("SELECT count(*) FROM", where)[0][0])

    def _scroll(
        self, after: str | None, limit: int, where: Where | None
    ) -> tuple[list[Record], str | None]:
        rows = self._select(
            "SELECT id, document, text, metadata FROM",
            where,
            "AND id > %s ORDER BY id LIMIT %s",
            (after or "", limit + 1),
        )
        records = [Record(*row) for row in rows[:limit]]
        return records, records[-1].id if len(rows) > limit else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _vector(vector: Vectors | None) -> str:
    return "[" + ",".join(map(repr, vector.tolist() if vector is not None else [])) + "]"


# --- filters: each leaf is true, false or (in SQL's logic) NULL ----------------------------------


def _where(where: Where | None) -> tuple[str, list[Any]]:
    if where is None:
        return "true", []
    tree, unknown = condition(where)
    values: list[Any] = []
    return _translate(tree, unknown, values), values


def _translate(node: Condition, unknown: bool, values: list[Any]) -> str:
    if node.children and not node.field:
        parts = [_translate(one, unknown, values) for one in node.children]
        if node.op == "not":
            return f"(NOT {parts[0]})"
        if node.op == "at_least":
            return f"({' + '.join(f'({part})::int' for part in parts)} >= {node.at_least})"
        return f"({f' {node.op.upper()} '.join(parts)})"
    field, bound = _field(node.field)
    if node.op in ("is_null", "holds_null", "is_empty"):
        return _absent(node.op, field, bound, values)
    made: list[Any] = []
    if node.op == "has_element":
        test = _test("=", "v", node.values, made)
        leaf = f"EXISTS (SELECT 1 FROM jsonb_array_elements(x) v WHERE {test})"
    else:
        tests = [_test(one.op, "v", one.values, made) for one in node.children or [node]]
        whole = " AND ".join(tests)
        leaf = f"EXISTS (SELECT 1 FROM jsonb_array_elements(jsonb_build_array(x)) v WHERE {whole})"
        if node.any_element:
            source = "CASE WHEN jsonb_typeof(x) = 'array' THEN x ELSE jsonb_build_array(x) END"
            leaf = f"EXISTS (SELECT 1 FROM jsonb_array_elements({source}) v WHERE {whole})"
    there = (
        "jsonb_typeof(x) <> 'null'" if node.op != "has_element" else ("jsonb_typeof(x) = 'array'")
    )
    values += [*made, *bound]  # the tests stand before what they look at
    test = f"(SELECT CASE WHEN x IS NULL OR jsonb_typeof(x) = 'null' THEN NULL ELSE {there} AND "
    test += f"{leaf} END FROM (SELECT {field} AS x) f)"
    return test if unknown else f"coalesce({test}, false)"


def _field(name: str) -> tuple[str, list[Any]]:
    """Return the field's value as an expression: the first of the ways to it that is there."""
    ways = paths_of(name)
    return f"coalesce({', '.join(['metadata #> %s::text[]'] * len(ways))})", list(ways)


def _absent(op: str, field: str, bound: list[Any], values: list[Any]) -> str:
    tests = {
        "is_null": "x IS NULL OR jsonb_typeof(x) = 'null'",
        "holds_null": "x IS NOT NULL AND jsonb_typeof(x) = 'null'",
        "is_empty": "x IS NULL OR jsonb_typeof(x) = 'null' OR x = '[]'::jsonb",
    }
    values += bound
    return f"(SELECT {tests[op]} FROM (SELECT {field} AS x) f)"


def _test(op: str, v: str, given: list[Any], values: list[Any]) -> str:
    if op in ("=", "in", "not_in"):
        values.append([json.dumps(value) for value in given])
        among = f"{v} = ANY(%s::jsonb[])"
        return f"NOT {among}" if op == "not_in" else among
    if op == "like":
        values.append(given[0])
        return f"({v} #>> '{{}}') LIKE %s ESCAPE ''"
    if op == "has_text":
        values.append(given[0])
        return f"position(%s in {v} #>> '{{}}') > 0"
    if op not in ("<", "<=", ">", ">="):
        raise no_filter("pgvector", op)
    if isinstance(given[0], str):
        values.append(given[0])
        return f"jsonb_typeof({v}) = 'string' AND ({v} #>> '{{}}') COLLATE \"C\" {op} %s"
    values.append(repr(given[0]))
    number = f"CASE WHEN jsonb_typeof({v}) = 'number' THEN ({v} #>> '{{}}')::numeric END"
    return f"coalesce({number} {op} %s::numeric, false)"
