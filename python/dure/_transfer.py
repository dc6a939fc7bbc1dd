"""Rows of a collection in files of others: JSON lines, Parquet, npy; and out of Chroma's folder.

What is written appears under its name when it is whole: a file is made beside it and renamed.
Pickle is never read or written.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from dure.errors import (
    FileRefusedError,
    InvalidArgumentError,
    MissingExtraError,
    NotFoundError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Record = dict[str, Any]

WRITTEN = ("jsonl", "parquet", "npy")
READ = (*WRITTEN, "chroma")
BATCH = 1000


class Line(Protocol):
    """A row as `dure.retrieval.Row` has it."""

    @property
    def vector(self) -> Any: ...  # noqa: ANN401
    def to_dict(self) -> dict[str, Any]: ...


class Writer(Protocol):
    """Takes rows, then ids that are gone; `close` gives the files their names."""

    def write(self, rows: Sequence[Line]) -> None: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def close(self, *, keep: bool) -> None: ...


@contextlib.contextmanager
def writing(path: str, format: str) -> Iterator[Writer]:
    """Give a writer of that format; after an error nothing is left of it."""
    kinds: dict[str, type[_Lines | _Table | _Arrays]] = {
        "jsonl": _Lines,
        "parquet": _Table,
        "npy": _Arrays,
    }
    if format not in kinds:
        raise _unknown(format, WRITTEN)
    writer = kinds[format](Path(path))
    try:
        yield writer
    except BaseException:
        writer.close(keep=False)
        raise
    writer.close(keep=True)


def reading(path: str, format: str, name: str) -> Iterator[list[Record]]:
    """Yield batches of rows: `id`, `document`, `text`, `metadata`, `vector`, or `deleted`.

    `name`: of the collection in Chroma's folder.
    """
    if format == "jsonl":
        return _batches(_lines(Path(path)))
    if format == "npy":
        return _read_arrays(Path(path))
    if format == "parquet":
        return _read_table(Path(path))
    if format == "chroma":
        return _batches(_read_chroma(Path(path), name))
    raise _unknown(format, READ)


def _unknown(format: str, known: tuple[str, ...]) -> UnsupportedError:
    return UnsupportedError(
        f"format is one of {', '.join(known)}, not {format!r}", backend="dure", flag=format
    )


def _refused(path: Path, reason: str) -> FileRefusedError:
    return FileRefusedError(f"{path}: {reason}", path=str(path), reason=reason)


# --- JSON lines ----------------------------------------------------------------------------------


class _Part:
    """A file that gets its name at the end."""

    def __init__(self, path: Path, mode: str) -> None:
        self._path = path
        self._made = path.with_name(f".{path.name}.{os.getpid()}.part")
        self.file: IO[Any] = self._made.open(mode, encoding=None if "b" in mode else "utf-8")

    def close(self, *, keep: bool) -> None:
        self.file.close()
        if keep:
            self._made.replace(self._path)
        else:
            self._made.unlink(missing_ok=True)


class _Lines:
    def __init__(self, path: Path, *, vectors: bool = True) -> None:
        self._part = _Part(path, "w")
        self._vectors = vectors

    def write(self, rows: Sequence[Line]) -> None:
        for row in rows:
            record = row.to_dict()
            if not self._vectors:
                del record["vector"]
            self._part.file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def remove(self, ids: Sequence[str]) -> None:
        for id in ids:
            record = {"id": id, "deleted": True}
            self._part.file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def close(self, *, keep: bool) -> None:
        self._part.close(keep=keep)


def _lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"line {number}"
            try:
                row = json.loads(line)
            except ValueError as wrong:
                raise InvalidArgumentError(
                    f"{where} is no JSON: {wrong}", argument="path", path=where
                ) from wrong
            if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                raise InvalidArgumentError(
                    f"{where} is no object with an id", argument="path", path=where
                )
            yield row


# --- npy, with the rest in JSON lines of the same name -------------------------------------------

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = 118  # bytes of text after the magic and its length: 128 in all


class _Arrays:
    def __init__(self, path: Path) -> None:
        self._array = _Part(path, "wb")
        self._lines = _Lines(path.with_suffix(".jsonl"), vectors=False)
        self._shape = (0, 0)
        self._head()

    def _head(self) -> None:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {self._shape}, }}"
        self._array.file.seek(0)
        self._array.file.write(_MAGIC + struct.pack("<H", _HEADER))
        self._array.file.write((text.ljust(_HEADER - 1) + "\n").encode())

    def write(self, rows: Sequence[Line]) -> None:
        for row in rows:
            self._array.file.write(row.vector.astype("<f4").tobytes())
            self._shape = (self._shape[0] + 1, len(row.vector))
        self._lines.write(rows)

    def remove(self, ids: Sequence[str]) -> None:
        self._lines.remove(ids)

    def close(self, *, keep: bool) -> None:
        if keep:
            self._head()
        self._array.close(keep=keep)
        self._lines.close(keep=keep)


def _read_arrays(path: Path) -> Iterator[list[Record]]:
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as wrong:
        raise _refused(path, f"no array of floats: {wrong}") from wrong
    if array.ndim != 2 or array.dtype.kind != "f":
        raise _refused(path, f"its array has shape {array.shape} of {array.dtype}, not [n, dim]")
    beside = path.with_suffix(".jsonl")
    at = 0
    for batch in _batches(_lines(beside)):
        for row in batch:
            if row.get("deleted"):
                continue
            if at == len(array):
                raise _refused(beside, f"it has more rows than the {at} of {path.name}")
            row["vector"] = array[at]
            at += 1
        yield batch
    if at != len(array):
        raise _refused(beside, f"it has {at} rows, {path.name} has {len(array)}")


# --- Parquet -------------------------------------------------------------------------------------


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError.of("arrow", "pyarrow") from error
    return pyarrow, parquet


class _Table:
    def __init__(self, path: Path) -> None:
        self._arrow, self._parquet = _arrow()
        self._part = _Part(path, "wb")
        self._writer: Any = None
        self._dim = 0

    def _put(self, columns: dict[str, list[Any]], dim: int) -> None:
        arrow = self._arrow
        if self._writer is None:
            self._dim = dim
            text = arrow.string()
            self._schema = arrow.schema(
                {
                    "id": text,
                    "document": text,
                    "text": text,
                    "metadata": text,
                    "vector": arrow.list_(arrow.float32(), dim) if dim else arrow.null(),
                    "deleted": arrow.bool_(),
                }
            )
            self._writer = self._parquet.ParquetWriter(self._part.file, self._schema)
        self._writer.write_table(arrow.table(columns, schema=self._schema))

    def write(self, rows: Sequence[Line]) -> None:
        if not rows:
            return
        records = [row.to_dict() for row in rows]
        columns: dict[str, list[Any]] = {
            name: [record[name] for record in records] for name in ("id", "document", "text")
        }
        columns["metadata"] = [
            json.dumps(record["metadata"], ensure_ascii=False) for record in records
        ]
        columns["vector"] = [row.vector for row in rows]
        columns["deleted"] = [False] * len(rows)
        self._put(columns, len(rows[0].vector))

    def remove(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        nothing: list[None] = [None] * len(ids)
        self._put(
            {
                "id": list(ids),
                **dict.fromkeys(("document", "text", "metadata", "vector"), nothing),
                "deleted": [True] * len(ids),
            },
            self._dim,
        )

    def close(self, *, keep: bool) -> None:
        if keep and self._writer is None:
            self._put(
                {name: [] for name in ("id", "document", "text", "metadata", "vector")}
                | {"deleted": []},
                0,
            )
        if self._writer is not None:
            self._writer.close()
        self._part.close(keep=keep)


def _read_table(path: Path) -> Iterator[list[Record]]:
    arrow, parquet = _arrow()
    try:
        file = parquet.ParquetFile(path)
    except arrow.ArrowInvalid as wrong:
        raise _refused(path, f"no Parquet: {wrong}") from wrong
    known = ("id", "document", "text", "metadata", "vector", "deleted")
    names = [name for name in known if name in file.schema_arrow.names]
    if "id" not in names:
        raise _refused(path, "it has no column id")
    for batch in file.iter_batches(BATCH, columns=names):
        rows = batch.to_pylist()
        for number, row in enumerate(rows):
            if not isinstance(row["id"], str):
                raise _refused(path, f"the id {row['id']!r} is no str")
            if isinstance(row.get("metadata"), str):
                row["metadata"] = _object(path, row["metadata"], number)
        yield rows


def _object(path: Path, text: str, number: int) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError as wrong:
        raise _refused(path, f"the metadata of row {number} is no JSON: {wrong}") from wrong


# --- Chroma --------------------------------------------------------------------------------------


def _read_chroma(folder: Path, name: str) -> Iterator[Record]:
    """Read a folder of Chroma's, which stays as it is.

    Ids, texts and metadata are in its SQLite file. Vectors are there too until Chroma moves them
    into its index; those are asked of chromadb itself, over a copy of the folder. Without chromadb
    such rows come without vectors, to be made anew from their texts.
    """
    path = folder / "chroma.sqlite3"
    if not path.is_file():
        raise NotFoundError(f"{folder} is no folder of Chroma: it has no chroma.sqlite3")
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield from _chroma_rows(database, folder, name)
    except sqlite3.DatabaseError as wrong:
        raise _refused(path, f"it cannot be read: {wrong}") from wrong
    finally:
        database.close()


def _chroma_rows(database: sqlite3.Connection, folder: Path, name: str) -> Iterator[Record]:
    names = [row[0] for row in database.execute("SELECT name FROM collections ORDER BY name")]
    if name not in names:
        raise NotFoundError(
            f"{folder} has no collection {name!r}, only {', '.join(map(repr, names)) or 'none'}: "
            "name one by source="
        )
    lists = bool(  # newer Chroma has lists
        database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'embedding_metadata_array'"
        ).fetchall()
    )
    logged = _logged_vectors(database, name)
    rest = _Indexed(folder, name)
    rows = database.execute(
        "SELECT e.id, e.embedding_id FROM embeddings e JOIN segments s ON s.id = e.segment_id "
        "JOIN collections c ON c.id = s.collection WHERE c.name = ? ORDER BY e.id",
        (name,),
    )
    try:
        for batch in _batches(rows):
            missing = [id for _, id in batch if id not in logged]
            indexed = rest.vectors(missing) if missing else {}
            for number, id in batch:
                text, metadata = _chroma_metadata(database, number, lists)
                yield {
                    "id": id,
                    "text": text,
                    "metadata": metadata,
                    "vector": logged.get(id, indexed.get(id)),
                }
    finally:
        rest.close()


def _logged_vectors(database: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return the vectors that are still in the log; a later entry wins."""
    import numpy as np

    vectors: dict[str, Any] = {}
    entries = database.execute(
        "SELECT q.id, q.vector, q.encoding FROM embeddings_queue q JOIN collections c "
        "ON q.topic LIKE '%/' || c.id WHERE c.name = ? ORDER BY q.seq_id",
        (name,),
    )
    for id, vector, encoding in entries:
        if vector is not None and encoding == "FLOAT32":
            vectors[id] = np.frombuffer(vector, "<f4")
    return vectors


def _chroma_metadata(
    database: sqlite3.Connection, number: int, lists: bool
) -> tuple[str | None, dict[str, Any]]:
    text = None
    metadata: dict[str, Any] = {}
    values = "SELECT key, string_value, int_value, float_value, bool_value FROM {} WHERE id = ?"
    for key, *value in database.execute(values.format("embedding_metadata"), (number,)):
        if key == "chroma:document":
            text = value[0]
        else:
            metadata[key] = _chroma_value(*value)
    if lists:
        for key, *value in database.execute(values.format("embedding_metadata_array"), (number,)):
            metadata.setdefault(key, []).append(_chroma_value(*value))
    return text, metadata


def _chroma_value(
    string: str | None, whole: int | None, real: float | None, flag: int | None
) -> str | int | float | bool | None:
    if flag is not None:
        return bool(flag)
    return next((one for one in (string, whole, real) if one is not None), None)


class _Indexed:
    """Vectors that only Chroma's index has, read by chromadb over a copy."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._collection: Any = None
        self._copy: Any = None

    def vectors(self, ids: list[str]) -> dict[str, Any]:
        try:
            import chromadb
        except ImportError:
            return {}
        if self._collection is None:
            import shutil
            import tempfile

            self._copy = tempfile.TemporaryDirectory(prefix="dure-chroma-")
            copy = Path(self._copy.name, "copy")
            shutil.copytree(self._folder, copy)
            client = chromadb.PersistentClient(path=str(copy))
            self._collection = client.get_collection(self._name, embedding_function=None)
        found = self._collection.get(ids=ids, include=["embeddings"])
        return dict(zip(found["ids"], found["embeddings"], strict=True))

    def close(self) -> None:
        if self._copy is not None:
            self._copy.cleanup()


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
