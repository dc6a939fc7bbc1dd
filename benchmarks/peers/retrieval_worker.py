"""One measurement in a process of its own: `python -m benchmarks.peers.retrieval_worker WHAT ...`.

`open FOLDER QUERY.npy`: seconds from `Store.open` to the first ten hits.
`rates FOLDER DATA.npz EF...`: recall and queries/s of each EF, with the instructions that DURE_SIMD
allows.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np


def open_and_ask(folder: str, query: str) -> dict[str, float]:
    import dure
    from dure import retrieval  # noqa: F401 - loading Python modules is no opening

    vector = np.load(query)
    start = time.perf_counter()
    hits = dure.Store.open(folder).collection("bench").query(vector=vector, top_k=10)
    return {"seconds": time.perf_counter() - start, "hits": len(hits)}


def rates(folder: str, data: str, efs: list[int]) -> list[tuple[float, float]]:
    import dure

    from benchmarks.peers.retrieval_data import recall
    from benchmarks.peers.retrieval_engines import dure_at

    given = np.load(data)
    queries, exact = given["queries"], given["exact"]
    col = dure.Store.open(folder, read_only=True).collection("bench")
    points = []
    for ef in efs:
        search = dure_at(col)(ef)
        found = [search(query) for query in queries]
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            for query in queries:
                search(query)
            taken.append(time.perf_counter() - start)
        points.append((recall(found, exact), len(queries) / statistics.median(taken)))
    return points


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    result = (
        open_and_ask(*arguments)
        if what == "open"
        else rates(arguments[0], arguments[1], [int(ef) for ef in arguments[2:]])
    )
    print(json.dumps(result))
