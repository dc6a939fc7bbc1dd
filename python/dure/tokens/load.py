"""Rank files in tiktoken's form. Nothing here opens a connection, nothing is deleted."""

from __future__ import annotations

from dure.errors import InvalidArgumentError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "check_hash",
    "data_gym_to_mergeable_bpe_ranks",
    "dump_tiktoken_bpe",
    "load_tiktoken_bpe",
    "read_file",
    "read_file_cached",
]


def read_file(blobpath: str) -> bytes:
    """Return the bytes of a local file.

    Raises:
        NotFoundError: A URL: dure downloads nothing.
    """
    from pathlib import Path

    if "://" in blobpath:
        raise NotFoundError(
            f"{blobpath} is not fetched: download it yourself and give its path, or put it into "
            "TIKTOKEN_CACHE_DIR under the SHA-1 of its URL"
        )
    return Path(blobpath).read_bytes()


def check_hash(data: bytes, expected_hash: str) -> bool:
    """Say whether `data` has this SHA-256."""
    return _sha256(data) == expected_hash


def _sha256(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def read_file_cached(blobpath: str, expected_hash: str | None = None) -> bytes:
    """Return a file's bytes, for a URL from tiktoken's cache folder.

    Raises:
        InvalidArgumentError: It has another hash than `expected_hash`; the message has both.
        NotFoundError: A URL that is not in the cache folder.
    """
    import os
    from hashlib import sha1
    from pathlib import Path
    from tempfile import gettempdir

    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = str(Path(gettempdir()) / "data-gym-cache")
    cached = Path(folder) / sha1(blobpath.encode(), usedforsecurity=False).hexdigest()
    source = cached if folder and "://" in blobpath and cached.exists() else None
    data = source.read_bytes() if source else read_file(blobpath)
    if expected_hash is not None and not check_hash(data, expected_hash):
        raise InvalidArgumentError(
            f"{source or blobpath} is damaged: its SHA-256 is {_sha256(data)}, not "
            f"{expected_hash}. It was left as it is; replace it",
            argument="expected_hash",
            path=str(source or blobpath),
        )
    return data


def load_tiktoken_bpe(tiktoken_bpe_file: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Return the ranks of a file with a token in base 64 and its rank on each line.

    Raises:
        InvalidArgumentError: Another hash, or a line that is no such pair (a ValueError).
    """
    from base64 import b64decode

    ranks = {}
    for line in read_file_cached(tiktoken_bpe_file, expected_hash).splitlines():
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[b64decode(token)] = int(rank)
        except ValueError as e:
            raise InvalidArgumentError(
                f"Error parsing line {line!r} in {tiktoken_bpe_file}", argument="tiktoken_bpe_file"
            ) from e
    return ranks


def dump_tiktoken_bpe(bpe_ranks: Mapping[bytes, int], tiktoken_bpe_file: str) -> None:
    """Write ranks to a local file, in rank order."""
    from base64 import b64encode
    from pathlib import Path

    lines = (
        b64encode(token) + b" %d\n" % rank
        for token, rank in sorted(bpe_ranks.items(), key=lambda pair: pair[1])
    )
    Path(tiktoken_bpe_file).write_bytes(b"".join(lines))


def byte_characters() -> dict[str, int]:
    """Return the byte that each character stands for where GPT-2's files spell bytes as text."""
    shown = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(256 + i): byte for i, byte in enumerate(hidden)
    }


def data_gym_to_mergeable_bpe_ranks(
    vocab_bpe_file: str,
    encoder_json_file: str,
    vocab_bpe_hash: str | None = None,
    encoder_json_hash: str | None = None,
    clobber_one_byte_tokens: bool = False,
) -> dict[bytes, int]:
    """Return the ranks of GPT-2's two files: merges, and the map that must agree with them."""
    import json

    to_byte = byte_characters()

    def decode(text: str) -> bytes:
        return bytes(to_byte[char] for char in text)

    merges = read_file_cached(vocab_bpe_file, vocab_bpe_hash).decode().split("\n")[1:-1]
    ranks = {bytes([byte]): rank for rank, byte in enumerate(to_byte.values())}
    for merge in merges:
        first, second = merge.split()
        ranks[decode(first) + decode(second)] = len(ranks)
    encoder = json.loads(read_file_cached(encoder_json_file, encoder_json_hash))
    wanted = {decode(text): rank for text, rank in encoder.items()}
    wanted.pop(b"<|endoftext|>", None)
    wanted.pop(b"<|startoftext|>", None)
    if clobber_one_byte_tokens:
        ranks |= {token: rank for token, rank in wanted.items() if len(token) == 1}
    assert ranks == wanted
    return ranks
