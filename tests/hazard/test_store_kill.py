"""kill -9 in the middle of writing: nothing acknowledged is lost, the store opens sound."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from dure import retrieval

WRITER = Path(__file__).with_name("store_writer.py")
KILLS = int(os.environ.get("DURE_KILLS", "60"))
SECONDS = 0.2  # of writing, at most, before a kill

_spec = spec_from_file_location("store_writer", WRITER)
assert _spec is not None
assert _spec.loader is not None
store_writer = module_from_spec(_spec)
_spec.loader.exec_module(store_writer)


class Truth:
    """What must be there, what may be, and what must not."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.unsure: set[str] = set()

    def read(self, line: str) -> None:
        word, *names = line.split()
        if word == "wrote":
            self.present |= set(names)
        elif word == "deleting":
            self.unsure |= set(names)
            self.present -= set(names)
        elif word == "deleted":
            self.unsure -= set(names)


def write_and_kill(folder: Path, seeds: list[int], seconds: float) -> list[str]:
    """Run one writer per seed, kill all after a while; return whole lines they said."""
    children = [
        subprocess.Popen(
            [sys.executable, str(WRITER), str(folder), str(seed), f"w{n}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n, seed in enumerate(seeds)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n", "the store must open after a kill"
    time.sleep(seconds)
    lines: list[str] = []
    for child in children:
        child.kill()
        said, _ = child.communicate()
        lines += [line for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return lines


def check(folder: Path, truth: Truth) -> int:
    """Compare the store with the truth; return how many unacknowledged rows came through."""
    with store_writer.open_store(str(folder)) as store:
        col = store.collection("docs", dim=store_writer.DIM)
        rows: dict[str, retrieval.Row] = {}
        page = col.scroll(include=["vector"])
        while True:
            for row in page.rows:
                assert row.id not in rows, "an id twice"
                rows[row.id] = row
            if page.next is None:
                break
            page = col.scroll(after=page.next, include=["vector"])
        lost = truth.present - rows.keys()
        assert not lost, f"acknowledged and lost: {sorted(lost)[:5]}"
        assert col.count() == len(rows)
        extra = rows.keys() - truth.present
        for row in rows.values():
            assert row.text == row.id
            assert row.vector is not None
            assert (row.vector == store_writer.vector_of(row.id)).all()
        # The index in memory agrees with the rows: each vector finds itself.
        for name in list(rows)[:: max(1, len(rows) // 20)]:
            best = col.query(store_writer.vector_of(name), top_k=3, ef=3000)
            assert best[0].score == pytest.approx(1.0, abs=1e-4)
            assert {hit.id for hit in best} <= rows.keys()
            assert col.query(name, mode="bm25", top_k=1)
        truth.present = set(rows)
        truth.unsure = set()
        return len(extra)


@pytest.mark.timeout(300)
def test_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    rng = random.Random(20260101)
    truth = Truth()
    for kill in range(KILLS):
        writers = 2 if kill % 5 == 4 else 1  # now and then two processes at once
        seeds = [1000 * kill + n for n in range(writers)]
        for line in write_and_kill(folder, seeds, rng.random() * SECONDS):
            truth.read(line)
        if kill % 4 == 3 or kill == KILLS - 1:  # other kills meet a recovery that was killed too
            check(folder, truth)
    assert truth.present, "the writers must have written"
    # Read by SQLite itself, in a process of its own: two libraries in one break its locks.
    out = subprocess.check_output(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
            "print(db.execute('PRAGMA integrity_check').fetchone()[0])",
            str(folder / "store.db"),
        ],
        text=True,
    )
    assert out.strip() == "ok", sqlite3.sqlite_version


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    truth = Truth()
    with store_writer.open_store(str(folder)) as store:
        col = store.collection("docs", dim=store_writer.DIM)
        col.upsert(ids=["here"], embeddings=[store_writer.vector_of("here")], texts=["here"])
        truth.present.add("here")
        for line in write_and_kill(folder, [1, 2, 3], 1.5):
            truth.read(line)
        found = {row.id for row in col.scroll(limit=1_000_000).rows}  # this process sees theirs
        assert truth.present <= found
        assert col.count() == len(found)
        some = sorted(truth.present)[:: max(1, len(truth.present) // 50)]
        for name in some:
            # A wide search: the question is whether a row is lost, not this tiny graph's recall.
            best = col.query(store_writer.vector_of(name), top_k=1, ef=3000)[0]
            assert best.score > 1 - 1e-4
    check(folder, truth)


def test_no_room_on_the_disk(tmp_path: Path) -> None:
    """A limit on file size stands for a full disk: typed, rolled back, reads go on."""
    code = f"""
import resource, signal, sys
import numpy as np
sys.path.insert(0, {str(WRITER.parent)!r})
import store_writer
from dure import errors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = store_writer.open_store({str(tmp_path / "kb")!r})
col = store.collection("docs", dim=16)
col.upsert(ids=["a"], embeddings=[store_writer.vector_of("a")], texts=["a"])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
kept = 1
try:
    for step in range(1000):
        names = [f"{{step}}-{{i}}" for i in range(50)]
        col.upsert(ids=names, embeddings=np.stack([store_writer.vector_of(n) for n in names]),
                   texts=["x" * 500] * 50)
        kept += 50
except errors.StorageError as refused:
    assert "disk" in str(refused), refused
else:
    raise SystemExit("the limit was never met")
assert col.count() == kept, (col.count(), kept)
assert col.query(store_writer.vector_of("a"), top_k=1)[0].id == "a"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
col.upsert(ids=["after"], embeddings=[store_writer.vector_of("after")], texts=["after"])
assert col.count() == kept + 1
store.close()
print(kept + 1)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    with store_writer.open_store(str(tmp_path / "kb")) as store:
        assert store.collection("docs", dim=16).count() == int(out.stdout)


@pytest.mark.forks_busy
def test_fork_and_exit(tmp_path: Path) -> None:
    """A forked child reopens; a process that never closes ends without a crash or a hang."""
    code = f"""
import os, sys, threading
sys.path.insert(0, {str(WRITER.parent)!r})
import numpy as np, store_writer
store = store_writer.open_store({str(tmp_path / "kb")!r})
col = store.collection("docs", dim=16)
names = [str(i) for i in range(600)]
col.upsert(ids=names, embeddings=np.stack([store_writer.vector_of(n) for n in names]))
child = os.fork()
if child == 0:
    assert col.count() == 600
    col.upsert(ids=["child"], embeddings=[store_writer.vector_of("child")])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert col.count() == 601
threading.Thread(target=lambda: [col.query(store_writer.vector_of("1")) for _ in range(10**6)],
                 daemon=True).start()
col.upsert(ids=["late"], embeddings=[store_writer.vector_of("late")])
"""
    for _ in range(5):
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
        for file in (tmp_path / "kb").iterdir():
            file.unlink()


@pytest.mark.parametrize("simd", ["scalar", "avx2", "avx512", "vnni"])
def test_each_instruction_set_gives_the_same_answer(tmp_path: Path, simd: str) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(WRITER.parent)!r})
import numpy as np, store_writer
from dure._core import index
store = store_writer.open_store({str(tmp_path / "kb")!r})
col = store.collection("docs", dim=37)
rng = np.random.default_rng(5)
vectors = rng.normal(size=(1500, 37)).astype(np.float32)
col.upsert(ids=[f"{{i:04d}}" for i in range(1500)], embeddings=vectors)
flat = [[h.id for h in hits] for hits in col.query_batch(vectors[:50] + 0.1, top_k=5)]
col.optimize()
graph = [[h.id for h in hits] for hits in col.query_batch(vectors[:50] + 0.1, top_k=5, ef=1500)]
assert flat == graph
truth = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
exact = np.argsort(-((vectors[:50] + 0.1) @ truth.T), axis=1)[:, :5]
assert flat == [[f"{{i:04d}}" for i in row] for row in exact]
print(index.simd())
"""
    env = {**os.environ, "DURE_SIMD": simd}
    out = subprocess.check_output([sys.executable, "-c", code], env=env, text=True)
    flags = Path("/proc/cpuinfo").read_text()
    needs = {"scalar": "fpu", "avx2": "avx2", "avx512": "avx512bw", "vnni": "avx512_vnni"}
    if needs[simd] in flags:
        assert out.strip() == simd


def test_truth_reads_what_the_writer_says() -> None:
    truth = Truth()
    for line in ("wrote a b\n", "deleting a\n"):
        truth.read(line)
    assert (truth.present, truth.unsure) == ({"b"}, {"a"})
    assert np.isfinite(store_writer.vector_of("a")).all()
