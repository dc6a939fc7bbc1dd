"""The installed tiktoken as oracle, its cache folder filled from our embedded vocabulary.

tiktoken checks the SHA-256 of each file itself; on a mismatch it would go to the network, which
the tests do not allow: so a wrong vocabulary of ours cannot pass unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from itertools import pairwise
from typing import TYPE_CHECKING

from dure import tokens

if TYPE_CHECKING:
    from pathlib import Path

    import tiktoken

URL = "https://openaipublic.blob.core.windows.net/"
RANK_FILES = ("r50k_base", "p50k_base", "cl100k_base", "o200k_base")


def cache_name(url: str) -> str:
    return hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()


def rank_file(ranks: dict[bytes, int]) -> bytes:
    ordered = sorted(ranks.items(), key=lambda pair: pair[1])
    return b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ordered)


def gpt2_files(ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """GPT-2's vocab.bpe (each token's last merge) and encoder.json, from the ranks."""
    shown = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    hidden = [byte for byte in range(256) if byte not in shown]
    char = {byte: chr(byte) for byte in shown} | {
        byte: chr(256 + i) for i, byte in enumerate(hidden)
    }

    def spell(token: bytes) -> str:
        return "".join(char[byte] for byte in token)

    ordered = sorted(ranks, key=ranks.__getitem__)
    merges = ["#version: 0.2"]
    for token in ordered[256:]:
        left, right = last_merge(token, ranks)
        merges.append(f"{spell(left)} {spell(right)}")
    encoder = {spell(token): rank for rank, token in enumerate(ordered)} | {"<|endoftext|>": 50256}
    return ("\n".join(merges) + "\n").encode(), json.dumps(encoder).encode()


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that are left when only merges before `token` itself are made."""
    parts = [token[i : i + 1] for i in range(len(token))]
    limit = ranks[token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, limit) for a, b in pairwise(parts)]
        best = min(pairs)
        assert best < limit
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def fill_cache(folder: Path) -> None:
    for name in RANK_FILES:
        url = f"{URL}encodings/{name}.tiktoken"
        (folder / cache_name(url)).write_bytes(
            rank_file(tokens.get_encoding(name)._mergeable_ranks)
        )
    merges, encoder = gpt2_files(tokens.get_encoding("gpt2")._mergeable_ranks)
    (folder / cache_name(f"{URL}gpt-2/encodings/main/vocab.bpe")).write_bytes(merges)
    (folder / cache_name(f"{URL}gpt-2/encodings/main/encoder.json")).write_bytes(encoder)


def fill_harmony(folder: Path) -> None:
    """The file that openai-harmony looks for."""
    path = folder / "o200k_base.tiktoken"
    if not path.exists():
        path.write_bytes(rank_file(tokens.get_encoding("o200k_base")._mergeable_ranks))


def load(folder: Path) -> dict[str, tiktoken.Encoding]:
    """Every encoding of tiktoken, by name."""
    import tiktoken

    fill_cache(folder)
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return {name: tiktoken.get_encoding(name) for name in tokens.list_encoding_names()}
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before
