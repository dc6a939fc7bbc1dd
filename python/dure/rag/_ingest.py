"""The order of steps of an ingest: walk, skip, load, chunk, embed, commit."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure._check import optional_text, refuse, text
from dure._dollars import to_dollars
from dure._progress import reporter
from dure._regular import refuse as refuse_file
from dure.errors import FileRefusedError, InvalidArgumentError, MissingExtraError

from ._ask import opened
from ._batch import MicroBatcher
from ._embedder import INGEST_ELSEWHERE, recorded_embedder
from ._walk import files_under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dure._progress import Report
    from dure._sync import Client
    from dure.aio import AsyncClient
    from dure.chunks import Chunker, Chunks
    from dure.files import Limits
    from dure.retrieval import Collection, Embedder, Store

__all__ = ["IngestReport", "Refusal", "aingest", "ingest"]

MAX_TOKENS = 512  # of a chunk, where no chunker is given
THREADS = 8


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was not read, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        files: Files that were looked at.
        skipped: Of these, unchanged since they were last ingested.
        chunks: Chunks of the documents that were written.
        embedded: Texts that were embedded: only contents that the store did not have.
        tokens: Tokens of `chunks`.
        bytes: Bytes of the files that were looked at.
        seconds: How long it took.
        removed: Documents that were dropped because their file is gone (`prune=True`).
        refused: Files that were not read.
        cost: Dollars for embeddings, exact; None if a provider's embedder came without `client=`.
    """

    files: int = 0
    skipped: int = 0
    chunks: int = 0
    embedded: int = 0
    tokens: int = 0
    bytes: int = 0
    seconds: float = 0.0
    removed: int = 0
    refused: list[Refusal] = field(default_factory=list)
    cost: Decimal | None = Decimal(0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the cost as a string of dollars."""
        values = asdict(self)
        cost = values.pop("cost")
        values["cost_usd"] = None if cost is None else f"{cost:f}"
        return values


def ingest(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    store: Store | str | os.PathLike[str],
    collection: str = "default",
    tenant: str | None = None,
    embedder: Embedder | None = None,
    chunker: Chunker | None = None,
    client: AsyncClient | Client | None = None,
    prune: bool = False,
    progress: bool | Report | None = None,
) -> IngestReport:
    """Read files and folders into a store. In a coroutine: `await dure.aingest(...)`.

    A file whose bytes did not change is skipped before it is parsed. A changed one is replaced in
    one commit, so a process that dies leaves each document whole, old or new, and the next run
    goes on where it stopped. A file that is refused does not stop the others.

    Args:
        paths: Files and folders; folders are walked in sorted order.
        store: An open store, or the folder of one, made if it is not there.
        collection: Where to write.
        tenant: Whose collection.
        embedder: What makes the vectors; None: the model that the collection records, and for a
            new one the built-in hash embedder.
        chunker: How texts are cut; None: chunks of at most 512 tokens.
        client: Whose counters say what embeddings cost: the one that `embedder` calls. Calls that
            others make on it meanwhile count too.
        prune: Drop documents that an ingest wrote and whose file is gone.
        progress: True draws a bar on a terminal; a callable gets `(done, total, "files")`.

    Raises:
        NotFoundError: a path does not exist.
        DimensionMismatchError, ModelMismatchError: the collection has other vectors.
        StorageError: the disk refused; what was committed stays.
        DureError: what the embedder's provider raises.
    """
    return _run(
        threading.Event(),
        paths,
        store,
        collection,
        tenant,
        embedder,
        chunker,
        client,
        prune,
        progress,
    )


async def aingest(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    store: Store | str | os.PathLike[str],
    collection: str = "default",
    tenant: str | None = None,
    embedder: Embedder | None = None,
    chunker: Chunker | None = None,
    client: AsyncClient | Client | None = None,
    prune: bool = False,
    progress: bool | Report | None = None,
) -> IngestReport:
    """The coroutine of `ingest`: the same arguments and result; the work is done by threads.

    A cancel ends it after the documents that are under way.
    """
    stop = threading.Event()
    try:
        return await asyncio.to_thread(
            _run,
            stop,
            paths,
            store,
            collection,
            tenant,
            embedder,
            chunker,
            client,
            prune,
            progress,
        )
    finally:
        stop.set()


def _run(
    stop: threading.Event,
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    store: Store | str | os.PathLike[str],
    collection: str,
    tenant: str | None,
    embedder: Embedder | None,
    chunker: Chunker | None,
    client: AsyncClient | Client | None,
    prune: bool,
    progress: bool | Report | None,
) -> IngestReport:
    _check_arguments(collection, tenant, chunker, client, progress)
    given = [paths] if isinstance(paths, str | os.PathLike) else _listed(paths)
    with opened(store, must_exist=False) as own:
        files, closed = files_under(given)
        run = Ingestion(own, collection, tenant, embedder, chunker, client, stop)
        for folder, reason in closed:
            run.refuse(folder, f"unreadable folder: {reason}")
        return run.run(files, prune=prune, report=reporter(progress, label="ingest"))


def _listed(paths: Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    """Return the paths.

    Raises:
        TypeError: they are no list of paths.
    """
    if isinstance(paths, bytes) or not isinstance(paths, Iterable):
        refuse(paths, "paths", "a path or a list of paths")
    given = list(paths)
    for i, one in enumerate(given):
        if not isinstance(one, str | os.PathLike):
            refuse(one, f"paths[{i}]", "str or PathLike")
    return given


def _check_arguments(
    collection: object, tenant: object, chunker: object, client: object, progress: object
) -> None:
    """Refuse what cannot work before anything is made.

    Raises:
        TypeError: the message names the argument.
    """
    text(collection, "collection")
    optional_text(tenant, "tenant")
    if chunker is not None and not callable(getattr(chunker, "chunk", None)):
        refuse(chunker, "chunker", "a dure.Chunker")
    if client is not None and not hasattr(client, "counters"):
        refuse(client, "client", "a dure.Client")
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        refuse(progress, "progress", "True or a callable")


class Ingestion:
    """One run over one collection: threads take a file each, from its bytes to its commit."""

    def __init__(
        self,
        store: Store,
        collection: str,
        tenant: str | None,
        embedder: Embedder | None,
        chunker: Chunker | None,
        client: AsyncClient | Client | None,
        stop: threading.Event,
    ) -> None:
        from dure.chunks import Chunker
        from dure.local import HashEmbedder

        if embedder is None:
            embedder = recorded_embedder(
                store, collection, tenant, client, way_out=INGEST_ELSEWHERE
            )
        maker = embedder or HashEmbedder()
        self._free = isinstance(maker, HashEmbedder)
        self._client = client
        self.batcher = MicroBatcher(maker)
        self.chunker = chunker or Chunker(MAX_TOKENS)
        self.cut = _cut_of(self.chunker)
        self.collection: Collection = store.collection(
            collection, tenant=tenant, embedder=self.batcher
        )
        self._stop = stop
        self._lock = threading.Lock()
        self.report = IngestReport()

    def run(self, files: list[Path], *, prune: bool, report: Report | None) -> IngestReport:
        start = time.monotonic()
        before = self.spent()
        self._known = self.known()
        for done, _ in enumerate(_unordered(self._file, files, self._stop), 1):
            if report is not None:
                report(done, len(files), "files")
        if prune:
            self._prune()
        self.report.files = len(files)
        self.report.embedded = self.batcher.embedded
        after = self.spent()
        self.report.cost = None if before is None or after is None else to_dollars(after - before)
        self.report.refused.sort(key=lambda refusal: refusal.path)
        self.report.seconds = time.monotonic() - start
        return self.report

    def known(self) -> dict[str, tuple[int | None, bytes | None]]:
        """Return length and stamp of each document that the collection holds."""
        return {one.id: (one.size, one.content_hash) for one in self.collection.documents()}

    def _file(self, path: Path) -> None:
        """Take one file from its bytes to its commit."""
        from dure.retrieval import StoredDocument

        try:
            data = read_file(path)
            stored = StoredDocument(str(path), str(path), len(data), stamp_of(data, self.cut))
            if self._known.get(stored.id) == (stored.size, stored.content_hash):
                self.add(bytes=len(data), skipped=1)
                return
            chunks = cut_file(path, data, self.chunker)
            del data
        except FileRefusedError as refused:
            self.refuse(path, refused.reason)
        else:
            self.collection.upsert(chunks, metadata=metadata_of(path, chunks), document=stored)
            tokens = int(chunks.token_count.sum()) if len(chunks) else 0
            self.add(bytes=stored.size or 0, chunks=len(chunks), tokens=tokens)

    def _prune(self) -> None:
        gone = [
            document
            for document, (size, _) in self._known.items()
            if size is not None and Path(document).is_absolute() and not Path(document).exists()
        ]  # what an upsert of the user's wrote has no size, and a file of ours has its whole path
        self.report.removed = self.collection.delete_documents(gone) if gone else 0

    def spent(self) -> int | None:
        """Return the pico-dollars that the client has spent so far; None if not known."""
        if self._client is None:
            return 0 if self._free else None
        return self._client.counters["cost_pico"]

    def refuse(self, path: Path, reason: str) -> None:
        """Note a file that was not read."""
        with self._lock:
            shown = str(path).encode(errors="backslashreplace").decode()
            self.report.refused.append(Refusal(shown, reason))

    def add(self, **counts: int) -> None:
        """Add to the counts of the report."""
        with self._lock:
            for name, count in counts.items():
                setattr(self.report, name, getattr(self.report, name) + count)


def read_file(path: Path, limits: Limits | None = None) -> bytes:
    """Return a file's bytes.

    Raises:
        FileRefusedError: As `files.read`, or the name is no text, which a row would have to hold.
    """
    from dure import files

    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError as bad:
        raise refuse_file(name, "its name is not UTF-8: rename it") from bad
    return files.read(path, limits=limits)


def cut_file(path: Path, data: bytes, chunker: Chunker, limits: Limits | None = None) -> Chunks:
    """Return the chunks of a file's bytes.

    Raises:
        FileRefusedError: Whatever is wrong with this file alone: it cannot be parsed, an extra for
            its kind is missing, or one of its characters is over the cap.
    """
    from dure import files

    try:
        return chunker.chunk(files.parse(path, data, limits=limits))
    except MissingExtraError as missing:
        raise refuse_file(str(path), str(missing)) from missing
    except InvalidArgumentError as bad:
        if not hasattr(bad, "position"):
            raise
        raise refuse_file(str(path), str(bad)) from bad


def stamp_of(data: bytes, cut: bytes) -> bytes:
    """Return a 128-bit hash of the bytes, then what `_cut_of` says about how they are cut."""
    return hashlib.blake2b(data, digest_size=16).digest() + cut


def _cut_of(chunker: Chunker) -> bytes:
    """Return 4 bytes that differ if the chunker cuts a probe differently: known by its deeds."""
    lines = [
        f"Sentence {i} of the probe says {i * i}. 탐침의 {i}번째 문장이다." for i in range(400)
    ]
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 40
    probe = "# One\n\n" + " ".join(lines) + f"\n\n## Two\n\n{table}\n```\n{table}```\n"
    cut = chunker.chunk(probe)
    columns = cut.hash64.tobytes() + cut.byte_start.tobytes()
    return hashlib.blake2b(columns, digest_size=4).digest()


def metadata_of(path: Path, chunks: Chunks) -> list[dict[str, Any]]:
    """Return what each chunk says about its place."""
    return [
        {
            "source": str(path),
            "char_start": chunk.char_start,
            "char_end": chunk.char_end,
            "tokens": chunk.token_count,
            **({"heading": " > ".join(chunk.heading_path)} if chunk.heading_path else {}),
            **({"page": chunk.page} if chunk.page else {}),
        }
        for chunk in chunks
    ]


def _unordered(
    work: Callable[[Path], None], items: Sequence[Path], stop: threading.Event
) -> Iterator[None]:
    """Do `work(item)` on threads, few ahead; give a sign per item; the first error ends it."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dure-ingest")
    running: set[Future[None]] = set()
    try:
        for item in itertools.takewhile(lambda _: not stop.is_set(), items):
            running.add(pool.submit(work, item))
            if len(running) >= 2 * THREADS:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
