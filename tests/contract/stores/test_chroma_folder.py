"""A folder that the real chromadb wrote comes over whole, and stays as it was."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dure
import numpy as np
import pytest
from dure import errors

chromadb = pytest.importorskip("chromadb", reason="scripts/stores brings it")

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
# Chroma keeps one system a folder and process: what writes is a process of its own.
WRITE = """
import sys, chromadb, numpy
client = chromadb.PersistentClient(path=sys.argv[1])
docs = client.create_collection("docs", embedding_function=None, metadata={"hnsw:space": "l2"})
client.create_collection("other", embedding_function=None)
vectors = numpy.load(sys.argv[2])
count = len(vectors)
for begin in range(0, count, 400):
    some = range(begin, min(count, begin + 400))
    docs.add(ids=[f"r{i}" for i in some], embeddings=vectors[list(some)],
             documents=[f"글 {i}" for i in some],
             metadatas=[{"n": i, "x": i / 3, "b": i % 2 == 0, "s": "ko"} for i in some])
docs.upsert(ids=["r3"], embeddings=[vectors[5]], documents=["neu"], metadatas=[{"l": ["a", "b"]}])
docs.update(ids=["r7"], metadatas=[{"n": -7}])
docs.delete(ids=["r4"])
"""


def written(folder: Path, count: int) -> tuple[Path, np.ndarray[Any, Any]]:
    vectors = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    target = folder / "chroma"
    subprocess.run(
        [sys.executable, "-c", WRITE, str(target), str(folder / "vectors.npy")], check=True
    )
    return target, vectors


def digest(folder: Path) -> dict[str, str]:
    return {
        str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.rglob("*")
        if one.is_file() and not one.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize("count", [300, 2600])  # all in the log; most in the index alone
def test_it_comes_over(tmp_path: Path, count: int) -> None:
    folder, vectors = written(tmp_path, count)
    before = digest(folder)
    with dure.Store.open(tmp_path / "kb") as store:
        col = store.collection("docs", metric="l2")
        assert col.load(folder, format="chroma") == count - 1
        assert digest(folder) == before
        rows = {row.id: row for row in _all(col)}
        assert set(rows) == {f"r{i}" for i in range(count)} - {"r4"}
        for i in range(count):
            if i in (3, 4, 7):
                continue
            row = rows[f"r{i}"]
            assert row.vector is not None
            assert np.array_equal(row.vector, vectors[i])
            assert row.text == f"글 {i}"
            x = pytest.approx(i / 3, rel=1e-12)  # Chroma writes them so
            assert row.metadata == {"n": i, "x": x, "b": i % 2 == 0, "s": "ko"}
        changed = rows["r3"]
        assert changed.vector is not None
        assert np.array_equal(changed.vector, vectors[5])
        assert (changed.text, changed.metadata["l"]) == ("neu", ["a", "b"])
        assert rows["r7"].metadata["n"] == -7
        assert [hit.id for hit in col.query(vectors[10], top_k=1)] == ["r10"]
        assert col.load(folder, format="chroma") == count - 1  # again: nothing new
        assert col.count() == count - 1


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, 10)
    with dure.Store.open(tmp_path / "kb") as store:
        col = store.collection("mine", dim=8)
        with pytest.raises(errors.NotFoundError, match="'docs', 'other'"):
            col.load(folder, format="chroma")
        assert col.load(folder, format="chroma", source="docs") == 9
        assert col.load(folder, format="chroma", source="other") == 0
        with pytest.raises(errors.NotFoundError, match=r"chroma\.sqlite3"):
            col.load(tmp_path, format="chroma")
        (tmp_path / "chroma.sqlite3").write_bytes(b"no database" * 100)
        with pytest.raises(errors.FileRefusedError):
            col.load(tmp_path, format="chroma")


def test_without_chromadb_vectors_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = written(tmp_path, 2600)
    monkeypatch.setitem(sys.modules, "chromadb", None)
    embedder = dure.local.HashEmbedder(8)
    with dure.Store.open(tmp_path / "kb") as store:
        col = store.collection("docs", embedder=embedder)
        assert col.load(folder, format="chroma") == 2599
        row = col.get(["r1"], include=["vector"])[0]
        assert row.vector is not None
        assert np.allclose(row.vector, embedder.embed_query("글 1"))


def _all(col: dure.retrieval.Collection) -> list[dure.retrieval.Row]:
    rows: list[dure.retrieval.Row] = []
    after = None
    while True:
        page = col.scroll(after=after, include=["vector"])
        rows += page.rows
        after = page.next
        if after is None:
            return rows
