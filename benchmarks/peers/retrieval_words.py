"""BM25 over the same rows: bm25s and SQLite's FTS5 beside ours."""

from __future__ import annotations

import sqlite3
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import Goal, Row, Table, named
from benchmarks.peers.retrieval_data import TOP

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.harness import Table as Tables
    from benchmarks.peers.retrieval_data import Data

ROUNDS, QUESTIONS, SLOW = 5, 200, 40


def of_a_document(data: Data, random: np.random.Generator, count: int) -> list[str]:
    """Four distinct words of a document taken at random."""
    asked = []
    for i in random.integers(0, len(data.texts), size=count):
        words = sorted(set(data.texts[int(i)].split()))
        asked.append(" ".join(random.choice(words, size=4, replace=False)))
    return asked


def by_zipf(data: Data, random: np.random.Generator, count: int) -> list[str]:
    """Four words drawn as the texts draw theirs."""
    chosen = random.choice(len(data.vocabulary), size=(count, 4), p=data.weights)
    return [" ".join(data.vocabulary[w] for w in row) for row in chosen]


def postings(data: Data, asked: list[str]) -> float:
    """Postings that an exhaustive search of ours reads, on the mean."""
    from dure._core import index

    wanted = [set(index.words(question)) for question in asked]
    counts = dict.fromkeys(set().union(*wanted), 0)
    for text in data.texts:
        for word in counts.keys() & set(index.words(text)):
            counts[word] += 1
    return statistics.fmean(sum(counts[word] for word in words) for words in wanted)


def fts5(data: Data) -> Callable[[str], Any]:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE d USING fts5(text, tokenize='unicode61')")
    database.executemany("INSERT INTO d (text) VALUES (?)", ((text,) for text in data.texts))

    def search(question: str) -> Any:  # noqa: ANN401
        return database.execute(
            f"SELECT rowid FROM d WHERE d MATCH ? ORDER BY rank LIMIT {TOP}",
            (" OR ".join(f'"{word}"' for word in question.split()),),
        ).fetchall()

    return search


def bm25s_search(data: Data) -> Callable[[str], Any]:
    import bm25s

    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index([text.split() for text in data.texts], show_progress=False)
    return lambda question: peer.retrieve([question.split()], k=TOP, show_progress=False)


def run(data: Data, col: Any) -> tuple[list[Tables], list[Goal]]:  # noqa: ANN401
    random = np.random.default_rng(3)
    slow = "SQLite FTS5 unicode61"
    peer = named("bm25s", "lucene")
    searches: dict[str, Callable[[str], Any]] = {
        "dure": lambda question: col.query(text=question, top_k=TOP, mode="bm25"),
        peer: bm25s_search(data),
        slow: fts5(data),
    }
    tables, goals = [], []
    for label, ask, times in (
        ("4 words of a document", of_a_document, 20.0),
        ("4 words by Zipf", by_zipf, 8.0),
    ):
        asked = ask(data, random, QUESTIONS)
        taken: dict[str, list[float]] = {name: [] for name in searches}
        for _ in range(ROUNDS):
            for name, search in searches.items():
                some = asked[:SLOW] if name == slow else asked
                start = time.perf_counter()
                for question in some:
                    search(question)
                taken[name].append((time.perf_counter() - start) / len(some) * 1e6)
        middle = {name: statistics.median(us) for name, us in taken.items()}
        table = Table(f"BM25 top {TOP}, {label}", "us a query", "ours reads the hits")
        for name, us in middle.items():
            row = Row(name, us, min(taken[name]), max(taken[name]), us, us / middle["dure"], None)
            table.rows.append(row)
        table.show()
        tables.append(table)
        goals.append(Goal(f"BM25, {label}: over bm25s", middle[peer] / middle["dure"], times))
        if ask is of_a_document:
            count = postings(data, asked)
            allowed = 1.5e-3 * count + 10
            name = f"BM25, {label}: {count:,.0f} postings"
            goals.append(Goal(name, middle["dure"], allowed, "us", at_most=True))
            goals.append(Goal("BM25: over FTS5", middle[slow] / middle["dure"], 100))
        else:
            goals.append(Goal(f"BM25, {label}", middle["dure"], 25, "us", at_most=True))
    return tables, goals
