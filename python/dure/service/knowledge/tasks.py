"""Indexing, as a job: read, cut, embed batch by batch, put all of it in place at once.

Vectors of a finished batch lie in the data folder until the document is in place, under a name
made of their texts and model: whoever takes the job over after a crash finds them and pays for none
of them twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.calls import Call
from dure.chunks import Chunker
from dure.db.tables import DocumentModel, FileModel
from dure.errors import FileRefusedError, MissingExtraError
from dure.files import parse
from dure.service.calling import KEY_TAG, user_scope
from dure.service.files.service import Files
from dure.service.inference.manager import ModelManager
from dure.service.kit.jobs import Job
from dure.service.kit.state import State

from .repository import DocumentRepository
from .service import metadata_of, read_all
from .shelves import Shelves
from .vectors import embed, model_of

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["Indexer"]

_BATCH = 64  # chunks of one call


class Indexer:
    """Does jobs of the kind `index`. Task-safe."""

    def __init__(self, state: State, files: Files, shelves: Shelves, models: ModelManager) -> None:
        self._state, self._files = state, files
        self._shelves, self._models = shelves, models

    async def index(self, job: Job) -> None:
        """Index the document that a job names; one that is gone is nothing to do.

        Raises:
            FileRefusedError: it cannot be read.
            DureError: what a call or the store raises.
        """
        row, file = await self._begun(job)
        if row is None or file is None:
            return
        model = model_of(self._state.settings)
        data = await read_all(self._files.content(file))
        texts, places = await asyncio.to_thread(_cut, file.name, data, row.chunk_chars)
        await self._noted(job, total=len(texts))
        vectors, cost = await self._embedded(job, model, texts)
        metadata = [{**metadata_of(row), **place} for place in places]
        await asyncio.to_thread(
            self._shelves.replace, job.org_id, model, row.id, texts, vectors, metadata
        )
        await self._in_place(job, row, model, cost)
        await asyncio.to_thread(shutil.rmtree, self._folder(job), True)

    async def failed(self, job: Job, told: str) -> None:
        """Note why a document could not be indexed; others are unharmed."""
        await self._noted(job, state="failed", reason=told[:2000])
        await asyncio.to_thread(shutil.rmtree, self._folder(job), True)

    async def _begun(self, job: Job) -> tuple[DocumentModel | None, FileModel | None]:
        async with self._state.database.write() as work:
            documents = DocumentRepository(work, job.org_id)
            row = await documents.one(job.target, lock=True)
            if row is None:
                return None, None
            row.state, row.reason = "indexing", None
            return row, await documents.file_of(row)

    async def _noted(self, job: Job, **values: Any) -> bool:  # noqa: ANN401 - columns
        """Write how far it is; whether the document is still there."""
        async with self._state.database.write() as work:
            row = await DocumentRepository(work, job.org_id).one(job.target, lock=True)
            for name, value in values.items():
                if row is not None:
                    setattr(row, name, value)
            return row is not None

    async def _embedded(
        self, job: Job, model: str, texts: list[str]
    ) -> tuple[NDArray[float32], int]:
        """Return the vectors of all texts, and what those cost that were not there yet."""
        import numpy as np

        parts, cost = [], 0
        call = self._call(job)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            path = self._folder(job) / f"{_digest(model, batch)}.npy"
            found = await asyncio.to_thread(_read, path)
            if found is None:
                found, pico = await embed(self._state, self._models, model, batch, call)
                cost += pico
                await asyncio.to_thread(_keep, path, found)
            parts.append(found)
            if not await self._noted(job, done=start + len(batch)):
                break
        return np.concatenate(parts), cost

    async def _in_place(self, job: Job, row: DocumentModel, model: str, cost: int) -> None:
        """Switch to the new vectors; those of another model, or of a document gone, are removed."""
        now = self._state.clock.now()
        there = await self._noted(
            job,
            state="ready",
            model=model,
            indexed_at=now,
            cost_pico=row.cost_pico + cost,
        )
        if not there:
            await asyncio.to_thread(self._shelves.forget, job.org_id, model, job.target)
        elif row.model is not None and row.model != model:
            await asyncio.to_thread(self._shelves.forget, job.org_id, row.model, job.target)

    def _call(self, job: Job) -> Call:
        """Return who pays: whoever asked for it."""
        person = None if job.owner_id == job.key_id else user_scope(job.org_id, job.owner_id)
        tags = (f"{KEY_TAG}{job.key_id}",) if job.key_id else ()
        return Call(
            org=job.org_id,
            user=person,
            tags=tags,
            priority="batch",
            metered=self._state.settings.metered == "on",
        )

    def _folder(self, job: Job) -> Path:
        return self._state.data / "jobs" / job.id


def _cut(name: str, data: bytes, chars: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the texts of a file's chunks, and where in it each is.

    Raises:
        FileRefusedError: it cannot be read; the reason is for its owner.
    """
    try:
        chunks = Chunker(max_chars=chars).chunk(parse(name, data))
    except MissingExtraError as missing:
        raise FileRefusedError(str(missing), path=name, reason=str(missing)) from None
    texts = [str(one) for one in chunks.text]
    places = [
        {
            "char_start": int(chunks.char_start[n]),
            "char_end": int(chunks.char_end[n]),
            **({"page": int(chunks.page[n])} if chunks.page[n] else {}),
        }
        for n in range(len(texts))
    ]
    return texts, places


def _digest(model: str, texts: list[str]) -> str:
    found = hashlib.sha256(model.encode())
    for text in texts:
        found.update(b"%d\0" % len(text) + text.encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _read(path: Path) -> NDArray[float32] | None:
    import numpy as np

    try:
        found: NDArray[float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError):  # not there, or cut by a crash
        return None
    return found


def _keep(path: Path, vectors: NDArray[float32]) -> None:
    """Keep a batch's vectors for whoever goes on after us; without room they are made again."""
    import numpy as np

    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        part.replace(path)
