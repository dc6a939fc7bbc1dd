"""The goals of search, each beside its peers and with its verdict; about five minutes in all.

Rows of 384 floats with a text of 930 bytes and metadata; one thread; engines in turn, the median of
five rounds; queries/s at a recall are interpolated between the two points around it, for peers too.
What is read of each hit stands in retrieval_engines. DURE_BENCH_ROWS makes the data smaller, for a
look.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import Goal, Row, Table, named, verdicts
from benchmarks.peers import retrieval_engines as engines
from benchmarks.peers import retrieval_store, retrieval_words
from benchmarks.peers.retrieval_data import BUCKETS, TOP, Curve, Data, make, rate_at, recall

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = int(os.environ.get("DURE_BENCH_ROWS", "50000"))
ROUNDS, FEW = 5, 60  # rounds; queries of the engines that take milliseconds
EFS = (48, 64, 96, 128, 192)


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    made = make()
    return made, time.perf_counter() - start


def curves(data: Data, searches: dict[str, Any], few: set[str]) -> dict[str, Curve]:
    """Run all engines in turn at each width; those of `few` with fewer queries."""
    found: dict[str, Curve] = {name: [] for name in searches}
    for ef in EFS:
        table = Table(f"top {TOP}, ef={ef}", "queries/s", "one thread, through Python; recall")
        taken: dict[str, list[float]] = {name: [] for name in searches}
        answers: dict[str, list[list[int]]] = {}
        for _ in range(ROUNDS):
            for name, at in searches.items():
                search = at(ef)
                queries = data.queries[:FEW] if name in few else data.queries
                start = time.perf_counter()
                answers[name] = [search(query) for query in queries]
                taken[name].append((time.perf_counter() - start) / len(queries))
        base = statistics.median(taken["dure"])
        for name, seconds in taken.items():
            middle = statistics.median(seconds)
            right = recall(answers[name], data.exact[: len(answers[name])])
            found[name].append((right, 1 / middle))
            label = f"{name} ({right:.3f})"
            low, high = 1 / max(seconds), 1 / min(seconds)
            table.rows.append(Row(label, middle, low, high, 1 / middle, middle / base, None))
        table.show()
    return found


def ratio(found: dict[str, Curve], peer: str, target: float, ours: str = "dure") -> float:
    """How many times faster we are at that recall, or at the best that the peer reaches."""
    theirs = found[peer]
    target = min(target, max(right for right, _ in theirs))
    return rate_at(found[ours], target) / rate_at(theirs, target)


def forced(folder: str, data: Data, where: Path) -> tuple[Curve, Curve]:
    """Our curve with AVX2 alone and with all instructions, each in a process of its own."""
    np.savez(where / "asked.npz", queries=data.queries, exact=data.exact)
    made = []
    for simd in ("avx2", ""):
        out = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers.retrieval_worker", "rates", folder,
             str(where / "asked.npz"), *map(str, EFS)],
            env={**os.environ, "DURE_SIMD": simd} if simd else dict(os.environ),
            check=True,
            capture_output=True,
            text=True,
        ).stdout  # fmt: skip
        made.append([(point[0], point[1]) for point in json.loads(out)])
    return made[0], made[1]


def filtered(data: Data, col: Any, chroma: Any) -> tuple[float, float, float]:  # noqa: ANN401
    """Microseconds of ours and of Chroma's for a filter of 1 %, another value each time; recall."""
    number = iter(range(10**9))

    def ours(query: Any) -> list[int]:  # noqa: ANN401
        where = {"n": {"$gte": (lo := next(number) * 37 % (COUNT - COUNT // 100)),
                       "$lt": lo + COUNT // 100}}  # fmt: skip
        return [int(hit.id[1:]) for hit in col.query(vector=query, top_k=TOP, where=where)]

    def exactly(at: int, query: Any) -> set[int]:  # noqa: ANN401
        lo = at * 37 % (COUNT - COUNT // 100)
        part = data.rows[lo : lo + COUNT // 100]
        return {lo + int(i) for i in np.argpartition(-(part @ query), TOP)[:TOP]}

    ours(data.queries[0])  # makes the column
    start = next(number) + 1
    begin = time.perf_counter()
    found = [ours(query) for query in data.queries]
    mine = (time.perf_counter() - begin) / len(found)
    right = sum(
        len(set(one) & exactly(start + at, query))
        for at, (one, query) in enumerate(zip(found, data.queries, strict=True))
    ) / (len(found) * TOP)
    bucket = iter(range(10**9))
    search = engines.chroma_search(chroma, lambda: {"bucket": next(bucket) * 7 % BUCKETS})
    begin = time.perf_counter()
    for query in data.queries[:FEW]:
        search(query)
    theirs = (time.perf_counter() - begin) / FEW
    return mine * 1e6, theirs * 1e6, right


def vectors(data: Data, folder: Path) -> tuple[list[Table], list[Goal], Any]:
    build = Table(f"build, {COUNT} rows", "seconds", "faiss HNSWFlat and ours: one thread")
    names = {
        "faiss": named("faiss-cpu", "HNSW32,Flat"),
        "sq8": named("faiss-cpu", "HNSW32_SQ8,RFlat"),
        "hnswlib": named("hnswlib"),
        "usearch": named("usearch", "bf16"),
        "chroma": named("chromadb"),
        "lance": named("lancedb", "IVF_HNSW_SQ"),
    }
    kb = str(folder / "kb")
    col, ingest = timed(lambda: engines.dure_ingest(data, kb))
    engines.settle(col, data.queries[0])
    flat = [(recall_and_rate(data, engines.dure_at(col)(ef))) for ef in EFS]
    _, sealing = timed(col.optimize)
    flatly, faiss_seconds = timed(lambda: engines.faiss_at(data, "HNSW32,Flat", 1))
    chroma, chroma_seconds = timed(lambda: engines.chroma_collection(data, folder / "chroma"))
    lance, lance_seconds = timed(lambda: engines.lance_at(data, folder / "lance"))
    for name, seconds in (
        ("dure: optimize() of all rows", sealing),
        ("dure: ingest before it", ingest),
        (names["faiss"], faiss_seconds),
        (names["chroma"], chroma_seconds),
        (names["lance"], lance_seconds),
    ):
        build.rows.append(Row(name, seconds, seconds, seconds, seconds, seconds / sealing, None))
    build.show()
    searches: dict[str, Any] = {
        "dure": engines.dure_at(col),
        "dure, hits read": engines.dure_at(col, read=True),
        names["faiss"]: flatly,
        names["sq8"]: engines.faiss_at(data, "HNSW32_SQ8,RFlat", 2),
        names["hnswlib"]: engines.hnswlib_at(data),
        names["usearch"]: engines.usearch_at(data),
        names["chroma"]: lambda _ef: engines.chroma_search(chroma),
        names["lance"]: lance,
    }
    found = curves(data, searches, {names["chroma"], names["lance"]})
    found["as ingested"] = flat
    avx2, widest = forced(kb, data, folder)
    narrow = rate_at(avx2, 0.99) / rate_at(widest, 0.99)
    mine, theirs, right = filtered(data, col, chroma)
    ours = rate_at(found["dure"], 0.99)
    over_chroma = ratio(found, names["chroma"], 0.99, "dure, hits read")
    over_lance = ratio(found, names["lance"], 0.99, "dure, hits read")
    goals = [
        Goal("recall .99: over faiss HNSWFlat", ratio(found, names["faiss"], 0.99), 3),
        Goal("the same, AVX2 forced", narrow * ratio(found, names["faiss"], 0.99), 2.5),
        Goal("recall .99: over faiss HNSW32_SQ8,RFlat", ratio(found, names["sq8"], 0.99), 2),
        Goal("recall .99: over hnswlib", ratio(found, names["hnswlib"], 0.99), 3),
        Goal("recall .99: over usearch bf16", ratio(found, names["usearch"], 0.99), 3.5),
        Goal("as ingested over optimized, recall .99", rate_at(flat, 0.99) / ours, 0.35),
        Goal(
            "hits read: over Chroma, at its recall",
            over_chroma,
            10,
        ),
        Goal(
            "hits read: over LanceDB, at its recall",
            over_lance,
            30,
        ),
        Goal("build: over faiss HNSWFlat", faiss_seconds / sealing, 2),
        Goal("filter of 1 %, new values: recall", right, 1, ""),
        Goal("filter of 1 %, new values: over Chroma", theirs / mine, 100),
        Goal("filter of 1 %, new values: time of zvec / 5 (24 us)", mine, 24, "us", at_most=True),
    ]
    return [build, *tables_of(found)], goals, col


def recall_and_rate(data: Data, search: Any) -> tuple[float, float]:  # noqa: ANN401
    start = time.perf_counter()
    found = [search(query) for query in data.queries]
    return recall(found, data.exact), len(found) / (time.perf_counter() - start)


def tables_of(found: dict[str, Curve]) -> list[Table]:
    """One table with queries/s at .99, or at the best recall where an engine stays below."""
    table = Table("queries/s at recall .99", "queries/s", "interpolated; or at the best recall")
    ours = rate_at(found["dure"], 0.99)
    for name, curve in found.items():
        target = min(0.99, max(right for right, _ in curve))
        rate = rate_at(curve, target)
        label = f"{name} ({target:.3f})"
        table.rows.append(Row(label, 1 / rate, rate, rate, rate, ours / rate, None))
    table.show()
    return [table]


def hybrid(data: Data, col: Any) -> list[Goal]:  # noqa: ANN401
    """Vector and text given, ten hits read."""
    random = np.random.default_rng(5)
    questions = retrieval_words.of_a_document(data, random, len(data.queries))
    taken = []
    for warm in range(2):
        for query, text in zip(data.queries, questions, strict=True):
            start = time.perf_counter()
            col.query(vector=query, text=text, top_k=TOP)
            if warm:
                taken.append((time.perf_counter() - start) * 1e3)
    taken.sort()
    return [
        Goal("hybrid, 10 hits read: p50", taken[len(taken) // 2], 0.2, "ms", at_most=True),
        Goal("hybrid, 10 hits read: p99", taken[len(taken) * 99 // 100], 0.4, "ms", at_most=True),
    ]


def run() -> list[Table]:
    data = make(COUNT)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tables, goals, col = vectors(data, folder)
        more, words = retrieval_words.run(data, col)
        goals += words + hybrid(data, col)
        col = None
        stored, kept = retrieval_store.run(data, folder)
        goals += kept
        tables += more + stored
    return [*tables, verdicts("the goals of search", goals)]
