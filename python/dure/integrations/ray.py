"""Ray: chunks and ingest over a Ray Data dataset, for corpora that outgrow a machine.

    import ray
    from dure.integrations import ray as dure_ray

    rows = dure_ray.chunks(ray.data.from_items([{"path": p} for p in paths]))
    report = dure_ray.ingest(paths, store="stores/handbook")

Files are read, parsed and cut by Ray's workers; the store has one writer, the driver. Chunks are
those of `Chunker.chunk`, byte for byte, whatever the number of workers. Workers need the files
under the same paths.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure._dollars import to_dollars
from dure.chunks import Chunk, Chunker
from dure.errors import FileRefusedError, MissingExtraError
from dure.rag._ask import opened
from dure.rag._ingest import (
    MAX_TOKENS,
    Ingestion,
    IngestReport,
    cut_file,
    metadata_of,
    read_file,
    stamp_of,
)
from dure.rag._walk import files_under

try:
    import ray
    import ray.data
except ImportError as missing:
    raise MissingExtraError.of("ray", "ray") from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dure.aio import AsyncClient
    from dure.files import Limits
    from dure.retrieval import Embedder, Store

    Paths = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]

__all__ = ["chunks", "ingest"]

_FILES_AT_ONCE = 8  # of one task
_COLUMNS = ("byte_start", "byte_end", "char_start", "char_end", "token_count", "page", "hash64")


def chunks(
    paths: Paths | ray.data.Dataset,
    *,
    chunker: Chunker | None = None,
    limits: Limits | None = None,
) -> ray.data.Dataset:
    """Cut files into a dataset with one row a chunk.

    Args:
        paths: Files and folders, or a dataset with a column `path`.
        chunker: How to cut; None: chunks of at most 512 tokens.
        limits: Caps on each file.

    Returns:
        A lazy dataset with the columns `source`, `n` (from 0 in each file), `text`, `embed_text`,
        `heading` and those of `dure.Chunks`. A refused file is one row whose `refused` says why
        and whose `n` is -1.
    """
    cutter = chunker or Chunker(MAX_TOKENS)

    def cut(batch: Mapping[str, Any]) -> dict[str, Any]:
        import numpy as np

        made = [_rows(str(path), cutter, limits) for path in batch["path"]]
        return {name: np.concatenate([one[name] for one in made]) for name in made[0]}

    return _dataset(paths).map_batches(cut, batch_size=_FILES_AT_ONCE, batch_format="numpy")


def _dataset(paths: Paths | ray.data.Dataset) -> ray.data.Dataset:
    if isinstance(paths, ray.data.Dataset):
        return paths
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found, closed = files_under(given)
    named = [*found, *(folder for folder, _ in closed)]  # a closed folder ends as a refused row
    return ray.data.from_items([{"path": str(path)} for path in named])


def _rows(path: str, chunker: Chunker, limits: Limits | None) -> dict[str, Any]:
    """Return the columns of one file."""
    import numpy as np

    try:
        made = cut_file(Path(path), read_file(Path(path), limits), chunker, limits)
        reason, count = "", len(made)
        columns = {name: np.asarray(made.columns()[name]) for name in _COLUMNS}
        texts = {"text": list(made.text), "embed_text": list(made.embed_text)}
        texts["heading"] = [" > ".join(chunk.heading_path) for chunk in made]
        number = np.arange(count, dtype=np.int64)
    except FileRefusedError as refused:
        reason, count, number = refused.reason, 1, np.array([-1], dtype=np.int64)
        columns = {name: np.zeros(1, dtype=np.int64) for name in _COLUMNS}
        texts = {name: [""] for name in ("text", "embed_text", "heading")}
    columns["hash64"] = columns["hash64"].astype(np.uint64)
    strings = {name: np.array(values, dtype=object) for name, values in texts.items()}
    same = {"source": np.full(count, path, dtype=object)}
    refusals = {"refused": np.full(count, reason, dtype=object)}
    return {**same, "n": number, **strings, **columns, **refusals}


def ingest(
    paths: Paths | ray.data.Dataset,
    *,
    store: Store | str | os.PathLike[str],
    collection: str = "default",
    tenant: str | None = None,
    embedder: Embedder | None = None,
    chunker: Chunker | None = None,
    client: AsyncClient | None = None,
    limits: Limits | None = None,
) -> IngestReport:
    """Read files into a store as `dure.ingest` does, with reading and cutting done by Ray.

    Args:
        paths: Files and folders, or a dataset with a column `path`.
        store: An open store, or the folder of one, on the driver.
        collection: Where to write.
        tenant: Whose collection.
        embedder: What makes the vectors, on the driver; None: the model that the collection
            records, and for a new one the built-in hash embedder.
        chunker: How texts are cut; None: chunks of at most 512 tokens.
        client: Whose counters say what embeddings cost.
        limits: Caps on each file.

    Raises:
        DureError: As `dure.ingest`.
    """
    start = time.monotonic()
    with opened(store, must_exist=False) as own:
        run = Ingestion(own, collection, tenant, embedder, chunker, client, threading.Event())
        before = run.spent()
        read = _reader(run.chunker, run.cut, ray.put(run.known()), limits)
        answers = _dataset(paths).map_batches(read, batch_size=_FILES_AT_ONCE, batch_format="numpy")
        _commit(run, (json.loads(row["answer"]) for row in answers.iter_rows()))
        report = run.report
        after = run.spent()
    report.cost = None if before is None or after is None else to_dollars(after - before)
    report.refused.sort(key=lambda refusal: refusal.path)
    report.seconds = time.monotonic() - start
    return report


def _reader(
    chunker: Chunker, cut: bytes, known: ray.ObjectRef, limits: Limits | None
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what a worker does with a batch of paths: one JSON answer for each."""

    def read(batch: Mapping[str, Any]) -> dict[str, Any]:
        import numpy as np

        there: dict[str, tuple[int, bytes]] = ray.get(known)
        made = [_read(Path(str(path)), chunker, cut, there, limits) for path in batch["path"]]
        return {"answer": np.array([json.dumps(one) for one in made], dtype=object)}

    return read


def _read(
    path: Path,
    chunker: Chunker,
    cut: bytes,
    known: Mapping[str, tuple[int, bytes]],
    limits: Limits | None,
) -> dict[str, Any]:
    """Take one file from its bytes to its chunks, unless it is known or refused."""
    try:
        data = read_file(path, limits)
        answer: dict[str, Any] = {"path": str(path), "size": len(data)}
        stamp = stamp_of(data, cut)
        if known.get(str(path)) == (len(data), stamp):
            return answer
        made = cut_file(path, data, chunker, limits)
    except FileRefusedError as refused:
        return {"path": str(path), "refused": refused.reason}
    rows = [list(chunk) for chunk in made]
    return {**answer, "stamp": stamp.hex(), "chunks": rows, "metadata": metadata_of(path, made)}


def _commit(run: Ingestion, answers: Iterable[dict[str, Any]]) -> None:
    """Write the documents as they come, one commit each."""
    from dure.retrieval import StoredDocument

    for answer in answers:
        run.report.files += 1
        path = answer["path"]
        if "refused" in answer:
            run.refuse(Path(path), answer["refused"])
        elif "chunks" not in answer:
            run.add(bytes=answer["size"], skipped=1)
        else:
            made = [Chunk(*row)._replace(heading_path=tuple(row[2])) for row in answer["chunks"]]
            stamp = bytes.fromhex(answer["stamp"])
            stored = StoredDocument(path, path, answer["size"], stamp)
            run.collection.upsert(made, metadata=answer["metadata"], document=stored)
            tokens = sum(chunk.token_count for chunk in made)
            run.add(bytes=answer["size"], chunks=len(made), tokens=tokens)
    run.report.embedded = run.batcher.embedded
