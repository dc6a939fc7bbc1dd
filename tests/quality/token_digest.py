"""Prints a digest of the ids of fixed texts: `python -m tests.quality.token_digest`.

Run by the parity tests under each value of DURE_SIMD: the digest is the same for all.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache

import numpy as np
from dure import tokens

from tests.quality import corpora, fuzz_texts


@cache
def digest() -> str:
    texts = [block for block, _ in corpora.new_text(1_000_000, share=0.5, seed=77)]
    texts += fuzz_texts.grammar_fuzz(20_000, seed=78)
    texts += ["x" * 5000, " " * 5000, "\u0301" * 2000, "a\n" * 2000, "가나" * 2000]
    found = hashlib.sha256()
    for name in ("r50k_base", "p50k_base", "cl100k_base", "o200k_base"):
        encoding = tokens.get_encoding(name)
        ids, offsets = encoding.encode_to_numpy_batch(texts)
        assert encoding.count_batch(texts).tolist() == np.diff(offsets).tolist()
        found.update(ids.tobytes() + offsets.tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(digest())
