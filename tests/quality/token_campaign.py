"""The long comparison with tiktoken: `python -m tests.quality.token_campaign [PART...]`.

Parts: `scalars` (every Unicode scalar in ten templates, each alone and all in a row), `fuzz`
(ten million short strings), `rest` (bytes that are no text, decoding, offsets, unstable ends) and
`text` (a gigabyte). Prints what was compared and exits with 1 at
the first difference. The ordinary tests call the same functions with less.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from dure import tokens

from tests.quality import corpora, fuzz_texts, tiktoken_oracle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt
    import tiktoken

    Oracle = dict[str, tiktoken.Encoding]

NAMES = tokens.list_encoding_names()
DISTINCT = ("r50k_base", "p50k_base", "cl100k_base", "o200k_base")  # the rest shares these tables
SCALARS = [chr(one) for one in [*range(0xD800), *range(0xE000, 0x110000)]]
TEMPLATES = ("{}", "a{}b", " {}", "{}1", "'{}", "{}'s", "\n{}", "{} ", "A{}a", "{}'\u017f")


class Difference(AssertionError):
    """A text that gives other ids than tiktoken's."""


def first_difference(
    name: str, theirs: tiktoken.Encoding, ids: npt.ArrayLike, wanted: npt.ArrayLike
) -> Difference:
    """What to tell the reader: the ids and the text around the place."""
    found, right = np.asarray(ids, np.int64), np.asarray(wanted, np.int64)
    common = min(len(found), len(right))
    unequal = np.flatnonzero(found[:common] != right[:common])
    at = int(unequal[0]) if len(unequal) else common
    near = theirs.decode(right[max(0, at - 5) : at + 5].tolist())
    return Difference(
        f"{name}, token {at}: {found[max(0, at - 2) : at + 5].tolist()} is not "
        f"{right[max(0, at - 2) : at + 5].tolist()}, in {near!r}"
    )


def compare_long(name: str, theirs: tiktoken.Encoding, text: str) -> None:
    """Compare the ids of one text by every way to get them; raise `Difference`."""
    ours = tokens.get_encoding(name)
    wanted = theirs.encode_to_numpy(text, disallowed_special=())
    array = ours.encode_to_numpy(text, disallowed_special=())
    if not np.array_equal(wanted, array):
        raise first_difference(name, theirs, array, wanted)
    ids = ours.encode_ordinary(text)
    if ids != wanted.tolist():
        raise first_difference(name, theirs, ids, wanted)
    if ours.count(text) != len(wanted):
        raise Difference(f"{name}: counts {ours.count(text)}, not {len(wanted)}")


def compare_many(name: str, theirs: tiktoken.Encoding, texts: list[str]) -> None:
    """Compare the ids and the counts of many short texts; raise `Difference`."""
    ours = tokens.get_encoding(name)
    wanted = [theirs.encode_ordinary(text) for text in texts]
    found = ours.encode_ordinary_batch(texts)
    if found != wanted:
        at = next(i for i, ids in enumerate(found) if ids != wanted[i])
        raise Difference(f"{name}: {texts[at]!r} gives {found[at]}, not {wanted[at]}")
    lengths = [len(ids) for ids in wanted]
    if ours.count_batch(texts).tolist() != lengths or list(map(ours.count, texts)) != lengths:
        raise Difference(f"{name}: a count is not the number of ids")


def in_a_row(template: str) -> str:
    """Every scalar in the template, in one text."""
    before, after = template.split("{}")
    seam = "~\n" if template == "{}" else ""
    return before + (after + seam + before).join(SCALARS) + after


def compare_scalars(name: str, theirs: tiktoken.Encoding) -> int:
    """Every scalar in every template; returns the number of strings."""
    for template in TEMPLATES:
        compare_long(name, theirs, in_a_row(template))
        for start in range(0, len(SCALARS), 1 << 17):
            part = SCALARS[start : start + (1 << 17)]
            compare_many(name, theirs, [template.replace("{}", one) for one in part])
    return len(TEMPLATES) * len(SCALARS)


def short_strings(number: int, *, seed: int) -> list[str]:
    """Half over the classes of the patterns, half cut out of text in all scripts."""
    chance = random.Random(seed)
    half = fuzz_texts.grammar_fuzz(number // 2, seed=seed)
    mixes = []
    sources = [block for block, _ in corpora.new_text(1_000_000, share=0.7, seed=seed)]
    for _ in range(number - len(half)):
        source = chance.choice(sources)
        at = int(chance.random() * len(source))
        mixes.append(source[at : at + int(chance.random() * 24) + 1])
    return half + mixes


def blocks_of(texts: Iterable[tuple[str, bool]], size: int) -> Iterator[tuple[str, int]]:
    """The texts joined to about `size` characters, each with its bytes that are not Latin."""
    parts: list[str] = []
    length = other = 0
    for text, latin in texts:
        parts.append(text)
        length += len(text)
        other += 0 if latin else len(text.encode())
        if length >= size:
            yield "\n".join(parts), other
            parts, length, other = [], 0, 0
    yield "\n".join(parts), other


class Clock:
    """Says when the time is over: `fuzz` and `text` then stop and say how far they came."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def over(self) -> bool:
        return time.monotonic() > self._end


def run_scalars(oracle: Oracle, names: list[str], size: float, clock: Clock) -> None:
    del size, clock  # all or nothing
    for name in names:
        say(f"{name}: {compare_scalars(name, oracle[name]):,} strings of scalars, 0 differences")


def run_fuzz(oracle: Oracle, names: list[str], size: float, clock: Clock) -> None:
    block = 250_000
    done = 0
    while done < 10_000_000 * size and not clock.over():
        texts = short_strings(block, seed=1000 + done // block)
        for name in names:
            compare_many(name, oracle[name], texts)
        done += block
    say(f"{', '.join(names)}: {done:,} short strings each, 0 differences")


def compare_bytes(name: str, theirs: tiktoken.Encoding, number: int, seed: int) -> None:
    """Text with bytes put in, taken out and cut off; raise `Difference`."""
    ours = tokens.get_encoding(name)
    chance = random.Random(seed)
    for text in fuzz_texts.grammar_fuzz(number, seed=seed):
        raw = bytearray(text.encode())
        for _ in range(chance.randint(0, 2)):
            raw.insert(chance.randint(0, len(raw)), chance.randrange(0x80, 0x100))
        cut = bytes(raw[: chance.randint(0, len(raw))])
        if ours._encode_bytes(cut) != theirs._encode_bytes(cut):
            raise Difference(f"{name}: _encode_bytes({cut!r})")


def compare_decoding(name: str, theirs: tiktoken.Encoding, number: int, seed: int) -> None:
    """Ids at random and those of texts, to bytes, text, parts and offsets; raise `Difference`."""
    ours = tokens.get_encoding(name)
    chance = random.Random(seed)
    for text in short_strings(number, seed=seed):
        ids = chance.choices(range(50_000), k=chance.randint(0, 6))
        if ours.decode(ids) != theirs.decode(ids) or ours.decode_bytes(ids) != theirs.decode_bytes(
            ids
        ):
            raise Difference(f"{name}: decode({ids})")
        ids = theirs.encode_ordinary(text)
        if ours.decode_with_offsets(ids) != theirs.decode_with_offsets(ids):
            raise Difference(f"{name}: offsets of {text!r}")


def compare_unstable(name: str, theirs: tiktoken.Encoding, number: int, seed: int) -> None:
    """What more text could still change; raise `Difference`."""
    ours = tokens.get_encoding(name)
    texts = [text for text in short_strings(4 * number, seed=seed) if text.strip()]
    for text in random.Random(seed).sample(texts, number):
        stable, ends = ours.encode_with_unstable(text, disallowed_special=())
        wanted, known = theirs.encode_with_unstable(text, disallowed_special=())
        if stable != wanted or sorted(ends) != sorted(map(list, known)):
            raise Difference(f"{name}: unstable ends of {text!r}")


def run_rest(oracle: Oracle, names: list[str], size: float, clock: Clock) -> None:
    del clock
    number = int(300_000 * size)
    for name in names:
        compare_bytes(name, oracle[name], number, seed=61)
        compare_decoding(name, oracle[name], number, seed=62)
        compare_unstable(name, oracle[name], number // 1000, seed=63)
    say(
        f"{', '.join(names)}: {number:,} byte strings, {number:,} decodings with offsets and "
        f"{number // 1000:,} unstable ends each, 0 differences"
    )


def run_text(oracle: Oracle, names: list[str], size: float, clock: Clock) -> None:
    done = foreign = 0
    for block, other in blocks_of(corpora.distinct_text(int(1.05e9 * size), share=0.45), 4_000_000):
        for name in names:
            compare_long(name, oracle[name], block)
        done += len(block.encode("utf-8", "replace"))
        foreign += other
        if clock.over():
            break
    say(
        f"{', '.join(names)}: {done / 1e6:,.0f} MB of text each, {foreign / 1e6:,.0f} MB of it "
        "in other scripts than Latin, 0 differences"
    )


PARTS = {"scalars": run_scalars, "fuzz": run_fuzz, "rest": run_rest, "text": run_text}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--encoding", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--size", type=float, default=1.0, help="of the whole; 0.1 is a tenth")
    parser.add_argument("--seconds", type=float, default=86_400, help="for each of fuzz and text")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        oracle = tiktoken_oracle.load(Path(folder))
    try:
        for part in given.parts or PARTS:
            PARTS[part](oracle, given.encoding or NAMES, given.size, Clock(given.seconds))
    except Difference as error:
        say(f"DIFFERENCE {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
