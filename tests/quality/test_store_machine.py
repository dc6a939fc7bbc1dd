"""The store against a dict and numpy: any order of changes, seals and restarts."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from dure import retrieval
from dure._core import index as core
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

DIM = 8
SEAL = {"part_rows": 64, "seal_rows": 256, "m": 8, "ef_construction": 40, "background": 1}
EXAMPLES = int(os.environ.get("DURE_EXAMPLES", "12"))
NAMES = st.lists(st.integers(0, 400).map(str), min_size=1, max_size=60, unique=True)
TENANTS = st.sampled_from(["", "a"])


class Model:
    """A hash embedder under a name of its own."""

    def __init__(self, name: str, dim: int) -> None:
        self.model_id = name
        self.dim = dim
        self._inner = core.HashEmbedder(dim, len(name))
        self.embed_documents = self._inner.embed_documents
        self.embed_query = self._inner.embed_query


class StoreMachine(RuleBasedStateMachine):
    """Two tenants are two oracles."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="dure-machine-")
        self.oracle: dict[str, dict[str, tuple[np.ndarray, dict[str, int]]]] = {"": {}, "a": {}}
        self.rng = np.random.default_rng(0)
        self.open()

    def open(self) -> None:
        self.store = retrieval.Store(core.Store.open(self.folder, "normal", False, SEAL))
        self.cols = {t: self.store.collection("c", dim=DIM, tenant=t) for t in ("", "a")}

    @rule(tenant=TENANTS, names=NAMES, n=st.integers(0, 5))
    def upsert(self, tenant: str, names: list[str], n: int) -> None:
        vectors = self.rng.normal(size=(len(names), DIM)).astype(np.float32)
        self.cols[tenant].upsert(ids=names, embeddings=vectors, metadata={"n": n})
        for name, vector in zip(names, vectors, strict=True):
            self.oracle[tenant][name] = (vector / np.linalg.norm(vector), {"n": n})

    @rule(tenant=TENANTS, count=st.integers(200, 500))
    def bulk(self, tenant: str, count: int) -> None:
        self.upsert(tenant, [f"b{i}" for i in range(count)], count % 6)

    @rule(tenant=TENANTS, names=NAMES)
    def delete(self, tenant: str, names: list[str]) -> None:
        there = self.oracle[tenant].keys() & set(names)
        assert self.cols[tenant].delete(ids=names) == len(there)
        for name in there:
            del self.oracle[tenant][name]

    @rule(tenant=TENANTS, n=st.integers(0, 5))
    def delete_where(self, tenant: str, n: int) -> None:
        rows = self.oracle[tenant]
        there = [name for name, (_, meta) in rows.items() if meta["n"] == n]
        assert self.cols[tenant].delete(where={"n": n}) == len(there)
        for name in there:
            del rows[name]

    @rule(tenant=TENANTS, names=NAMES, n=st.integers(0, 5))
    def update(self, tenant: str, names: list[str], n: int) -> None:
        there = [name for name in names if name in self.oracle[tenant]]
        if there:
            self.cols[tenant].update(ids=there, metadata=[{"n": n}] * len(there))
        for name in there:
            self.oracle[tenant][name] = (self.oracle[tenant][name][0], {"n": n})

    @rule(tenant=TENANTS)
    def optimize(self, tenant: str) -> None:
        self.cols[tenant].optimize()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule()
    def crash(self) -> None:
        """Go on with the files as they are now: what the death of the process leaves."""
        if not hasattr(self, "store"):
            return
        left = Path(tempfile.mkdtemp(prefix="dure-machine-"))
        with (Path(self.folder) / "index.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who seals in the background waits
            for file in Path(self.folder).iterdir():
                if file.name != "store.db-shm":
                    shutil.copy(file, left / file.name)
        self.store.close()
        shutil.rmtree(self.folder)
        self.folder = str(left)
        self.open()

    @rule(tenant=TENANTS, dim=st.sampled_from([8, 12]), name=st.sampled_from(["m1", "m2"]))
    def reembed(self, tenant: str, dim: int, name: str) -> None:
        """A collection of texts beside the others changes its model."""
        model = Model(name, dim)
        col = self.store.collection("texts", tenant=tenant)
        if col.model is None:
            col = self.store.collection("texts", tenant=tenant, embedder=model)
            col.upsert(ids=["x", "y", "z"], texts=["salt", "iron", "salt"])
        col.reembed(model)
        for text in ("salt", "iron"):
            best = col.query(text, mode="vector", top_k=1)[0]
            assert best.text == text
            assert abs(best.score - 1) < 1e-5
        assert (col.model, col.dim, col.count()) == (name, dim, 3)

    @rule(tenant=TENANTS, k=st.integers(1, 20), n=st.none() | st.integers(0, 5))
    def query(self, tenant: str, k: int, n: int | None) -> None:
        question = self.rng.normal(size=DIM).astype(np.float32)
        rows = {
            name: float(vector @ question) / float(np.linalg.norm(question))
            for name, (vector, meta) in self.oracle[tenant].items()
            if n is None or meta["n"] == n
        }
        best = sorted(rows.values(), reverse=True)[:k]
        where = None if n is None else {"n": n}
        hits = self.cols[tenant].query(question, top_k=k, where=where, ef=500, explain=True)
        assert len(hits) == len(best)
        assert len({hit.id for hit in hits}) == len(hits)
        for hit in hits:
            assert abs(hit.score - rows[hit.id]) < 1e-4
        found = sum(hit.score >= best[-1] - 1e-4 for hit in hits)
        assert found >= 0.95 * len(best) - 1e-9
        if isinstance(hits, retrieval.Hits) and hits.plan and "graph" not in hits.plan["vector"]:
            assert found == len(best)

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "cols"):
            return
        for tenant, rows in self.oracle.items():
            assert self.cols[tenant].count() == len(rows)
            ids = [row.id for row in self.cols[tenant].scroll(limit=10_000).rows]
            assert ids == sorted(rows)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
