"""The long comparison with tiktoken: `python -m tests.quality.token_campaign [PART...]`.

Parts: `scalars` (every Unicode scalar in ten templates, each alone and all in a row), `fuzz`
(ten million short strings), `rest` (bytes that are no text, decoding, offsets, unstable ends) and
`text` (a gigabyte). Prints what was compared and exits with 1 at
the first difference. The ordinary tests call the same functions with less.

Every encoding of ours is compared; of those of tiktoken that have equal patterns and equal ranks
(gpt2 and r50k_base, p50k_base and p50k_edit, o200k_base and o200k_harmony) one is asked for all.
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
import tiktoken
from dure import build_info, tokens

from tests.quality import corpora, fuzz_texts, tiktoken_oracle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

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


class Family:
    """Encodings of ours whose ids one encoding of tiktoken knows."""

    def __init__(self, theirs: tiktoken.Encoding, names: list[str]) -> None:
        self.theirs = theirs
        self.names = names

    def has(self, theirs: tiktoken.Encoding) -> bool:
        """Whether that one of tiktoken gives the same ids: they follow from these two."""
        return (
            self.theirs._pat_str == theirs._pat_str
            and self.theirs._mergeable_ranks == theirs._mergeable_ranks
        )

    def compare_long(self, text: str) -> None:
        """Compare the ids of one text by every way to get them; raise `Difference`."""
        wanted = self.theirs.encode_to_numpy(text, disallowed_special=())
        listed = wanted.tolist()
        for name in self.names:
            ours = tokens.get_encoding(name)
            array = ours.encode_to_numpy(text, disallowed_special=())
            if not np.array_equal(wanted, array):
                raise first_difference(name, self.theirs, array, wanted)
            ids = ours.encode_ordinary(text)
            if ids != listed:
                raise first_difference(name, self.theirs, ids, wanted)
            if ours.count(text) != len(wanted):
                raise Difference(f"{name}: counts {ours.count(text)}, not {len(wanted)}")

    def compare_many(self, texts: list[str]) -> None:
        """Compare the ids and the counts of many short texts; raise `Difference`."""
        wanted = [self.theirs.encode_ordinary(text) for text in texts]
        lengths = [len(ids) for ids in wanted]
        for name in self.names:
            ours = tokens.get_encoding(name)
            found = ours.encode_ordinary_batch(texts)
            if found != wanted:
                at = next(i for i, ids in enumerate(found) if ids != wanted[i])
                raise Difference(f"{name}: {texts[at]!r} gives {found[at]}, not {wanted[at]}")
            counts = ours.count_batch(texts).tolist()
            if counts != lengths or list(map(ours.count, texts)) != lengths:
                raise Difference(f"{name}: a count is not the number of ids")


def families(oracle: Oracle, names: list[str]) -> list[Family]:
    """Put the encodings together that need to be asked for once."""
    found: list[Family] = []
    for name in names:
        theirs = oracle[name]
        family = next((one for one in found if one.has(theirs)), None)
        if family is None:
            found.append(Family(theirs, [name]))
        else:
            family.names.append(name)
    return found


def compare_long(name: str, theirs: tiktoken.Encoding, text: str) -> None:
    """Compare one text in one encoding; raise `Difference`."""
    Family(theirs, [name]).compare_long(text)


def compare_many(name: str, theirs: tiktoken.Encoding, texts: list[str]) -> None:
    """Compare short texts in one encoding; raise `Difference`."""
    Family(theirs, [name]).compare_many(texts)


def in_a_row(template: str) -> str:
    """Every scalar in the template, in one text."""
    before, after = template.split("{}")
    seam = "~\n" if template == "{}" else ""
    return before + (after + seam + before).join(SCALARS) + after


def compare_scalars(group: list[Family], template: str) -> None:
    """Every scalar in one template, in one text and each alone; raise `Difference`."""
    row = in_a_row(template)
    for family in group:
        family.compare_long(row)
    for start in range(0, len(SCALARS), 1 << 17):
        part = SCALARS[start : start + (1 << 17)]
        texts = [template.replace("{}", one) for one in part]
        for family in group:
            family.compare_many(texts)


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
    group = families(oracle, names)
    for done, template in enumerate(TEMPLATES):
        progress(f"scalars: {done} of {len(TEMPLATES)} templates")
        compare_scalars(group, template)
    number = len(TEMPLATES) * len(SCALARS)
    say(f"{', '.join(names)}: {number:,} strings of scalars each, 0 differences")


def run_fuzz(oracle: Oracle, names: list[str], size: float, clock: Clock) -> None:
    block = 250_000
    done = 0
    group = families(oracle, names)
    while done < 10_000_000 * size and not clock.over():
        progress(f"fuzz: {done:,} strings")
        texts = short_strings(block, seed=1000 + done // block)
        for family in group:
            family.compare_many(texts)
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
        progress(f"rest: {name}")
        compare_bytes(name, oracle[name], number, seed=61)
        compare_decoding(name, oracle[name], number, seed=62)
        compare_unstable(name, oracle[name], number // 1000, seed=63)
    say(
        f"{', '.join(names)}: {number:,} byte strings, {number:,} decodings with offsets and "
        f"{number // 1000:,} unstable ends each, 0 differences"
    )


def run_text(oracle: Oracle, names: list[str], size: float, clock: Clock) -> None:
    done = foreign = 0
    group = families(oracle, names)
    for block, other in blocks_of(corpora.distinct_text(int(1.05e9 * size), share=0.45), 4_000_000):
        progress(f"text: {done / 1e6:,.0f} MB")
        for family in group:
            family.compare_long(block)
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


def progress(line: str) -> None:
    """Where the run is, for who watches."""
    sys.stderr.write(time.strftime("%H:%M:%S ") + line + "\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--encoding", action="append", choices=NAMES, help="default: all")
    parser.add_argument("--size", type=float, default=1.0, help="of the whole; 0.1 is a tenth")
    parser.add_argument("--seconds", type=float, default=86_400, help="for each of fuzz and text")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        oracle = tiktoken_oracle.load(Path(folder))
    build = build_info()
    say(
        f"{time.strftime('%Y-%m-%d')}, dure {build['version']} ({build['simd']}), "
        f"tiktoken {tiktoken.__version__}, Python {sys.version.split()[0]}"
    )
    try:
        for part in given.parts or PARTS:
            PARTS[part](oracle, given.encoding or NAMES, given.size, Clock(given.seconds))
    except Difference as error:
        say(f"DIFFERENCE {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
