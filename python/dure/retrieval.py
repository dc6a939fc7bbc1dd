"""Search by meaning and by words over collections that survive `kill -9`.

::

    store = dure.Store.open("kb")
    col = store.collection("docs", embedder=embedder)
    col.upsert(ids=["a", "b"], texts=["두레는 함께 일하는 모임이다.", "A dure is ..."])
    for hit in col.query("두레란?", top_k=5, where={"year": {"$gte": 2024}}):
        print(hit.score, hit.id, hit.text)

Scores: higher is better. `mode="vector"`: cosine (or inner product) of the vectors, minus the
squared distance under `l2`. `mode="bm25"`: the BM25 sum. `mode="hybrid"`: the reciprocal rank sum
1/(60 + rank) over both lists (Cormack 2009), so at most 0.0328 (`fusion="weighted"`: the weighted
sum of scores brought to 0..1): a `min_score` of one mode means nothing in another.

Every call runs in the core with the GIL released; the coroutine of `f` is `af`, done by a thread.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import hashlib
import json
import math
import os
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from dure import _core, _reembed, errors
from dure._check import integer, optional_integer, optional_text, text
from dure._reembed import ReembedReport
from dure.errors import InvalidArgumentError, ModelMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal
    from types import TracebackType

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Where = Mapping[str, Any] | str
    Vectors = NDArray[np.float32]

__all__ = [
    "Collection",
    "Damage",
    "Embedder",
    "Hit",
    "Hits",
    "Page",
    "ReembedReport",
    "Row",
    "Store",
    "StoreReport",
    "StoredDocument",
    "Tokenizer",
    "VectorStore",
    "chunk_id",
    "content_hash",
    "fingerprint",
]

_T = TypeVar("_T")
_new_tuple = tuple.__new__  # what a NamedTuple's own constructor calls
_MODES = ("vector", "bm25", "hybrid")
_LAST_SEQ = 1 << 62  # above every commit
_WORD_BREAK = "\x1f"  # between the words of a tokenizer, for the core


@runtime_checkable
class Embedder(Protocol):
    """What turns texts into vectors. `dure.local.HashEmbedder` is one, `dure.ClientEmbedder` too.

    Only `dim`, `model_id` and the two methods must be there; what else an embedder may say about
    itself is read with these defaults: `revision=""`, `query_prefix=""`, `document_prefix=""`,
    `normalized=False`, `max_input_tokens`, `max_batch_inputs`, `max_batch_tokens` None. It adds its
    prefixes itself. Coroutines `aembed_documents` and `aembed_query` are used where they exist.
    `quote(texts)` returns (tokens, dollars) before texts are sent: what `reembed(max_cost=)` asks.
    """

    @property
    def model_id(self) -> str:
        """The name of the model, equal for equal vectors."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def embed_documents(self, texts: Sequence[str], /) -> Vectors:
        """Return float32 [n, dim], one row per text, in order."""

    def embed_query(self, text: str, /) -> Vectors:
        """Return float32 [dim]."""


@runtime_checkable
class Tokenizer(Protocol):
    """What cuts texts and questions into words for `mode="bm25"`, instead of the core.

    `name` is stored with the collection: it must be the same at every opening. Words are compared
    as they are given: fold case here. `dure.integrations.kiwipiepy.KiwiTokenizer` is one.
    """

    @property
    def name(self) -> str:
        """Equal for equal words."""

    def __call__(self, text: str, /) -> Iterable[str]:
        """Return the words of a text, in order."""


@runtime_checkable
class VectorStore(Protocol):
    """What every store of vectors can do, ours and the adapters of other engines.

    `capabilities` names what the engine itself does, of: `filter` (before the search, so that
    `top_k` hits come back if there are as many), `delete_by_filter`, `hybrid` and `sparse` (search
    by words, with vectors and alone), `exact` (no approximation), `persistent` (survives the
    process), `multi_process`, `native_async`, `namespaces` (tenants), `quantization`,
    `multi_vector`, `snapshot` (consistent copies). Asking for another raises `UnsupportedError`;
    nothing is emulated in silence. Scores are similarities: higher is better.
    """

    @property
    def capabilities(self) -> frozenset[str]:
        """What the engine does."""

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
        """Write rows; durable on return if the engine is."""

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
        """Return the best rows, best first."""

    def delete(self, *, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Remove rows; return how many."""

    def count(self, *, where: Where | None = None) -> int:
        """Return how many rows there are."""

    def scroll(
        self, *, after: str | None = None, limit: int = 1000, where: Where | None = None
    ) -> Page:
        """Return rows page by page; `next` of a page goes into `after=`."""

    async def aupsert(self, *arguments: Any, **options: Any) -> list[str]:  # noqa: ANN401
        """The coroutine of `upsert`."""

    async def aquery(self, *arguments: Any, **options: Any) -> list[Hit]:  # noqa: ANN401
        """The coroutine of `query`."""

    async def adelete(self, **options: Any) -> int:  # noqa: ANN401
        """The coroutine of `delete`."""

    async def acount(self, **options: Any) -> int:  # noqa: ANN401
        """The coroutine of `count`."""

    async def ascroll(self, **options: Any) -> Page:  # noqa: ANN401
        """The coroutine of `scroll`."""


class Row(NamedTuple):
    """A stored row. `vector` is None unless it was asked for."""

    id: str
    text: str | None
    metadata: dict[str, Any]
    document: str | None = None
    vector: Vectors | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the vector as a list of floats."""
        values = self._asdict()
        if self.vector is not None:
            values["vector"] = [float(v) for v in self.vector]
        return values


class Hit(NamedTuple):
    """A row that was found. A higher `score` is better; its scale is the mode's (module text)."""

    id: str
    score: float
    text: str | None
    metadata: dict[str, Any]
    document: str | None = None
    vector: Vectors | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the vector as a list of floats."""
        values = self._asdict()
        if self.vector is not None:
            values["vector"] = [float(v) for v in self.vector]
        return values


class Hits(list[Hit]):
    """Hits, best first; `plan` says how they were found if `explain=True` asked for it."""

    plan: dict[str, Any] | None = None


class Page(NamedTuple):
    """Rows in the order of their ids; `next` goes into `after=`, None at the end."""

    rows: list[Row]
    next: str | None


class StoredDocument(NamedTuple):
    """What the store keeps about a document. Also accepted as `document=` of `upsert`.

    `size` (bytes) and `content_hash` (at most 64 bytes) are the caller's, to see later that a
    source is unchanged. `chunks` is how many rows the document has now.
    """

    id: str
    source: str | None = None
    size: int | None = None
    content_hash: bytes = b""
    metadata: dict[str, Any] = {}  # noqa: RUF012 - a default of NamedTuple, never changed
    chunks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the hash in hexadecimal."""
        return {**self._asdict(), "content_hash": self.content_hash.hex()}


class Damage(NamedTuple):
    """What `Store.verify` found: a row, a vector, or a segment that is not what was written.

    `what` is `"row"`, `"vector"`, `"segment"` (searches do without it, it is built again), or what
    SQLite says about the file.
    """

    tenant: str | None
    collection: str
    row: str
    document: str
    what: str


class StoreReport(NamedTuple):
    """The answer of `Store.verify`: how many rows were read, and what of the store is damaged."""

    rows: int
    damaged: list[Damage]

    @property
    def ok(self) -> bool:
        """Whether all is as it was written."""
        return not self.damaged

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "ok": self.ok,
            "rows": self.rows,
            "damaged": [one._asdict() for one in self.damaged],
        }


def content_hash(embed_text: str) -> bytes:
    """Return the SHA-256 digest that names a content: equal contents share one vector."""
    return hashlib.sha256(_utf8(embed_text, "embed_text")).digest()


def chunk_id(document: str, content: bytes, n: int = 0) -> str:
    """Return the id of the `n`-th chunk with that content (see `content_hash`) of a document."""
    return _core.index.chunk_id(document, content, n)


def fingerprint(embedder: Embedder) -> str:
    """Return SHA-256 (hexadecimal) of what makes an embedder's vectors comparable.

    Of the canonical JSON of model_id, revision, dim, both prefixes and normalized.
    """
    facts = {
        "model_id": str(embedder.model_id),
        "revision": str(getattr(embedder, "revision", "")),
        "dim": int(embedder.dim),
        "query_prefix": str(getattr(embedder, "query_prefix", "")),
        "document_prefix": str(getattr(embedder, "document_prefix", "")),
        "normalized": bool(getattr(embedder, "normalized", False)),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """A folder of collections; `Store.open` makes one. A context manager; thread-safe.

    Several processes may have the folder open (local file systems only); after a fork the child
    opens it again by itself.
    """

    def __init__(self, core: _core.index.Store) -> None:
        """Private: use `Store.open`."""
        self._core = core
        _open_stores.add(self)

    @classmethod
    def open(
        cls,
        dir: str | os.PathLike[str],
        *,
        durability: str = "full",
        read_only: bool = False,
        segment_memory: int | None = None,
    ) -> Store:
        """Open the folder `dir`, made if it is not there.

        Args:
            dir: A folder on a local file system.
            durability: `"full"`: a commit survives power loss. `"normal"`: it survives the death
                of the process, and is faster.
            read_only: Never write; the folder must exist, and may be on a read-only disk.
            segment_memory: Bytes that the graph segments of a collection may take of memory; what
                would go beyond is sealed as product codes (IVFPQ), a fraction of the size, whose
                best candidates are read from the disk. None: half of the machine's memory.

        Raises:
            StoreVersionError: written by a newer dure, or not a store; left untouched.
            StoreCorruptError: `store.db` is damaged.
            StorageError: the disk refused.
        """
        if durability not in ("full", "normal"):
            raise InvalidArgumentError(
                f'durability is "full" or "normal", not {durability!r}', argument="durability"
            )
        limit = optional_integer(segment_memory, "segment_memory")
        if limit is not None and limit < 1:
            raise InvalidArgumentError(
                f"segment_memory={limit} has to be at least 1", argument="segment_memory"
            )
        seal = None if limit is None else {"segment_memory": limit}
        return cls(_core.index.Store.open(_path(dir, "dir"), durability, bool(read_only), seal))

    @classmethod
    async def aopen(
        cls,
        dir: str | os.PathLike[str],
        *,
        durability: str = "full",
        read_only: bool = False,
        segment_memory: int | None = None,
    ) -> Store:
        """The coroutine of `open`."""
        return await asyncio.to_thread(
            cls.open,
            dir,
            durability=durability,
            read_only=read_only,
            segment_memory=segment_memory,
        )

    @property
    def path(self) -> str:
        """The folder."""
        return self._core.folder

    def collection(
        self,
        name: str,
        *,
        dim: int | None = None,
        metric: str = "cosine",
        tenant: str | None = None,
        embedder: Embedder | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Collection:
        """Return a collection, made if it is not there.

        Args:
            name: Its name within the tenant.
            dim: Length of its vectors; None: as stored, else the embedder's or the first upsert's.
            metric: `"cosine"`, `"ip"` or `"l2"`; fixed when the collection is made.
            tenant: Whose; collections of two tenants never see each other.
            embedder: Makes vectors of texts and questions; None: `dure.local.HashEmbedder`.
            tokenizer: Cuts texts and questions into words; None: as the core does (lower case,
                pairs of Hangul syllables). Fixed by its name when the collection is made.

        Raises:
            DimensionMismatchError: it holds vectors of another length.
            InvalidArgumentError: it has another metric or tokenizer.
        """
        _utf8(text(name, "name"), "name")
        text(metric, "metric")
        _utf8(optional_text(tenant, "tenant") or "", "tenant")
        wanted = optional_integer(dim, "dim")
        if wanted is None:
            wanted = embedder.dim if embedder is not None else 0
        elif wanted < 0:
            raise InvalidArgumentError(f"dim={dim} has to be at least 0", argument="dim")
        cutter = None if tokenizer is None else text(tokenizer.name, "tokenizer")
        core = self._core.collection(name, tenant or "", wanted, metric, cutter)
        return Collection(core, embedder, tokenizer)

    async def acollection(self, name: str, **options: Any) -> Collection:  # noqa: ANN401
        """The coroutine of `collection`."""
        return await asyncio.to_thread(self.collection, name, **options)

    def collections(self, *, tenant: str | None = None) -> list[str]:
        """Return the names of a tenant's collections, sorted."""
        found = _sound(self._core.collections, tenant or "")
        return [str(one["name"]) for one in found]

    async def acollections(self, *, tenant: str | None = None) -> list[str]:
        """The coroutine of `collections`."""
        return await asyncio.to_thread(self.collections, tenant=tenant)

    def drop(self, name: str, *, tenant: str | None = None) -> None:
        """Remove a collection and all that is in it.

        Raises: NotFoundError: there is none of that name.
        """
        self._core.drop(name, tenant or "")

    async def adrop(self, name: str, *, tenant: str | None = None) -> None:
        """The coroutine of `drop`."""
        await asyncio.to_thread(self.drop, name, tenant=tenant)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a consistent copy to the file `path`; open it later as `store.db` of a folder.

        Writers go on meanwhile. Segments are not copied: they are built again.

        Raises: StorageError: the file exists already, or the disk refused.
        """
        self._core.backup(_path(path, "path"))

    async def abackup(self, path: str | os.PathLike[str]) -> None:
        """The coroutine of `backup`."""
        await asyncio.to_thread(self.backup, path)

    def verify(self) -> StoreReport:
        """Read all there is and compare it with its checksums; nothing is changed.

        What is read in the ordinary way is checked too: a damaged row raises `StoreCorruptError`.
        """
        rows, damaged = _sound(self._core.verify)
        return StoreReport(rows, [Damage(one[0] or None, *one[1:]) for one in damaged])

    async def averify(self) -> StoreReport:
        """The coroutine of `verify`."""
        return await asyncio.to_thread(self.verify)

    def close(self) -> None:
        """Wait for writes under way and end the threads. Later calls raise."""
        self._core.close()

    async def aclose(self) -> None:
        """The coroutine of `close`."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Store({self.path!r})"


_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for store in list(_open_stores):
        store.close()


class Collection:
    """Rows of text, vector and metadata under one name; `Store.collection` makes one.

    Thread-safe. Keeps its store open.
    """

    capabilities = frozenset(
        {
            "delete_by_filter",
            "filter",
            "hybrid",
            "multi_process",
            "namespaces",
            "persistent",
            "quantization",
            "snapshot",
            "sparse",
        }
    )

    def __init__(
        self,
        core: _core.index.Collection,
        embedder: Embedder | None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """Private: use `Store.collection`."""
        self._core = core
        self._given = embedder
        self._tokenizer = tokenizer
        self._default: Embedder | None = None

    @property
    def name(self) -> str:
        """Its name within the tenant."""
        return self._core.name

    @property
    def tenant(self) -> str | None:
        """Whose it is."""
        return self._core.tenant or None

    @property
    def dim(self) -> int | None:
        """Length of its vectors; None before the first."""
        return cast("int", self._core.info()["dim"]) or None

    @property
    def metric(self) -> str:
        """`"cosine"`, `"ip"` or `"l2"`."""
        return str(self._core.info()["metric"])

    @property
    def model(self) -> str | None:
        """The `model_id` of the embedder that made its vectors; None if nobody named it."""
        return cast("str", self._core.info()["model"]) or None

    @property
    def fingerprint(self) -> str | None:
        """The `fingerprint` of that embedder; None if nobody named it."""
        return cast("str", self._core.info()["fingerprint"]) or None

    @property
    def embedder(self) -> Embedder:
        """What makes vectors of texts here."""
        if self._given is not None:
            return self._given
        if self._default is None:
            self._default = cast("Embedder", _core.index.HashEmbedder(self.dim or 384))
        return self._default

    # --- writing ---------------------------------------------------------------------------------

    def upsert(
        self,
        chunks: Sequence[Any] | None = None,
        embeddings: ArrayLike | Sequence[ArrayLike | None] | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        document: object = None,
    ) -> list[str]:
        """Write rows: new ids are added, known ids replaced. Durable on return; all or nothing.

        Without `embeddings` the collection's embedder makes them, only for contents whose vector
        the collection does not hold yet.

        Args:
            chunks: `dure.Chunks`, or a list of `dure.Chunk` or str. Ids follow from the document
                and the content, so an unchanged chunk keeps its id.
            embeddings: float32 [n, dim], or a list in which None means: the stored vector of that
                content (see `has_vectors`).
            ids: Ids of rows given by `texts` or `embeddings`; None: made as for chunks.
            texts: Instead of chunks.
            metadata: One mapping for all rows, or one per row. Values: str, int, float, bool,
                None, lists and mappings of these.
            document: Id (str), `dure.Document` or `StoredDocument` the rows belong to. If it is
                given, the rows replace all rows of that document in the same commit; untouched
                rows stay as they are. None: each row is its own document.

        Returns:
            The ids, in order.

        Raises:
            InvalidArgumentError: lengths differ, an id stands twice, metadata is no JSON.
            DimensionMismatchError, ModelMismatchError: the collection holds other vectors.
            InvalidVectorError: NaN, infinity, or no direction under cosine.
            StorageError: the disk refused; nothing was written.
        """
        rows = _Rows.of(chunks, embeddings, ids, texts, metadata, document)
        if rows.needs_embedding:
            self._check_model()
            missing = rows.missing(self.has_vectors)
            if missing:
                made = self.embedder.embed_documents([rows.content_of(i) for i in missing])
                rows.put(missing, made)
        return self._write(rows)

    async def aupsert(
        self,
        chunks: Sequence[Any] | None = None,
        embeddings: ArrayLike | Sequence[ArrayLike | None] | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str | None] | None = None,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        document: object = None,
    ) -> list[str]:
        """The coroutine of `upsert`; awaits `embedder.aembed_documents` where there is one."""
        asynchronous = getattr(self.embedder, "aembed_documents", None)
        if embeddings is not None or asynchronous is None:
            return await asyncio.to_thread(
                self.upsert,
                chunks,
                embeddings,
                ids=ids,
                texts=texts,
                metadata=metadata,
                document=document,
            )
        rows = await asyncio.to_thread(_Rows.of, chunks, embeddings, ids, texts, metadata, document)
        if rows.needs_embedding:
            await asyncio.to_thread(self._check_model)
            missing = await asyncio.to_thread(rows.missing, self.has_vectors)
            if missing:
                rows.put(missing, await asynchronous([rows.content_of(i) for i in missing]))
        return await asyncio.to_thread(self._write, rows)

    def _write(self, rows: _Rows) -> list[str]:
        return self._core.upsert(
            rows.ids,
            rows.documents,
            rows.texts,
            rows.metadata,
            rows.contents,
            rows.vector_rows,
            rows.vectors,
            self._model() if rows.embedded else ("", ""),
            rows.document,
            rows.unlike_texts(),
            self._words(rows.texts),
        )

    def _words(self, texts: Sequence[str | None] | None) -> list[str | None] | None:
        if texts is None or self._tokenizer is None:
            return None
        return [_joined(self._tokenizer, one) for one in texts]

    def _model(self) -> tuple[str, str]:
        return (str(self.embedder.model_id), fingerprint(self.embedder))

    def _check_model(self) -> None:
        """Refuse before a text is embedded for nothing."""
        info = self._core.info()
        given = self._model()
        if info["dim"] and info["dim"] != self.embedder.dim:
            raise errors.DimensionMismatchError(
                f"collection {self.name!r} holds vectors of {info['dim']} floats made by "
                f"{info['model'] or 'an unnamed model'}, {given[0]} makes {self.embedder.dim}: "
                "take that model, or another collection",
                argument="embedder",
                collection=self.name,
                stored=info["dim"],
                given=self.embedder.dim,
            )
        if info["fingerprint"] and info["fingerprint"] != given[1]:
            raise ModelMismatchError(
                f"collection {self.name!r} holds vectors of {info['model']}, not of {given[0]} (or "
                "of another revision or prefix of it): take that model, or another collection",
                argument="embedder",
                collection=self.name,
                stored=info["model"],
                given=given[0],
            )

    def has_vectors(self, contents: Sequence[bytes]) -> list[bool]:
        """Say for each `content_hash` whether the collection holds its vector already."""
        return self._core.has_vectors(contents)

    async def ahas_vectors(self, contents: Sequence[bytes]) -> list[bool]:
        """The coroutine of `has_vectors`."""
        return await asyncio.to_thread(self.has_vectors, contents)

    def update(self, *, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> int:
        """Change metadata: the given keys are set, those given as None removed.

        Raises: NotFoundError: an id is unknown; nothing was changed.
        """
        return self._core.update(_strings(ids, "ids"), [_json(one) for one in metadata])

    async def aupdate(self, *, ids: Sequence[str], metadata: Sequence[Mapping[str, Any]]) -> int:
        """The coroutine of `update`."""
        return await asyncio.to_thread(self.update, ids=ids, metadata=metadata)

    def delete(self, *, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """Remove rows by id or by filter; return how many. Unknown ids are no error."""
        if (ids is None) == (where is None):
            raise InvalidArgumentError("give either ids or where", argument="ids")
        if ids is not None:
            return self._core.delete(_strings(ids, "ids"))
        return self._core.delete_where(filter_json(where))

    async def adelete(self, *, ids: Sequence[str] | None = None, where: Where | None = None) -> int:
        """The coroutine of `delete`."""
        return await asyncio.to_thread(self.delete, ids=ids, where=where)

    # --- documents -------------------------------------------------------------------------------

    def documents(self) -> list[StoredDocument]:
        """Return what was given as `document=`, ordered by id."""
        return [_document(one) for one in _sound(self._core.documents)]

    async def adocuments(self) -> list[StoredDocument]:
        """The coroutine of `documents`."""
        return await asyncio.to_thread(self.documents)

    def document(self, id: str) -> StoredDocument | None:
        """Return one document, None if there is none."""
        found = _sound(self._core.document, id)
        return None if found is None else _document(found)

    async def adocument(self, id: str) -> StoredDocument | None:
        """The coroutine of `document`."""
        return await asyncio.to_thread(self.document, id)

    def delete_documents(self, ids: Sequence[str]) -> int:
        """Remove documents with all their rows in one commit; return how many were there."""
        return self._core.delete_documents(_strings(ids, "ids"))

    async def adelete_documents(self, ids: Sequence[str]) -> int:
        """The coroutine of `delete_documents`."""
        return await asyncio.to_thread(self.delete_documents, ids)

    # --- reading ---------------------------------------------------------------------------------

    def query(
        self,
        x: str | ArrayLike | None = None,
        *,
        vector: ArrayLike | None = None,
        text: str | None = None,
        top_k: int = 5,
        mode: str | None = None,
        where: Where | None = None,
        ef: int | None = None,
        include: Sequence[str] | None = None,
        min_score: float | None = None,
        group_by: str | None = None,
        rerank: Callable[[str, list[Hit]], Sequence[float]] | None = None,
        explain: bool = False,
        fusion: str = "rrf",
        weights: tuple[float, float] = (1.0, 1.0),
        mmr: float | None = None,
    ) -> list[Hit]:
        """Return the best rows, best first; fewer than `top_k` only if there are no more.

        Args:
            x: A text or a vector: goes to `text` or `vector`.
            vector: float32 [dim].
            text: A question; its vector is made by the embedder unless `vector` is given too.
            top_k: How many, at least 1.
            mode: `"vector"`, `"bm25"` or `"hybrid"`; None: hybrid for a text (or both), vector for
                a vector alone.
            where: A Chroma filter (dict), a Qdrant filter (dict with must, should, must_not), or a
                condition such as `"year >= 2024 and lang in ('ko', 'en')"`.
            ef: Width of the search in graph segments; None: chosen. Flat parts are always exact.
            include: `["vector"]` adds the stored vectors; `[]` leaves out text and metadata too,
                which are most of the time of a short search.
            min_score: Leave out what scores less.
            group_by: A metadata field: at most one hit for each of its values.
            rerank: `rerank(text, hits) -> scores`, one per hit: orders and scores them anew.
            explain: The list gets `.plan`.
            fusion: How a hybrid search puts its two rankings together: `"rrf"` by rank, or
                `"weighted"` by scores, each brought to 0..1 within its ranking.
            weights: Of vectors and of words in it.
            mmr: Of a wider answer the rows that are unlike each other (maximal marginal
                relevance): 1 weighs relevance alone, 0 unlikeness alone; try 0.5. Rows come in
                the order they were chosen.

        Raises:
            InvalidArgumentError: nothing to search for, or an unknown mode.
            FilterError: `where` cannot be read, or compares unlike types.
            DimensionMismatchError, ModelMismatchError: the vector is of another model.
        """
        question = _Question.of(x, vector, text, mode, self)
        if question.wants_embedding:
            self._check_model()
            question.vector = _one_vector(self.embedder.embed_query(cast("str", question.text)))
        joining = _joining(fusion, weights, mmr)
        return self._query(
            question, top_k, where, ef, include, min_score, group_by, rerank, explain, joining
        )

    async def aquery(
        self,
        x: str | ArrayLike | None = None,
        *,
        vector: ArrayLike | None = None,
        text: str | None = None,
        top_k: int = 5,
        mode: str | None = None,
        where: Where | None = None,
        ef: int | None = None,
        include: Sequence[str] | None = None,
        min_score: float | None = None,
        group_by: str | None = None,
        rerank: Callable[[str, list[Hit]], Sequence[float]] | None = None,
        explain: bool = False,
        fusion: str = "rrf",
        weights: tuple[float, float] = (1.0, 1.0),
        mmr: float | None = None,
    ) -> list[Hit]:
        """The coroutine of `query`; awaits `embedder.aembed_query` where there is one."""
        question = _Question.of(x, vector, text, mode, self)
        if question.wants_embedding:
            await asyncio.to_thread(self._check_model)
            asynchronous = getattr(self.embedder, "aembed_query", None)
            made = (
                await asynchronous(question.text)
                if asynchronous is not None
                else await asyncio.to_thread(self.embedder.embed_query, cast("str", question.text))
            )
            question.vector = _one_vector(made)
        joining = _joining(fusion, weights, mmr)
        return await asyncio.to_thread(
            self._query,
            question,
            top_k,
            where,
            ef,
            include,
            min_score,
            group_by,
            rerank,
            explain,
            joining,
        )

    def _query(
        self,
        question: _Question,
        top_k: int,
        where: Where | None,
        ef: int | None,
        include: Sequence[str] | None,
        min_score: float | None,
        group_by: str | None,
        rerank: Callable[[str, list[Hit]], Sequence[float]] | None,
        explain: bool,
        joining: tuple[bool, tuple[float, float], float | None],
    ) -> Hits:
        top_k, ef = integer(top_k, "top_k"), optional_integer(ef, "ef")
        optional_text(group_by, "group_by")
        if min_score is not None and math.isnan(min_score):
            raise InvalidArgumentError(
                "min_score is nan: nothing compares to it", argument="min_score"
            )
        bare = include is not None and not include and rerank is None and not group_by
        found, plan = _sound(
            self._core.query,
            question.vector,
            question.text,
            question.mode,
            top_k,
            _filter(where),
            ef or 0,
            None if rerank is not None else min_score,
            group_by or "",
            _wants_vectors(include),
            self._model() if question.wants_embedding else ("", ""),
            *joining,
            not bare,
            None if question.mode == "vector" else _joined(self._tokenizer, question.text),
        )
        hits = Hits(map(_bare_hit if bare else _hit, found))
        if rerank is not None:
            if question.text is None:
                raise InvalidArgumentError("rerank needs the question's text", argument="rerank")
            scores = rerank(question.text, list(hits))
            hits = Hits(
                hit._replace(score=float(score)) for hit, score in zip(hits, scores, strict=True)
            )
            hits.sort(key=lambda hit: (-hit.score, hit.id))
            if min_score is not None:
                hits = Hits(hit for hit in hits if hit.score >= min_score)
        if explain:
            hits.plan = plan
        return hits

    def query_batch(
        self,
        array: ArrayLike,
        *,
        top_k: int = 5,
        where: Where | None = None,
        ef: int | None = None,
    ) -> list[list[Hit]]:
        """Search for each row of `array` (float32 [n, dim]) in one crossing."""
        vectors = matrix_of(array, "array")
        top_k, ef = integer(top_k, "top_k"), optional_integer(ef, "ef")
        found = _sound(self._core.query_batch, vectors, top_k, _filter(where), ef or 0)
        return [[_hit(one) for one in hits] for hits in found]

    async def aquery_batch(
        self,
        array: ArrayLike,
        *,
        top_k: int = 5,
        where: Where | None = None,
        ef: int | None = None,
    ) -> list[list[Hit]]:
        """The coroutine of `query_batch`."""
        return await asyncio.to_thread(self.query_batch, array, top_k=top_k, where=where, ef=ef)

    def get(self, ids: Sequence[str], *, include: Sequence[str] | None = None) -> list[Row]:
        """Return rows in the order of `ids`.

        Raises: NotFoundError: names the first id that is not there.
        """
        found = _sound(self._core.get, _strings(ids, "ids"), _wants_vectors(include))
        return [_row(one) for one in found]

    async def aget(self, ids: Sequence[str], *, include: Sequence[str] | None = None) -> list[Row]:
        """The coroutine of `get`."""
        return await asyncio.to_thread(self.get, ids, include=include)

    def count(self, *, where: Where | None = None) -> int:
        """Return how many rows there are, or pass a filter."""
        return self._core.count(_filter(where))

    async def acount(self, *, where: Where | None = None) -> int:
        """The coroutine of `count`."""
        return await asyncio.to_thread(self.count, where=where)

    def scroll(
        self,
        *,
        after: str | None = None,
        limit: int = 1000,
        where: Where | None = None,
        include: Sequence[str] | None = None,
    ) -> Page:
        """Return rows in the order of their ids, from behind `after`."""
        limit, after = integer(limit, "limit"), optional_text(after, "after")
        rows, following = _sound(
            self._core.scroll, after, limit, _filter(where), _wants_vectors(include)
        )
        return Page([_row(one) for one in rows], following)

    async def ascroll(
        self,
        *,
        after: str | None = None,
        limit: int = 1000,
        where: Where | None = None,
        include: Sequence[str] | None = None,
    ) -> Page:
        """The coroutine of `scroll`."""
        return await asyncio.to_thread(
            self.scroll, after=after, limit=limit, where=where, include=include
        )

    def optimize(self) -> None:
        """Seal and merge all rows into one graph segment now, and wait for it."""
        self._core.optimize()

    async def aoptimize(self) -> None:
        """The coroutine of `optimize`."""
        await asyncio.to_thread(self.optimize)

    # --- another model ---------------------------------------------------------------------------

    def reembed(
        self,
        embedder: Embedder,
        *,
        max_cost: str | int | Decimal | None = None,
        dry_run: bool = False,
    ) -> ReembedReport:
        """Make the vectors of all rows anew with another model, and then answer with them.

        Searches and writes go on with the old model meanwhile, in all processes. When every row has
        its new vector they change over in one commit; from then on the old model is refused
        (`ModelMismatchError`). Every page of rows is a commit of its own: after `kill -9`, or an
        error, the same call goes on and pays for no stored vector again. With a third model it
        begins anew; with the model that is there it drops what was begun.

        Args:
            embedder: The new model; this object uses it from then on.
            max_cost: Dollars. The embedder's quote for the texts is compared with it before
                anything is sent.
            dry_run: Quote only.

        Raises:
            InvalidArgumentError: a row has no text; or no price is known for `max_cost`.
            RequestExceedsLimitError: the quote is above `max_cost`; nothing was sent.
            DureError: what the embedder raised; what is stored stays for the next call.
        """
        work = self._reembedding(embedder, max_cost, dry_run)
        texts, report = _reembed.advance(work, None)
        while texts is not None:
            texts, report = _reembed.advance(work, _new_vectors(embedder.embed_documents(texts)))
        return self._reembedded(embedder, cast("ReembedReport", report))

    async def areembed(
        self,
        embedder: Embedder,
        *,
        max_cost: str | int | Decimal | None = None,
        dry_run: bool = False,
    ) -> ReembedReport:
        """The coroutine of `reembed`; awaits `embedder.aembed_documents` where there is one."""
        asynchronous = getattr(embedder, "aembed_documents", None)
        work = self._reembedding(embedder, max_cost, dry_run)
        texts, report = await asyncio.to_thread(_reembed.advance, work, None)
        while texts is not None:
            made = (
                await asynchronous(texts)
                if asynchronous is not None
                else await asyncio.to_thread(embedder.embed_documents, texts)
            )
            texts, report = await asyncio.to_thread(_reembed.advance, work, _new_vectors(made))
        return self._reembedded(embedder, cast("ReembedReport", report))

    def _reembedding(
        self, embedder: Embedder, max_cost: str | int | Decimal | None, dry_run: bool
    ) -> _reembed.Steps:
        model = (str(embedder.model_id), fingerprint(embedder))
        return _reembed.steps(self._core, embedder, model, _dollars(max_cost), bool(dry_run))

    def _reembedded(self, embedder: Embedder, report: ReembedReport) -> ReembedReport:
        if report.done:
            self._given = embedder
        return report

    # --- out and in ------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """The number of the store's last commit: what `export(since=)` goes on from."""
        return self._core.changes(_LAST_SEQ, 0, 1)[3]

    def export(
        self, path: str | os.PathLike[str], *, format: str = "jsonl", since: int | None = None
    ) -> int:
        """Write all rows, or what changed, to a file; return how many.

        `load` gives back the same ids, texts, metadata and bits of the vectors. The file appears
        under its name when it is whole. Rows that are written meanwhile may be missing in it: take
        `seq` before, and the next run brings them.

        Args:
            path: The file; for `"npy"` the array, with the rest in a `.jsonl` of the same name.
            format: `"jsonl"`: one object a line with id, document, text, metadata and vector.
                `"parquet"`: the same as columns, metadata as JSON (extra `arrow`). `"npy"`.
            since: A `seq` of before: only rows that were written after it, and the ids of those
                that were removed (`"deleted": true`).

        Raises:
            InvalidArgumentError: removed rows of that time are forgotten: export everything.
            UnsupportedError: an unknown format.
        """
        from dure import _transfer

        name = _path(path, "path")
        first = optional_integer(since, "since") or 0
        count = 0
        with _transfer.writing(name, text(format, "format")) as out:
            if since is None:
                for rows in self._all_pages():
                    out.write(rows)
                    count += len(rows)
                return count
            gone: list[str] = []
            after = 0
            while True:
                found, removed, after, _ = _sound(self._core.changes, first, after, 1000)
                out.write([_row(one) for one in found])
                gone += removed
                count += len(found)
                if not after:
                    break
            gone = sorted(set(gone))
            out.remove(gone)
            return count + len(gone)

    async def aexport(
        self, path: str | os.PathLike[str], *, format: str = "jsonl", since: int | None = None
    ) -> int:
        """The coroutine of `export`."""
        return await asyncio.to_thread(self.export, path, format=format, since=since)

    def load(
        self, path: str | os.PathLike[str], *, format: str = "jsonl", source: str | None = None
    ) -> int:
        """Take in all rows of a file that `export` wrote; return how many.

        Batches of 1,000 rows are committed as they are read; what is there already costs nothing,
        so a run that broke off is run again. Rows without a vector are embedded.

        Args:
            path: The file, or Chroma's folder.
            format: `"jsonl"`, `"parquet"`, `"npy"` as `export`; `"chroma"`: a folder of
                `chromadb.PersistentClient`, which stays as it is. Vectors that Chroma keeps in its
                index alone are read if chromadb is installed, else made anew from the texts.
            source: The collection in Chroma's folder; None: of this collection's name.

        Raises:
            InvalidArgumentError: a line is no such row; `.path` says which.
            FileRefusedError: a damaged or foreign file.
            NotFoundError: no such folder or collection of Chroma's.
        """
        from dure import _transfer

        name = _path(path, "path")
        source = optional_text(source, "source") or self.name
        return sum(
            self._load_batch(batch)
            for batch in _transfer.reading(name, text(format, "format"), source)
        )

    async def aload(
        self, path: str | os.PathLike[str], *, format: str = "jsonl", source: str | None = None
    ) -> int:
        """The coroutine of `load`."""
        return await asyncio.to_thread(self.load, path, format=format, source=source)

    def _all_pages(self) -> Iterator[list[Row]]:
        page = self.scroll(include=["vector"])
        yield page.rows
        while page.next is not None:
            page = self.scroll(after=page.next, include=["vector"])
            yield page.rows

    def _load_batch(self, rows: list[dict[str, Any]]) -> int:
        gone = [row["id"] for row in rows if row.get("deleted")]
        if gone:
            self.delete(ids=gone)
        rows = [row for row in rows if not row.get("deleted")]
        given = [row for row in rows if row.get("vector") is not None]
        for some, vectors in (
            (given, [row["vector"] for row in given]),
            ([row for row in rows if row.get("vector") is None], None),
        ):
            if not some:
                continue
            batch = _Rows.of(
                None,
                vectors,
                [row["id"] for row in some],
                [row.get("text") for row in some],
                [row.get("metadata") or {} for row in some],
                None,
            )
            batch.documents = [row.get("document") or "" for row in some]
            if batch.needs_embedding:
                self._check_model()
                missing = batch.missing(self.has_vectors)
                made = self.embedder.embed_documents([batch.content_of(i) for i in missing])
                batch.put(missing, made)
            self._write(batch)
        return len(rows) + len(gone)

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, tenant={self.tenant!r})"


class _Rows:
    """The arguments of one upsert, as columns that the core takes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.ids: list[str] | None = None
        self.documents: list[str] | None = None
        self.texts: list[str | None] | None = None
        self.metadata: list[str] = ["{}"] * count
        self.contents: list[bytes | None] = [None] * count
        self.vector_rows: list[int] = [-1] * count
        self.vectors: Vectors | None = None
        self.document: tuple[str, str | None, int | None, bytes, str] | None = None
        self.embed_texts: list[str | None] = [None] * count
        self.needs_embedding = False
        self.embedded = False

    @classmethod
    def of(
        cls,
        chunks: Any,  # noqa: ANN401
        embeddings: Any,  # noqa: ANN401
        ids: Sequence[str] | None,
        texts: Sequence[str | None] | None,
        metadata: Any,  # noqa: ANN401
        document: object,
    ) -> _Rows:
        if chunks is not None and (texts is not None or ids is not None):
            raise InvalidArgumentError("give chunks, or ids and texts, not both", argument="chunks")
        spans, contents, own = _contents(chunks, texts)
        count = _common_length(ids, spans, embeddings)
        rows = cls(count)
        rows.ids = None if ids is None else _strings(ids, "ids")
        rows.texts = spans
        if contents is not None:
            rows.embed_texts = contents
            rows.contents = [None if text is None else content_hash(text) for text in contents]
        rows.metadata = _metadata(metadata, own, count)
        rows._take_vectors(embeddings)
        rows.document = None if document is None else _document_argument(document)
        return rows

    def _take_vectors(self, embeddings: Any) -> None:  # noqa: ANN401
        if embeddings is None:
            self.needs_embedding = self.count > 0
            if any(content is None for content in self.contents):
                raise InvalidArgumentError(
                    "a row has neither text nor vector: give embeddings for it",
                    argument="embeddings",
                )
            return
        if isinstance(embeddings, list | tuple) and any(one is None for one in embeddings):
            given = [i for i, one in enumerate(embeddings) if one is not None]
            if given:
                self._put_at(given, matrix_of([embeddings[i] for i in given], "embeddings"))
            return
        matrix = matrix_of(embeddings, "embeddings")
        if len(matrix) != self.count:
            raise InvalidArgumentError(
                f"{len(matrix)} embeddings for {self.count} rows", argument="embeddings"
            )
        self._put_at(range(self.count), matrix)

    def _take_document(self, document: object, contents: list[str | None] | None) -> None:
        if document is None:
            if self.ids is not None:
                self.documents = list(self.ids)
            elif contents is not None:
                self.documents = [_core.index.document_id(cast("str", text)) for text in contents]
            return
        self.document = _document_argument(document)

    def _put_at(self, rows: Iterable[int], matrix: Vectors) -> None:
        self.vectors = matrix
        for at, row in enumerate(rows):
            self.vector_rows[row] = at

    def content_of(self, row: int) -> str:
        return cast("str", self.embed_texts[row])

    def unlike_texts(self) -> list[str | None] | None:
        """Return what was embedded where it is not the text of the row."""
        if self.texts is None:
            return None
        pairs = zip(self.texts, self.embed_texts, strict=True)
        unlike = [None if embedded == text else embedded for text, embedded in pairs]
        return unlike if any(one is not None for one in unlike) else None

    def missing(self, has_vectors: Callable[[Sequence[bytes]], list[bool]]) -> list[int]:
        """Return the first row of each content whose vector must be made."""
        self.embedded = True
        first: dict[bytes, int] = {}
        for row, content in enumerate(self.contents):
            first.setdefault(cast("bytes", content), row)
        known = has_vectors(list(first))
        return [row for row, has in zip(first.values(), known, strict=True) if not has]

    def put(self, rows: Sequence[int], made: ArrayLike) -> None:
        """Take the vectors that an embedder made for `rows`."""
        matrix = matrix_of(made, "embedder")
        if len(matrix) != len(rows):
            raise InvalidArgumentError(
                f"the embedder returned {len(matrix)} vectors for {len(rows)} texts",
                argument="embedder",
            )
        self._put_at(rows, matrix)


class _Question:
    """The arguments of one query: what is searched for, and how."""

    def __init__(self, vector: Vectors | None, text: str | None, mode: str) -> None:
        self.vector = vector
        self.text = text
        self.mode = mode
        self.wants_embedding = vector is None and mode != "bm25"

    @classmethod
    def of(
        cls,
        x: str | ArrayLike | None,
        vector: ArrayLike | None,
        text: str | None,
        mode: str | None,
        col: Collection,
    ) -> _Question:
        if isinstance(x, str):
            if text is not None:
                raise InvalidArgumentError("the question is given twice", argument="text")
            text = x
        elif x is not None:
            if vector is not None:
                raise InvalidArgumentError("the vector is given twice", argument="vector")
            vector = x
        if text is None and vector is None:
            raise InvalidArgumentError(
                f"nothing to search for in {col.name!r}: give a text or a vector", argument="x"
            )
        chosen = mode if mode is not None else ("vector" if text is None else "hybrid")
        if chosen not in _MODES:
            raise InvalidArgumentError(
                f'mode is "vector", "bm25" or "hybrid", not {chosen!r}', argument="mode"
            )
        if text is None and chosen != "vector":
            raise InvalidArgumentError(f"mode {chosen!r} needs a text", argument="text")
        if text is not None:
            _utf8(text, "text")
        return cls(None if vector is None else _one_vector(vector), text, chosen)


class Given(NamedTuple):
    """The rows of one upsert for an engine that is not ours; see `rows_of`."""

    ids: list[str]
    texts: list[str | None]
    contents: list[str]
    metadata: list[dict[str, Any]]
    vectors: Vectors | None
    document: str | None


def rows_of(
    chunks: Any,  # noqa: ANN401
    embeddings: Any,  # noqa: ANN401
    ids: Sequence[str] | None,
    texts: Sequence[str | None] | None,
    metadata: Any,  # noqa: ANN401
    document: object,
) -> Given:
    """Check the arguments of an `upsert` and name the rows as our own store would.

    Raises: as `Collection.upsert`.
    """
    rows = _Rows.of(chunks, embeddings, ids, texts, metadata, document)
    if embeddings is not None and (rows.vectors is None or len(rows.vectors) < rows.count):
        raise InvalidArgumentError("give a vector for each row", argument="embeddings")
    name = None if rows.document is None else rows.document[0]
    seen: dict[tuple[str, bytes], int] = {}
    names: list[str] = []
    for row, content in enumerate(rows.contents):
        if rows.ids is not None:
            names.append(rows.ids[row])
            continue
        if content is None:
            raise InvalidArgumentError("a row has neither an id nor a content", argument="ids")
        key = (name or content[:16].hex(), content)
        names.append(chunk_id(*key, seen.setdefault(key, 0)))
        seen[key] += 1
    twice = sorted(name for name, times in collections.Counter(names).items() if times > 1)
    if twice:
        raise InvalidArgumentError(
            f"ids stand twice in one upsert: {', '.join(twice)}", argument="ids"
        )
    return Given(
        names,
        list(rows.texts or [None] * rows.count),
        [one or "" for one in rows.embed_texts],
        [json.loads(one) for one in rows.metadata],
        rows.vectors,
        name,
    )


def _contents(
    chunks: Any,  # noqa: ANN401
    texts: Sequence[str | None] | None,
) -> tuple[list[str | None] | None, list[str | None] | None, list[dict[str, Any]] | None]:
    """Return the stored texts, the embedded texts, and the metadata that chunks bring."""
    if texts is not None:
        given = list(texts)
        for text in given:
            if text is not None:
                _utf8(text, "texts")
        return given, given, None
    if chunks is None:
        return None, None, None
    spans: list[str | None] = []
    contents: list[str | None] = []
    own: list[dict[str, Any]] = []
    for chunk in chunks:
        if isinstance(chunk, str):
            spans.append(chunk)
            contents.append(chunk)
            own.append({})
            continue
        spans.append(chunk.text)
        contents.append(chunk.embed_text)
        own.append(dict(chunk.metadata))
    return spans, contents, own


def _common_length(*columns: Any) -> int:  # noqa: ANN401
    lengths = {len(column) for column in columns if column is not None}
    if not lengths:
        raise InvalidArgumentError(
            "nothing to write: give chunks, texts or embeddings", argument="chunks"
        )
    if len(lengths) > 1:
        raise InvalidArgumentError(
            f"ids, texts and embeddings differ in length: {sorted(lengths)}", argument="ids"
        )
    return lengths.pop()


def _metadata(
    given: Any,  # noqa: ANN401
    own: list[dict[str, Any]] | None,
    count: int,
) -> list[str]:
    if given is None or hasattr(given, "keys"):
        each: list[Any] = [given] * count
    else:
        each = list(given)
        if len(each) != count:
            raise InvalidArgumentError(
                f"{len(each)} metadata for {count} rows", argument="metadata"
            )
    if own is None:
        if each and all(one is each[0] for one in each):
            return [_json(each[0] or {}, 0)] * count
        return [_json(one or {}, row) for row, one in enumerate(each)]
    return [
        _json({**mine, **(one or {})}, row)
        for row, (mine, one) in enumerate(zip(own, each, strict=True))
    ]


def _json(value: Mapping[str, Any], row: int = 0) -> str:
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except RecursionError:
        raise InvalidArgumentError(
            f"the metadata of row {row} is nested too deep: flatten it",
            argument="metadata",
            path=f"metadata[{row}]",
            row=row,
        ) from None
    except (TypeError, ValueError) as wrong:
        raise InvalidArgumentError(
            f"the metadata of row {row} is no JSON: {wrong}", argument="metadata", row=row
        ) from wrong
    return text


def _utf8(text: str, argument: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as wrong:
        raise InvalidArgumentError(
            f"a text holds a lone surrogate at character {wrong.start}: decode it with "
            'errors="replace" first',
            argument=argument,
        ) from wrong


def _strings(values: Sequence[str], argument: str) -> list[str]:
    if isinstance(values, str):
        raise InvalidArgumentError(f"{argument} is a list of str, not one str", argument=argument)
    strings = list(values)
    for value in strings:
        if not isinstance(value, str) or not value:
            raise InvalidArgumentError(
                f"{argument} holds {value!r}: ids are non-empty str", argument=argument
            )
        _utf8(value, argument)
    return strings


def matrix_of(values: ArrayLike, argument: str) -> Vectors:
    """Return float32 [n, dim]."""
    import numpy as np

    try:
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as wrong:
        raise InvalidArgumentError(
            f"{argument}: not a matrix of floats [n, dim]: {wrong}", argument=argument
        ) from wrong
    if matrix.ndim == 1 and matrix.size == 0:
        matrix = matrix.reshape(0, 0)
    if matrix.ndim != 2:
        raise InvalidArgumentError(
            f"{argument} has {matrix.ndim} dimensions, not 2 ([n, dim])", argument=argument
        )
    return matrix


def _one_vector(values: ArrayLike) -> Vectors:
    import numpy as np

    try:
        vector = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as wrong:
        raise InvalidArgumentError(f"not a vector of floats: {wrong}", argument="vector") from wrong
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1:
        raise InvalidArgumentError(
            f"the vector has {vector.ndim} dimensions, not 1 (query_batch takes many)",
            argument="vector",
        )
    return vector


def _joined(tokenizer: Tokenizer | None, text: str | None) -> str | None:
    """Return the words of a text as the core takes them; None: it cuts them itself."""
    if tokenizer is None or text is None:
        return None
    words = [word.replace(_WORD_BREAK, " ") for word in tokenizer(text) if word]
    return _WORD_BREAK.join(words)


def _new_vectors(made: ArrayLike) -> Vectors:
    return matrix_of(made, "embedder")


def _dollars(amount: str | int | Decimal | None) -> Decimal | None:
    from decimal import Decimal, InvalidOperation

    if amount is None:
        return None
    try:
        if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
            raise TypeError
        dollars = Decimal(amount)
        if not dollars.is_finite() or dollars < 0:
            raise ValueError
    except (TypeError, ValueError, InvalidOperation):
        raise InvalidArgumentError(
            f"max_cost is dollars as str, int or Decimal, at least 0, not {amount!r}",
            argument="max_cost",
        ) from None
    return dollars


def _filter(where: Where | None) -> str | None:
    return None if where is None else filter_json(where)


def filter_json(where: Where | None) -> str:
    """Return a filter as the core reads it."""
    try:
        text = json.dumps(where, ensure_ascii=False, allow_nan=False)
        text.encode()
    except RecursionError:
        raise errors.FilterError(
            "the filter is nested too deep: flatten it",
            argument="where",
            position=0,
            reason="nested too deep",
        ) from None
    except (TypeError, ValueError) as wrong:
        raise errors.FilterError(
            f"the filter is no JSON: {wrong}", argument="where", position=0, reason=str(wrong)
        ) from wrong
    return text


def _joining(
    fusion: str, weights: tuple[float, float], mmr: float | None
) -> tuple[bool, tuple[float, float], float | None]:
    if fusion not in ("rrf", "weighted"):
        raise InvalidArgumentError(
            f'fusion is "rrf" or "weighted", not {fusion!r}', argument="fusion"
        )
    try:
        by_vector, by_words = (float(one) for one in weights)
    except (TypeError, ValueError) as wrong:
        raise InvalidArgumentError(
            f"weights are two numbers, of vectors and of words, not {weights!r}",
            argument="weights",
        ) from wrong
    return fusion == "weighted", (by_vector, by_words), None if mmr is None else float(mmr)


def _wants_vectors(include: Sequence[str] | None) -> bool:
    wanted = set(include or ())
    unknown = wanted - {"vector", "vectors", "embedding", "embeddings", "text", "metadata"}
    if unknown:
        raise InvalidArgumentError(
            f"include knows vector, text and metadata, not {sorted(unknown)}", argument="include"
        )
    return bool(wanted & {"vector", "vectors", "embedding", "embeddings"})


def _document_argument(document: object) -> tuple[str, str | None, int | None, bytes, str]:
    if isinstance(document, str):
        return (_strings([document], "document")[0], None, None, b"", "{}")
    if isinstance(document, StoredDocument):
        return (
            _strings([document.id], "document")[0],
            document.source,
            document.size,
            document.content_hash,
            _json(document.metadata),
        )
    name = getattr(document, "id", None)
    text = getattr(document, "text", None)
    if name is None and isinstance(text, str):
        name = _core.index.document_id(text)
    if not isinstance(name, str):
        raise InvalidArgumentError(
            f"document is a str, a Document or a StoredDocument, not {type(document).__name__}",
            argument="document",
        )
    return (name, None, None, b"", _json(getattr(document, "metadata", None) or {}))


def _sound(read: Callable[..., _T], *arguments: Any) -> _T:  # noqa: ANN401
    """Return `read(*arguments)`; stored text that is no UTF-8 is damage, not the caller's."""
    try:
        return read(*arguments)
    except UnicodeDecodeError as damaged:
        raise _damaged(f"a text in it is no UTF-8 ({damaged.reason})") from None


# What `json.loads` calls, without what it does around it: each hit's metadata is read by it.
_decode = json.JSONDecoder().raw_decode


def _stored_json(metadata: str) -> dict[str, Any]:
    try:
        found, end = _decode(metadata)
        if end != len(metadata):
            found = json.loads(metadata)
    except (ValueError, RecursionError) as damaged:
        raise _damaged(f"the metadata of a row is no JSON ({damaged})") from None
    if not isinstance(found, dict):
        raise _damaged("the metadata of a row is no JSON object")
    return found


def _damaged(why: str) -> errors.StoreCorruptError:
    return errors.StoreCorruptError(
        f"store.db is damaged: {why}: restore a backup, or ingest into a new folder"
    )


def _path(path: str | os.PathLike[str], argument: str) -> str:
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else None
    if not name or "\0" in name:
        raise InvalidArgumentError(f"{argument} is a path, not {path!r}", argument=argument)
    return name


def _row(one: tuple[Any, ...]) -> Row:
    id, document, text, metadata, vector = one
    return Row(id, text, _stored_json(metadata), document, vector)


def _hit(one: tuple[Any, ...]) -> Hit:
    id, score, document, text, metadata, vector = one
    return _new_tuple(Hit, (id, score, text, _stored_json(metadata), document, vector))


def _bare_hit(one: tuple[Any, ...]) -> Hit:
    return _new_tuple(Hit, (one[0], one[1], None, {}, None, None))


def _document(one: tuple[Any, ...]) -> StoredDocument:
    id, source, size, content, metadata, chunks = one
    return StoredDocument(id, source, size, content, _stored_json(metadata), chunks)
