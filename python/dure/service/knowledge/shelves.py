"""Where chunks and vectors are: one shelf for each tenant and embedding model.

Vectors of two models are never compared: while documents move to another model, both shelves answer
until each document has moved.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any, cast

from dure.errors import MissingExtraError, UnsupportedError
from dure.retrieval import Hit, Store, VectorStore
from dure.service.settings import Settings

__all__ = ["DOCUMENT", "Shelves"]

DOCUMENT = "dure_document"  # metadata: which document a chunk is of


class Shelves:
    """Opens shelves of the configured store, each once. Thread-safe; what it does may block.

    Args:
        settings: Say which store.
        data: The data folder, for a store that lies in it.
    """

    def __init__(self, settings: Settings, data: Path) -> None:
        self._settings, self._data = settings, data
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], VectorStore] = {}
        self._root: Any = None

    def shelf(self, org_id: str, model: str, dim: int | None = None) -> VectorStore:
        """Return a tenant's shelf for vectors of a model, made if it is not there.

        Args:
            org_id: The tenant.
            model: What made the vectors.
            dim: Their length; None where the shelf exists.

        Raises:
            MissingExtraError, UnavailableError, StorageError: the store cannot be opened.
        """
        with self._lock:
            found = self._open.get((org_id, model))
            if found is None:
                found = self._open[org_id, model] = self._opened(org_id, model, dim)
            return found

    def _opened(self, org_id: str, model: str, dim: int | None) -> VectorStore:
        kind = self._settings.knowledge_store
        if kind == "core":
            if self._root is None:
                folder = self._data / "stores" / "knowledge"
                folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._root = Store.open(folder)
            return cast("VectorStore", self._root.collection(model, tenant=org_id, dim=dim))
        name = "dure_" + hashlib.sha256(f"{org_id}\0{model}".encode()).hexdigest()[:32]
        if kind == "chroma":
            return self._chroma(name, dim)
        from dure.integrations.pgvector import PgVectorStore

        url = self._settings.pgvector_url or self._settings.database_url
        assert url is not None  # the settings were checked
        return PgVectorStore(url.get_secret_value(), name, dim=dim)

    def _chroma(self, name: str, dim: int | None) -> VectorStore:
        try:
            import chromadb
        except ImportError as missing:
            raise MissingExtraError.of("chroma", "chromadb") from missing
        from dure.integrations.chroma import ChromaStore

        if self._root is None:
            folder = self._data / "stores" / "chroma"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root = chromadb.PersistentClient(str(folder))
        return ChromaStore(self._root, name, dim=dim)

    def search(
        self,
        org_id: str,
        model: str,
        vector: Any,  # noqa: ANN401 - float32 [dim]
        *,
        text: str,
        top_k: int,
        mode: str,
        where: dict[str, Any] | None,
    ) -> list[Hit]:
        """Return the best chunks, best first; the filter is applied before the search.

        Raises:
            UnsupportedError: the store has no search by words.
            FilterError: the filter cannot be read.
        """
        shelf = self.shelf(org_id, model, len(vector))
        if mode == "vector":
            return shelf.query(vector=vector, top_k=top_k, mode="vector", where=where)
        wanted = "hybrid" if mode == "hybrid" else "sparse"
        if wanted not in shelf.capabilities:
            raise UnsupportedError(
                f"{self._settings.knowledge_store} has no search by words: use mode=vector",
                backend=self._settings.knowledge_store,
                flag=wanted,
            )
        return shelf.query(vector=vector, text=text, top_k=top_k, mode=mode, where=where)

    def replace(
        self,
        org_id: str,
        model: str,
        document: str,
        texts: list[str],
        vectors: Any,  # noqa: ANN401 - float32 [n, dim]
        metadata: list[dict[str, Any]],
    ) -> None:
        """Put a document's chunks in the place of those that it had on this shelf."""
        shelf = self.shelf(org_id, model, int(vectors.shape[1]))
        shelf.upsert(
            texts=texts,
            embeddings=vectors,
            ids=[f"{document}:{n}" for n in range(len(texts))],
            metadata=metadata,
            document=document,
        )

    def forget(self, org_id: str, model: str, document: str) -> int:
        """Remove a document's chunks; return how many there were."""
        return self.shelf(org_id, model).delete(where={DOCUMENT: document})

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for one in self._open.values():
                close = getattr(one, "close", None)
                if close is not None:
                    close()
            if isinstance(self._root, Store):
                self._root.close()
            self._open.clear()
            self._root = None
