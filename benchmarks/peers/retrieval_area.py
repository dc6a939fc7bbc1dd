"""Vector search beside faiss-cpu and hnswlib (recall against exact truth), words beside bm25s."""

from __future__ import annotations

import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.corpora import corpus
from benchmarks.harness import Contender, Row, Table, named, side_by_side
from benchmarks.vectors import embedding_like

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.vectors import Array

COUNT, DIM, TOP, ROUNDS, QUERIES = 50_000, 384, 10, 5, 500


def truth(rows: Array, queries: Array) -> Any:  # noqa: ANN401
    return np.argpartition(-(queries @ rows.T), TOP, axis=1)[:, :TOP]


def recall(found: list[list[int]], exact: Any) -> float:  # noqa: ANN401
    hits = sum(
        len(set(mine) & set(map(int, best))) for mine, best in zip(found, exact, strict=True)
    )
    return hits / (len(found) * TOP)


def dure_search(rows: Array, folder: str) -> Callable[[int], Callable[[Any], list[int]]]:
    import dure

    store = dure.Store.open(folder)
    collection = store.collection("bench", dim=DIM)
    for start in range(0, len(rows), 5000):
        part = rows[start : start + 5000]
        ids = [str(start + i) for i in range(len(part))]
        collection.upsert(embeddings=part, ids=ids, texts=[""] * len(part))
    collection.optimize()

    def at(ef: int) -> Callable[[Any], list[int]]:
        return lambda query: [
            int(hit.id) for hit in collection.query(vector=query, top_k=TOP, ef=ef, include=[])
        ]

    return at


def faiss_search(rows: Array) -> Callable[[int], Callable[[Any], list[int]]]:
    import faiss

    faiss.omp_set_num_threads(2)
    index = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(rows)
    faiss.omp_set_num_threads(1)

    def at(ef: int) -> Callable[[Any], list[int]]:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            index.hnsw.efSearch = ef
            return list(map(int, index.search(query[None], TOP)[1][0]))

        return search

    return at


def hnswlib_search(rows: Array) -> Callable[[int], Callable[[Any], list[int]]]:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(rows), ef_construction=200, M=32)
    index.set_num_threads(2)
    index.add_items(rows)
    index.set_num_threads(1)

    def at(ef: int) -> Callable[[Any], list[int]]:
        def search(query: Any) -> list[int]:  # noqa: ANN401
            index.set_ef(ef)
            return list(map(int, index.knn_query(query, k=TOP)[0][0]))

        return search

    return at


def vectors() -> list[Table]:
    rows, queries = embedding_like(COUNT, DIM, seed=1, queries=QUERIES)
    exact = truth(rows, queries)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        engines: dict[str, Any] = {}
        build = Table(
            f"build, {COUNT} x {DIM}", "seconds", "less is better; dure: durable ingest too"
        )
        makers: dict[str, Callable[[], Any]] = {
            "dure": lambda: dure_search(rows, folder),
            named("faiss-cpu", "HNSW32,Flat"): lambda: faiss_search(rows),
            named("hnswlib"): lambda: hnswlib_search(rows),
        }
        for label, make in makers.items():
            start = time.perf_counter()
            engines[label] = make()
            seconds = time.perf_counter() - start
            base = build.rows[0].median if build.rows else seconds
            build.rows.append(Row(label, seconds, seconds, seconds, seconds, seconds / base, None))
        build.show()
        tables.append(build)
        for ef in (32, 64, 128):
            table = Table(
                f"top {TOP}, ef={ef}, one thread, through Python", "queries/s", "recall below"
            )
            times: dict[str, list[float]] = {label: [] for label in engines}
            recalls: dict[str, float] = {}
            searches = {label: at(ef) for label, at in engines.items()}
            for _ in range(ROUNDS):
                for label, search in searches.items():
                    start = time.perf_counter()
                    found = [search(query) for query in queries]
                    times[label].append(time.perf_counter() - start)
                    recalls[label] = recall(found, exact)
            base = statistics.median(times["dure"])
            for label, taken in times.items():
                middle = statistics.median(taken)
                table.rows.append(
                    Row(
                        f"{label} (recall {recalls[label]:.3f})",
                        middle,
                        QUERIES / max(taken),
                        QUERIES / min(taken),
                        QUERIES / middle,
                        middle / base,
                        None,
                    )
                )
            table.show()
            tables.append(table)
    return tables


def words() -> list[Table]:
    import bm25s
    import dure

    text = corpus("english", 8.0)
    documents = [text[i : i + 900] for i in range(0, len(text), 900)]
    random = np.random.default_rng(3)
    questions = [
        " ".join(random.choice(documents[int(i)].split() or ["the"], size=4))
        for i in random.integers(0, len(documents), size=200)
    ]
    with tempfile.TemporaryDirectory() as folder:
        collection = dure.Store.open(folder).collection("words", dim=8)
        ones = np.ones((len(documents), 8), dtype=np.float32)
        ids = [str(i) for i in range(len(documents))]
        for start in range(0, len(documents), 2000):
            part = slice(start, start + 2000)
            collection.upsert(embeddings=ones[part], ids=ids[part], texts=documents[part])
        peer = bm25s.BM25(method="lucene")
        peer.index(bm25s.tokenize(documents, show_progress=False), show_progress=False)

        def ours(asked: Any) -> Any:  # noqa: ANN401
            return [
                collection.query(text=question, top_k=TOP, mode="bm25", include=[])
                for question in asked
            ]

        def theirs(asked: Any) -> Any:  # noqa: ANN401
            return [
                peer.retrieve(
                    bm25s.tokenize(question, show_progress=False), k=TOP, show_progress=False
                )
                for question in asked
            ]

        rows = [Contender("dure", ours, None), Contender(named("bm25s", "lucene"), theirs, None)]
        return [
            side_by_side(
                f"BM25 top {TOP}, 4 words of a document, {len(documents)} documents",
                rows,
                fresh=lambda: list(questions),
                work=len(questions),
                unit="queries/s",
                note="tokenising the question included; tokenizers differ: hits not compared",
            )
        ]


def run() -> list[Table]:
    return vectors() + words()
