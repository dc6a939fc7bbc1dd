"""The store itself: durable ingest beside a raw SQLite loop, single commits, opening again."""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import Goal, Row, Table
from benchmarks.peers.retrieval_data import DIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.peers.retrieval_data import Data

BATCH, SINGLES, ROUNDS = 1000, 300, 3
TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE vec (id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL,
  gen INTEGER NOT NULL, hash BLOB, data BLOB NOT NULL);
CREATE UNIQUE INDEX vec_hash ON vec (collection, gen, hash) WHERE hash IS NOT NULL;
CREATE TABLE chunk (id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, doc INTEGER,
  ext_id TEXT NOT NULL, text TEXT, meta TEXT NOT NULL, vec INTEGER NOT NULL,
  del INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL);
CREATE UNIQUE INDEX chunk_live ON chunk (collection, ext_id) WHERE del = 0;
CREATE INDEX chunk_seq ON chunk (collection, seq);
"""


def raw(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(TABLES)
    return database


def raw_commit(database: sqlite3.Connection, data: Data, rows: range, prefix: str) -> None:
    database.execute("BEGIN IMMEDIATE")
    for i in rows:
        vector = database.execute(
            "INSERT INTO vec (collection, gen, hash, data) VALUES (1, 0, ?, ?)",
            (os.urandom(32), data.rows[i].tobytes()),
        ).lastrowid
        database.execute(
            "INSERT INTO chunk (collection, ext_id, text, meta, vec, seq) "
            "VALUES (1, ?, ?, ?, ?, ?)",
            (prefix + data.ids[i], data.texts[i], json.dumps(data.metadata[i]), vector, rows.start),
        )
    database.execute("COMMIT")


def our_commit(col: Any, data: Data, rows: range, prefix: str) -> None:  # noqa: ANN401
    part = slice(rows.start, rows.stop)
    col.upsert(
        embeddings=data.rows[part],
        ids=[prefix + id for id in data.ids[part]],
        texts=data.texts[part],
        metadata=data.metadata[part],
    )


def ingest(data: Data, folder: Path) -> tuple[Table, list[Goal]]:
    import dure

    count = min(len(data.rows), 15_000)  # less than is sealed by itself: the path of writing alone
    speeds: dict[str, list[float]] = {"dure": [], "raw SQLite loop": []}
    singles: dict[str, list[float]] = {"dure": [], "raw SQLite loop": []}
    for round in range(ROUNDS):
        database = raw(folder / f"raw{round}.db")
        store = dure.Store.open(folder / f"ingest{round}")
        col = store.collection("bench", dim=DIM)
        commits: dict[str, Callable[[range, str], None]] = {
            "dure": functools.partial(our_commit, col, data),
            "raw SQLite loop": functools.partial(raw_commit, database, data),
        }
        spent = dict.fromkeys(commits, 0.0)
        for begin in range(0, count, BATCH):
            for name, commit in commits.items():
                start = time.perf_counter()
                commit(range(begin, min(begin + BATCH, count)), "")
                spent[name] += time.perf_counter() - start
        for i in range(SINGLES // ROUNDS):
            for name, commit in commits.items():
                start = time.perf_counter()
                commit(range(i, i + 1), "single ")
                singles[name].append((time.perf_counter() - start) * 1e6)
        for name, seconds in spent.items():
            speeds[name].append(count / seconds)
        store.close()
        database.close()
    table = Table("durable ingest, vectors given, 1,000 rows a commit", "rows/s", "FULL")
    rate = {name: statistics.median(rates) for name, rates in speeds.items()}
    one = {name: statistics.median(us) for name, us in singles.items()}
    for name, rates in speeds.items():
        table.rows.append(
            Row(f"{name}; one row a commit: {one[name]:.0f} us", 1 / rate[name], min(rates),
                max(rates), rate[name], rate["dure"] / rate[name], None)
        )  # fmt: skip
    table.show()
    base = one["raw SQLite loop"]
    return table, [
        Goal("durable ingest over a raw SQLite loop", rate["dure"] / rate["raw SQLite loop"], 0.5),
        Goal("single commit, p50", one["dure"], base + 60 + 0.3 * base, "us", at_most=True),
    ]


def forget(folder: Path) -> None:
    """Drop the files of a folder from the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def opened(folder: Path, query: Path, *, cold: bool) -> float:
    taken = []
    for _ in range(ROUNDS):
        if cold:
            forget(folder)
        out = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers.retrieval_worker", "open", str(folder),
             str(query)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout  # fmt: skip
        taken.append(float(json.loads(out)["seconds"]))
    return statistics.median(taken)


def reopen(data: Data, folder: Path) -> tuple[Table, list[Goal]]:
    import dure

    query = folder / "query.npy"
    np.save(query, data.queries[0])
    bare = folder / "bare"
    bare.mkdir()
    with dure.Store.open(folder / "kb", read_only=True) as store:
        store.backup(bare / "store.db")
    table = Table(f"open {len(data.rows)} rows, a new process", "seconds", "to the first ten hits")
    goals = []
    for label, where, most in (("with snapshot", folder / "kb", 0.3), ("without", bare, 1.0)):
        for cold in (False, True):
            seconds = opened(where, query, cold=cold)
            name = f"open {label}, page cache {'dropped' if cold else 'warm'}"
            table.rows.append(Row(name, seconds, seconds, seconds, seconds, 1, None))
            goals.append(Goal(name, seconds, most, "s", at_most=True))
    table.show()
    return table, goals


def run(data: Data, folder: Path) -> tuple[list[Table], list[Goal]]:
    opening, open_goals = reopen(data, folder)
    writing, write_goals = ingest(data, folder)
    return [opening, writing], write_goals + open_goals
