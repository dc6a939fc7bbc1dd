"""The definition, slowly: the pattern by a backtracking engine, byte pairs merged one by one.

What answers where tiktoken itself gives up. Its engine is PyPI's `regex`, whose classes are of a
newer Unicode: texts here keep to characters that are old.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import regex  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Mapping


def merge(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Merge the pair of lowest rank wherever it stands, from the left, until none is left.

    Taking all places of a pair in one pass is the same as one by one as long as no merge makes a
    pair of a lower rank than its own; that is checked.
    """
    parts = [piece[i : i + 1] for i in range(len(piece))]
    last = -1
    while len(parts) > 1:
        known = {pair: ranks.get(pair[0] + pair[1]) for pair in set(pairwise(parts))}
        found = [(rank, pair) for pair, rank in known.items() if rank is not None]
        if not found:
            break
        lowest, best = min(found)
        assert lowest >= last, "a merge made a pair that comes before it"
        last = lowest
        parts = _replace(parts, best)
    return [ranks[part] for part in parts]


def _replace(parts: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    out = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and parts[i] == pair[0] and parts[i + 1] == pair[1]:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def encode(text: str, pattern: str, ranks: Mapping[bytes, int]) -> list[int]:
    """The ids of a text."""
    ids: list[int] = []
    for piece in regex.findall(pattern, text):
        raw = piece.encode()
        ids.extend([ranks[raw]] if raw in ranks else merge(raw, ranks))
    return ids
