"""A child that writes to a store for ever and says on stdout what was acknowledged.

Run by test_store_kill.py, which kills it. Arguments: folder, seed, name of this writer.
"""

from __future__ import annotations

import random
import sys

import numpy as np
from dure import retrieval
from dure._core import index as core

DIM = 16
SEAL = {"part_rows": 64, "seal_rows": 256, "m": 8, "ef_construction": 40}


def open_store(folder: str) -> retrieval.Store:
    """A store that seals early, so that kills meet seals, merges and rebuilds too."""
    return retrieval.Store(core.Store.open(folder, "full", False, SEAL))


def vector_of(name: str) -> np.ndarray:
    return core.HashEmbedder(DIM).embed_query(name)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def main() -> None:
    folder, seed, writer = sys.argv[1:]
    rng = random.Random(int(seed))
    col = open_store(folder).collection("docs", dim=DIM)
    say("open")
    mine: list[str] = []
    for step in range(10**9):
        chance = rng.random()
        if chance < 0.15 and mine:
            gone = rng.sample(mine, min(len(mine), rng.randrange(1, 30)))
            say("deleting", *gone)
            col.delete(ids=gone)
            say("deleted", *gone)
            mine = [name for name in mine if name not in set(gone)]
        elif chance < 0.2:
            col.optimize()
        else:
            names = [f"{writer}-{seed}-{step}-{i}" for i in range(rng.randrange(1, 60))]
            col.upsert(
                ids=names,
                embeddings=np.stack([vector_of(name) for name in names]),
                texts=names,
                metadata=[{"writer": writer, "step": step}] * len(names),
            )
            say("wrote", *names)
            mine += names


if __name__ == "__main__":
    main()
