"""Search engines under one call: a maker builds over the data, `at(ef)` gives a search.

Each search returns row numbers. faiss-cpu, hnswlib and usearch return numbers and scores, so does
"dure" (ids are strings); "dure, hits read", Chroma and LanceDB read id, score, text and metadata of
each hit within the timing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers.retrieval_data import DIM, TOP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.retrieval_data import Data

    Search = Callable[[Any], list[int]]
    At = Callable[[int], Search]


def dure_ingest(data: Data, folder: str) -> Any:  # noqa: ANN401 - a Collection
    import dure

    col = dure.Store.open(folder).collection("bench", dim=DIM)
    for start in range(0, len(data.rows), 1000):
        part = slice(start, start + 1000)
        col.upsert(
            embeddings=data.rows[part],
            ids=data.ids[part],
            texts=data.texts[part],
            metadata=data.metadata[part],
        )
    return col


def settle(col: Any, query: Any, patience: float = 120.0) -> None:  # noqa: ANN401
    """Wait until the background has sealed what it seals by itself."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if col.query(vector=query, explain=True).plan["flat_rows"] < 16_384:
            return
        time.sleep(0.2)


def dure_at(col: Any, *, read: bool = False) -> At:  # noqa: ANN401
    """`read`: text and metadata of each hit too."""
    include: list[str] | None = None if read else []

    def at(ef: int) -> Search:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            hits = col.query(vector=query, top_k=TOP, ef=ef, include=include)
            return [int(hit.id[1:]) for hit in hits]

        return search

    return at


def faiss_at(data: Data, kind: str, threads: int) -> At:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)  # owns what is borrowed
    graph = faiss.downcast_index(index.base_index if kind.endswith("RFlat") else index)
    graph.hnsw.efConstruction = 200
    index.train(data.rows)
    index.add(data.rows)
    faiss.omp_set_num_threads(1)
    if kind.endswith("RFlat"):
        index.k_factor = 2

    def at(ef: int) -> Search:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            graph.hnsw.efSearch = ef
            return list(map(int, index.search(query[None], TOP)[1][0]))

        return search

    return at


def hnswlib_at(data: Data) -> At:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(data.rows), ef_construction=200, M=32)
    index.set_num_threads(2)
    index.add_items(data.rows)
    index.set_num_threads(1)

    def at(ef: int) -> Search:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            index.set_ef(ef)
            return list(map(int, index.knn_query(query, k=TOP)[0][0]))

        return search

    return at


def usearch_at(data: Data) -> At:
    from usearch.index import Index

    index = Index(ndim=DIM, metric="ip", dtype="bf16", connectivity=32, expansion_add=200)
    index.add(np.arange(len(data.rows)), data.rows, threads=2)

    def at(ef: int) -> Search:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            index.expansion_search = ef
            return list(map(int, index.search(query, TOP, threads=1).keys))

        return search

    return at


def chroma_collection(data: Data, folder: Path) -> Any:  # noqa: ANN401
    import chromadb

    col = chromadb.PersistentClient(path=str(folder)).create_collection(
        "bench", embedding_function=None, metadata={"hnsw:space": "ip"}
    )
    for start in range(0, len(data.rows), 2000):
        part = slice(start, start + 2000)
        col.add(
            ids=data.ids[part],
            embeddings=data.rows[part],
            documents=data.texts[part],
            metadatas=data.metadata[part],
        )
    return col


def chroma_search(col: Any, where: Any = None) -> Search:  # noqa: ANN401
    def search(query: Any) -> list[int]:  # noqa: ANN401
        found = col.query(
            query_embeddings=[query],
            n_results=TOP,
            where=None if where is None else where(),
            include=["documents", "metadatas", "distances"],
        )
        return [int(id[1:]) for id in found["ids"][0]]

    return search


def lance_at(data: Data, folder: Path) -> At:
    import lancedb
    import pyarrow as pa

    table = lancedb.connect(str(folder)).create_table(
        "bench",
        pa.table(
            {
                "id": data.ids,
                "text": data.texts,
                "bucket": [one["bucket"] for one in data.metadata],
                "n": [one["n"] for one in data.metadata],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(data.rows.reshape(-1)), DIM),
            }
        ),
    )
    table.create_index(
        metric="dot", index_type="IVF_HNSW_SQ", num_partitions=1, m=32, ef_construction=200
    )

    def at(ef: int) -> Search:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            found = table.search(query).distance_type("dot").ef(ef).refine_factor(3).limit(TOP)
            return [int(row["id"][1:]) for row in found.to_list()]

        return search

    return at
