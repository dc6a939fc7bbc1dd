"""Four processes write, read, delete and optimize one folder at once, for two tenants."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dure import retrieval
from dure._core import index as core

PROCESSES = 4
ROUNDS = max(25, int(os.environ.get("DURE_KILLS", "0")))
TENANTS = ("a", "b")
DIM = 16
SEAL = {"part_rows": 64, "seal_rows": 256, "m": 8, "ef_construction": 40}


def opened(folder: str) -> retrieval.Store:
    return retrieval.Store(core.Store.open(folder, "normal", False, SEAL))


def vector_of(tenant: str, name: str) -> np.ndarray:
    return core.HashEmbedder(DIM).embed_query(f"{tenant} {name}")


def put(col: retrieval.Collection, tenant: str, names: list[str], n: int) -> None:
    col.upsert(
        ids=names,
        embeddings=np.stack([vector_of(tenant, name) for name in names]),
        texts=[f"{tenant} {name} {n}" for name in names],
        metadata=[{"n": n, "tenant": tenant}] * len(names),
    )


def look(col: retrieval.Collection, tenant: str, mine: dict[str, int], rng: random.Random) -> None:
    """What this process wrote is there at once; nothing of the other tenant ever is."""
    for name in rng.sample(sorted(mine), min(3, len(mine))):
        row = col.get([name])[0]
        assert row.metadata == {"n": mine[name], "tenant": tenant}
        assert row.text == f"{tenant} {name} {mine[name]}"
        hits = col.query(vector_of(tenant, name), top_k=2, ef=3000, where={"tenant": tenant})
        assert hits[0].score > 1 - 1e-4, (name, hits)
    for hit in col.query(vector_of(tenant, "x"), top_k=20):
        assert hit.metadata["tenant"] == tenant
    assert col.count(where={"tenant": {"$ne": tenant}}) == 0


def work(folder: str, me: str) -> None:
    """Write rows of names that no other process uses; say at the end what must be there."""
    rng = random.Random(me)
    with opened(folder) as store:
        cols = {t: store.collection("docs", dim=DIM, tenant=t) for t in TENANTS}
        mine: dict[str, dict[str, int]] = {t: {} for t in TENANTS}
        for n in range(ROUNDS):
            tenant = rng.choice(TENANTS)
            col, rows = cols[tenant], mine[tenant]
            chance = rng.random()
            if chance < 0.6 or not rows:
                names = sorted({f"{me}-{rng.randrange(400)}" for _ in range(40)})
                put(col, tenant, names, n)
                rows.update(dict.fromkeys(names, n))
            elif chance < 0.75:
                gone = rng.sample(sorted(rows), min(20, len(rows)))
                assert col.delete(ids=gone) == len(gone)
                for name in gone:
                    del rows[name]
            elif chance < 0.85:
                some = rng.sample(sorted(rows), min(10, len(rows)))
                put(col, tenant, some, n)
                rows.update(dict.fromkeys(some, n))
            elif chance < 0.93:
                col.optimize()
            look(col, tenant, rows, rng)
    for tenant, rows in mine.items():
        for name, n in sorted(rows.items()):
            sys.stdout.write(f"{tenant} {name} {n}\n")


@pytest.mark.timeout(300)
def test_four_processes_write_and_read(tmp_path: Path) -> None:
    folder = str(tmp_path / "kb")
    children = [
        subprocess.Popen(
            [sys.executable, __file__, folder, f"p{i}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(PROCESSES)
    ]
    expected: dict[str, dict[str, int]] = {t: {} for t in TENANTS}
    for child in children:
        said, wrong = child.communicate()
        assert child.returncode == 0, wrong
        for line in said.splitlines():
            tenant, name, n = line.split()
            expected[tenant][name] = int(n)
    with opened(folder) as store:
        for tenant, rows in expected.items():
            col = store.collection("docs", tenant=tenant)
            found = {row.id: row.metadata["n"] for row in col.scroll(limit=100_000).rows}
            assert found == rows
            assert col.count() == len(rows)
            col.optimize()
            look(col, tenant, rows, random.Random(0))
        assert store.verify().ok
    assert len(list(Path(folder).glob("seg-*.dure"))) <= 6 * len(TENANTS)


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2])
