"""What the adapters of other vector stores share: `dure.VectorStore` over a few calls of an engine.

Filters are read by our own parser, so that the three spellings mean the same everywhere, and
translated from its tree. What an engine cannot do as we mean it raises `UnsupportedError`.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dure import _core, retrieval
from dure._sync.closing import Closing
from dure.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidVectorError,
    UnsupportedError,
)
from dure.retrieval import Hit, Page, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from dure.retrieval import Embedder, Vectors, Where


class Record(NamedTuple):
    """A row on its way into an engine, or out of it."""

    id: str
    document: str | None
    text: str | None
    metadata: dict[str, Any]
    vector: Vectors | None = None

    def row(self) -> Row:
        """Return it as the stores give rows back."""
        return Row(self.id, self.text, self.metadata, self.document)

    def hit(self, score: float) -> Hit:
        """Return it as an answer."""
        return Hit(self.id, score, self.text, self.metadata, self.document)


class Condition(NamedTuple):
    """A node of a filter, as `dure/index/filter.h` describes it."""

    op: str
    field: str
    values: list[Any]
    children: list[Condition]
    at_least: int
    any_element: bool


def condition(where: Where) -> tuple[Condition, bool]:
    """Return the tree of a filter, and whether a missing field is unknown (SQL's logic).

    Raises:
        FilterError: it cannot be read.
    """
    tree, unknown = _core.index.filter_tree(retrieval.filter_json(where))
    return _condition(tree), unknown


def _condition(node: tuple[Any, ...]) -> Condition:
    op, field, values, children, at_least, any_element = node
    return Condition(
        op, field, values, [_condition(one) for one in children], at_least, any_element
    )


def no_filter(backend: str, what: str) -> UnsupportedError:
    """Return the error for a condition that the engine cannot hold against rows."""
    return UnsupportedError(
        f"{backend} has no filter for {what} as dure means it: spell it otherwise, or filter the "
        "hits",
        backend=backend,
        flag="filter",
    )


class EngineStore(Closing):
    """A `dure.VectorStore` whose rows another engine keeps. Thread-safe if the engine's client is.

    `metric`, `dim` and the engine's collection are fixed when it is made. Its coroutines run the
    calls in a thread.
    """

    backend = ""
    capabilities: frozenset[str] = frozenset()

    def __init__(self, *, dim: int | None, metric: str, embedder: Embedder | None) -> None:
        """Private to the adapters."""
        if metric not in ("cosine", "ip", "l2"):
            raise InvalidArgumentError(
                f'metric is "cosine", "ip" or "l2", not {metric!r}', argument="metric"
            )
        if dim is None and embedder is not None:
            dim = embedder.dim
        if dim is None or dim < 1:
            raise InvalidArgumentError(
                "give dim, the length of the vectors, or an embedder", argument="dim"
            )
        self.dim = dim
        self.metric = metric
        self._embedder = embedder

    # --- what an adapter does --------------------------------------------------------------------

    def _put(self, records: list[Record]) -> None:
        raise NotImplementedError

    def _search(
        self, vector: Vectors, top_k: int, where: Where | None
    ) -> list[tuple[Record, float]]:
        raise NotImplementedError

    def _remove(self, ids: list[str]) -> int:
        raise NotImplementedError

    def _remove_where(self, where: Where) -> int:
        raise NotImplementedError

    def _ids_of_document(self, document: str) -> list[str]:
        raise NotImplementedError

    def _count(self, where: Where | None) -> int:
        raise NotImplementedError

    def _scroll(
        self, after: str | None, limit: int, where: Where | None
    ) -> tuple[list[Record], str | None]:
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the adapter itself opened."""

    # --- the protocol ----------------------------------------------------------------------------

    @property
    def embedder(self) -> Embedder:
        """What makes vectors of texts here.

        Raises:
            InvalidArgumentError: none was given.
        """
        if self._embedder is None:
            raise InvalidArgumentError(
                "a text needs a vector: give embeddings, or an embedder to the store",
                argument="embedder",
            )
        return self._embedder

    def upsert(
        self,
        chunks: Sequence[Any] | None = None,
        embeddings: ArrayLike | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        document: object = None,
    ) -> list[str]:
        """Write rows as `dure.retrieval.Collection.upsert` does; return their ids.

        With `document`, older rows of it are removed after the new ones are in: two steps of the
        engine, not one.
        """
        given = retrieval.rows_of(chunks, embeddings, ids, texts, metadata, document)
        vectors = given.vectors
        if vectors is None:
            vectors = retrieval.matrix_of(
                self.embedder.embed_documents(given.contents), "embeddings"
            )
        check_vectors(vectors, self.dim, self.metric, len(given.ids))
        records = [
            Record(id, given.document, text, row, vector)
            for id, text, row, vector in zip(
                given.ids, given.texts, given.metadata, vectors, strict=True
            )
        ]
        if records:
            self._put(records)
        if given.document is not None:
            stale = set(self._ids_of_document(given.document)) - set(given.ids)
            if stale:
                self._remove(sorted(stale))
        return given.ids

    def query(
        self,
        x: str | ArrayLike | None = None,
        *,
        vector: ArrayLike | None = None,
        text: str | None = None,
        top_k: int = 5,
        mode: str | None = None,
        where: Where | None = None,
    ) -> list[Hit]:
        """Return the best rows, best first. `mode`: `"vector"` where the engine has no other.

        Raises:
            UnsupportedError: a mode or a filter that the engine does not have.
        """
        if isinstance(x, str):
            text = x
        elif x is not None:
            vector = x
        for wanted, flag in (("hybrid", "hybrid"), ("bm25", "sparse")):
            if mode == wanted and flag not in self.capabilities:
                raise UnsupportedError(
                    f"{self.backend} has no search by words here: use mode='vector'",
                    backend=self.backend,
                    flag=flag,
                )
        if top_k < 1:
            raise InvalidArgumentError("top_k must be at least 1", argument="top_k")
        if vector is None:
            if text is None:
                raise InvalidArgumentError("give a text or a vector", argument="x")
            vector = self.embedder.embed_query(text)
        asked = retrieval.matrix_of([cast("Any", vector)], "vector")
        check_vectors(asked, self.dim, self.metric, 1)
        return [record.hit(score) for record, score in self._search(asked[0], top_k, where)]

    def delete(self, *, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Remove rows by id or by filter; return how many. Unknown ids are no error."""
        if (ids is None) == (where is None):
            raise InvalidArgumentError("give either ids or where", argument="ids")
        if ids is not None:
            return self._remove(list(dict.fromkeys(ids))) if ids else 0
        return self._remove_where(where)  # type: ignore[arg-type]

    def count(self, *, where: Where | None = None) -> int:
        """Return how many rows there are, or pass a filter."""
        return self._count(where)

    def scroll(
        self, *, after: str | None = None, limit: int = 1000, where: Where | None = None
    ) -> Page:
        """Return rows in the engine's own order; `next` goes into `after=`."""
        if limit < 1:
            raise InvalidArgumentError("limit must be at least 1", argument="limit")
        records, following = self._scroll(after, limit, where)
        return Page([record.row() for record in records], following)

    # --- twins -----------------------------------------------------------------------------------

    async def aupsert(self, *arguments: Any, **options: Any) -> list[str]:  # noqa: ANN401
        """The coroutine of `upsert`."""
        return await asyncio.to_thread(self.upsert, *arguments, **options)

    async def aquery(self, *arguments: Any, **options: Any) -> list[Hit]:  # noqa: ANN401
        """The coroutine of `query`."""
        return await asyncio.to_thread(self.query, *arguments, **options)

    async def adelete(self, **options: Any) -> int:  # noqa: ANN401
        """The coroutine of `delete`."""
        return await asyncio.to_thread(self.delete, **options)

    async def acount(self, **options: Any) -> int:  # noqa: ANN401
        """The coroutine of `count`."""
        return await asyncio.to_thread(self.count, **options)

    async def ascroll(self, **options: Any) -> Page:  # noqa: ANN401
        """The coroutine of `scroll`."""
        return await asyncio.to_thread(self.scroll, **options)

    async def aclose(self) -> None:
        """The coroutine of `close`."""
        await asyncio.to_thread(self.close)


def check_vectors(vectors: Vectors, dim: int, metric: str, count: int) -> None:
    """Refuse what no engine may get: another length, NaN, infinity, no direction under cosine."""
    import numpy as np

    if len(vectors) != count:
        raise InvalidArgumentError(
            f"{len(vectors)} vectors for {count} rows", argument="embeddings"
        )
    if count and vectors.shape[1] != dim:
        raise DimensionMismatchError(
            f"the store holds vectors of {dim} floats, not {vectors.shape[1]}: use the model that "
            "filled it, or another store",
            argument="embeddings",
            collection=None,
            stored=dim,
            given=int(vectors.shape[1]),
        )
    sums = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64) if count else np.empty(0)
    for row, length in enumerate(sums):
        if not math.isfinite(length):
            raise InvalidVectorError(
                f"vector {row} holds NaN or infinity", argument="embeddings", row=row
            )
        if metric == "cosine" and length == 0:
            raise InvalidVectorError(
                f"vector {row} has no direction: under cosine a vector must not be zero",
                argument="embeddings",
                row=row,
            )


def paths_of(field: str) -> list[list[str]]:
    """Return the ways into nested objects that a field's name may mean, in the order of looking.

    "a.b" is the member "a.b", else the member b of the member a.
    """
    ways = [[field]]
    at = field.find(".")
    while at >= 0:
        ways += [[field[:at], *rest] for rest in paths_of(field[at + 1 :])]
        at = field.find(".", at + 1)
    return ways


def positive(node: Condition, *, negated: bool = False) -> Condition:
    """Return the tree with its negations at the leaves, which become `("not", [leaf])`."""
    if node.op == "not":
        return positive(node.children[0], negated=not negated)
    if node.op in ("and", "or") and not node.field:
        op = node.op if not negated else {"and": "or", "or": "and"}[node.op]
        children = [positive(one, negated=negated) for one in node.children]
        return node._replace(op=op, children=children)
    return Condition("not", "", [], [node], 0, any_element=False) if negated else node
