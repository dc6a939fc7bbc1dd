"""What the search benchmarks ask: rows of vector, text and metadata, and the recall of answers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.vectors import embedding_like

if TYPE_CHECKING:
    from benchmarks.vectors import Array

DIM, TOP = 384, 10
BUCKETS = 100  # a filter on one of them passes 1 %


@dataclass
class Data:
    rows: Array
    queries: Array
    exact: Any  # the TOP best rows of each query
    ids: list[str]
    texts: list[str]
    metadata: list[dict[str, Any]]
    vocabulary: list[str]
    weights: Any  # of its words


def vocabulary(count: int, random: np.random.Generator) -> list[str]:
    """Words of two to four Hangul syllables and of three to nine Latin letters, half each."""
    words: dict[str, None] = {}
    while len(words) < count:
        if len(words) % 2:
            codes = random.integers(0xAC00, 0xD7A4, size=random.integers(2, 5))
        else:
            codes = random.integers(97, 123, size=random.integers(3, 10))
        words["".join(map(chr, codes))] = None
    return list(words)


def make(count: int, *, queries: int = 500, words: int = 104) -> Data:
    """Rows by `embedding_like`; texts of about 930 bytes whose words follow Zipf's law."""
    rows, asked = embedding_like(count, DIM, seed=1, queries=queries)
    random = np.random.default_rng(7)
    known = vocabulary(60_000, random)
    weights = 1.0 / np.arange(1, len(known) + 1)
    weights /= weights.sum()
    chosen = random.choice(len(known), size=(count, words), p=weights)
    return Data(
        rows,
        asked,
        truth(rows, asked),
        [f"r{i}" for i in range(count)],
        [" ".join(known[w] for w in row) for row in chosen],
        [{"bucket": i % BUCKETS, "n": i} for i in range(count)],
        known,
        weights,
    )


def truth(rows: Array, queries: Array) -> Any:  # noqa: ANN401
    return np.argpartition(-(queries @ rows.T), TOP, axis=1)[:, :TOP]


def recall(found: list[list[int]], exact: Any) -> float:  # noqa: ANN401
    hits = sum(
        len(set(mine) & set(map(int, best))) for mine, best in zip(found, exact, strict=True)
    )
    return hits / (len(found) * TOP)


Curve = list[tuple[float, float]]  # (recall, queries/s)


def rate_at(curve: Curve, target: float) -> float:
    """Return queries/s at a recall: log-linear between the two points around it.

    Below all points: the fastest of them, a lower bound. Above all: nan.
    """
    points = sorted(curve)
    for (low, slow), (high, fast) in itertools.pairwise(points):
        if low <= target <= high:
            share = 0.0 if high == low else (target - low) / (high - low)
            return math.exp(math.log(slow) + share * (math.log(fast) - math.log(slow)))
    return max(rate for _, rate in points) if target < points[0][0] else math.nan
