"""Embedding-like vectors: topics, local directions, noise, and a decaying spectrum.

x = mu*m + c_k + sum_t z_t*b_kt + sigma*noise, normalised; topics have Zipf weights. The scales
are chosen so that neighbours look like those of real embedding models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def embedding_like(count: int, dim: int, *, seed: int, queries: int = 1000) -> tuple[Array, Array]:
    """Return (`count` rows, `queries` rows), float32, unit length, from the same topics."""
    random = np.random.default_rng(seed)
    topics, directions = max(1, count * 3000 // 50_000), 8
    mu, sc, sigma, alpha = 0.6, 0.8, 0.8, 0.7
    scale = (1 + np.arange(dim) / 8.0) ** -alpha
    scale /= np.sqrt((scale**2).sum())  # a Gaussian row times `scale` has expected norm 1

    def gaussian(*shape: int) -> Any:  # noqa: ANN401
        return random.standard_normal((*shape, dim), dtype=np.float32) * scale.astype(np.float32)

    common, centres = gaussian(), gaussian(topics)
    local = gaussian(topics, directions)
    weights = 1.0 / np.arange(1, topics + 1)
    topic = random.choice(topics, size=count + queries, p=weights / weights.sum())
    z = random.standard_normal((count + queries, directions)).astype(np.float32)
    z *= sc / np.sqrt(directions)
    rows = mu * common + centres[topic] + np.einsum("nt,ntd->nd", z, local[topic])
    rows += sigma * gaussian(count + queries)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    return rows[:count], rows[count:]
