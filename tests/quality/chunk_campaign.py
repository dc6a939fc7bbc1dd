"""The rules of chunks, checked on random documents without `verify`: by hand and by tiktoken.

`python -m tests.quality.chunk_campaign [DOCUMENTS]` (a million by default) prints what was checked
and exits with 1 at the first broken rule, naming seed and number of the document. The ordinary
tests call the same function with less.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from dure import _core, tokens
from dure.chunks import Chunker, Document
from dure.errors import InvalidArgumentError

from tests.quality.fuzz_texts import ALPHABET

if TYPE_CHECKING:
    import tiktoken
    from dure.chunks import Chunks

MODES = ("auto", "text", "markdown", "html", "code", "csv", "jsonl", "page", "delimiter")
UNITS = ("max_tokens", "max_chars", "max_bytes")
ENCODINGS = ("o200k_base", "cl100k_base")
_PROSE = [
    *[
        "The cat sat on it. ",
        "안녕하세요 여러분. ",
        "그는 갔습니다 ",
        "word ",
        "나는 잤어요 그리고 ",
        "猫が好き。",
    ],
    *[
        "Dr. Kim ",
        "(안에서 끝났다.) ",
        "“인용.”라고 ",
        "3.14 ",
        "e.g. ",
        "왜? ",
        "\uff01",
        "... ",
        "、",
    ],
]
_BLOCKS = [
    *[
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "# Title\n",
        "## 둘\n\n",
        "###### deep\n",
        "Setext\n===\n",
        "---\n",
    ],
    *[
        "```py\nx = 1\n```\n",
        "```\n",
        "~~~\n",
        "    indented\n",
        "- item\n",
        "1. one\n",
        "> quote\n",
    ],
    *[
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "| 1 | 2 |\n",
        "<p>x</p>",
        "<h2>T</h2>",
        "<table><tr><td>1",
    ],
    *["def f():\n    return 1\n\n", "class A {\n}\n", '"x, y",1\n', '{"a": [1, 2]}\n', "a;b|c\n"],
]
_MARKS = [
    *[
        "👨\u200d👩\u200d👧",
        "🇰🇷",
        "e\u0301",
        "각",
        "\u3000",
        "\ufeff",
        "\u0000",
        "\u200d",
        "\u000c",
    ],
    *["<|endoftext|>", "aaaaaaaaaaaaaaaaaaaaaaaa", "7" * 30, " " * 20, "\u0301" * 5, "亚洲AVa"],
]


@dataclass(frozen=True, slots=True)
class Case:
    """A document and how it is cut."""

    text: str
    options: dict[str, Any]
    pages: tuple[int, ...] = ()


class BrokenRule(AssertionError):
    """A chunk that breaks a rule."""


def case(chance: random.Random) -> Case:
    """Return a random document with random options."""
    pools = chance.choice(
        [
            (_PROSE,),
            (_PROSE, _BLOCKS),
            (_BLOCKS, _MARKS),
            (ALPHABET,),
            (_PROSE, _BLOCKS, _MARKS, ALPHABET),
        ]
    )
    atoms = [atom for pool in pools for atom in pool]
    text = "".join(chance.choices(atoms, k=chance.choice([0, 1, 3, 10, 30, 80])))
    cap = chance.choice([7, 12, 25, 60, 200])
    options: dict[str, Any] = {
        chance.choice(UNITS): cap,
        "mode": chance.choice(MODES),
        "overlap": chance.choice([0, 0, 1, 4]),
        "trim": chance.random() < 0.5,
        "stable": chance.random() < 0.7,
        "heading_path": chance.random() < 0.8,
        "sentence": chance.choice(["auto", "uax29"]),
        "tokenizer": chance.choice(ENCODINGS),
        "keep": chance.choice([("table", "fence"), (), ("table",)]),
    }
    if chance.random() < 0.1:
        options["separators"] = chance.sample(["\n\n", ". ", " ", "##", "다"], k=2)
    if chance.random() < 0.1:
        options["delimiters"] = chance.choice([";|", ["다. ", "\n\n"], " "])
    if chance.random() < 0.05 and "max_tokens" in options:
        options["tokenizer"] = chance.choice([_words, len])
    pages: list[int] = []
    if options["mode"] == "page" and chance.random() < 0.5:
        pages = sorted(chance.choices(range(len(text) + 1), k=chance.randrange(1, 5)))
    return Case(text, options, tuple(pages))


def _words(text: str) -> int:
    """Count as a caller's own tokenizer may: space and full stops apart."""
    return len(re.findall(r"[^\s.]+|\.", text))


@cache
def oracle(name: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding over the same table."""
    import tiktoken

    ours = tokens.get_encoding(name)
    return tiktoken.Encoding(
        name, pat_str=ours._pat_str, mergeable_ranks=ours._mergeable_ranks, special_tokens={}
    )


def check(one: Case) -> int:
    """Return how many chunks a document has; raise `BrokenRule` for the first broken rule."""
    chunker = Chunker(**one.options)
    source: str | Document = Document(one.text, pages=one.pages) if one.pages else one.text
    try:
        chunks = chunker.chunk(source)
    except InvalidArgumentError as refused:
        if "more than the cap" in str(refused):
            return 0  # one code point is larger than the cap: said, not cut
        raise
    _check_spans(one, chunks)
    _check_cap(one, chunks)
    _check_coverage(one, chunks)
    if one.pages:
        _check_pages(one, chunks)
    else:
        _check_sameness(one, chunker, chunks)
        _check_stream(one, chunker)
    # A page may begin inside a grapheme: that cut is the caller's.
    broken = [rule for rule in chunks.verify(one.text) if not one.pages or "grapheme" not in rule]
    _rule(not broken, f"verify says {broken[:1]}")
    return len(chunks)


def _check_pages(one: Case, chunks: Chunks) -> None:
    """No chunk crosses the start of a page, and each knows its own."""
    for i in range(len(chunks)):
        start, end = int(chunks.char_start[i]), int(chunks.char_end[i])
        _rule(not any(start < page < end for page in one.pages), f"chunk {i} crosses a page")
        begun = sum(page <= start for page in one.pages)
        _rule(int(chunks.page[i]) == begun, f"chunk {i} is on page {begun}")


def _check_stream(one: Case, chunker: Chunker) -> None:
    """Read by windows, from a text long enough to have some, the chunks are those of the whole."""
    if len(one.text) % 16 or not one.text:
        return  # a sixteenth of the documents
    raw = (one.text * (40_000 // len(one.text.encode()) + 1)).encode()
    whole = chunker.chunk(raw)
    reader = _core.chunk.Reader(
        chunker._native, lambda at, size: raw[at : at + size], len(raw), 1 << 30, 10_000
    )
    parts = reader.next()
    _rule(parts.byte_start.tolist() == whole.byte_start.tolist(), "cut otherwise by windows")
    _rule(parts.char_end.tolist() == whole.char_end.tolist(), "cut otherwise by windows")
    _rule(parts.hash64.tolist() == whole.hash64.tolist(), "embedded otherwise by windows")


def _rule(holds: bool, text: str) -> None:
    if not holds:
        raise BrokenRule(text)


def _check_spans(one: Case, chunks: Chunks) -> None:
    """Offsets in bytes and in code points name the same text; a cut never splits a character."""
    raw = one.text.encode()
    for i, text in enumerate(chunks.text):
        _rule(one.text[chunks.char_start[i] : chunks.char_end[i]] == text, f"chars of chunk {i}")
        span = raw[chunks.byte_start[i] : chunks.byte_end[i]]
        _rule(span == text.encode(), f"bytes of chunk {i}")
        _rule(chunks.embed_text[i].endswith(text), f"chunk {i} is embedded without its text")


def _check_cap(one: Case, chunks: Chunks) -> None:
    """What is embedded fits, counted by others; the token column is tiktoken's count."""
    named = one.options["tokenizer"]
    count = named if callable(named) else lambda text: len(oracle(named).encode_ordinary(text))
    unit = next(name for name in UNITS if name in one.options)
    for i, text in enumerate(chunks.embed_text):
        counted = count(text)
        _rule(counted == chunks.token_count[i], f"tokens of chunk {i}: {counted}")
        size = {"max_tokens": counted, "max_chars": len(text), "max_bytes": len(text.encode())}
        _rule(size[unit] <= one.options[unit], f"chunk {i} is over the cap: {size[unit]}")


def _check_coverage(one: Case, chunks: Chunks) -> None:
    """Nothing but space is left out, chunks go forward, overlap is a maximum."""
    unit = next(name for name in UNITS if name in one.options)
    end = 0
    for i in range(len(chunks)):
        start, stop = int(chunks.char_start[i]), int(chunks.char_end[i])
        between = one.text[end:start]
        _rule(not between.strip() if one.options["trim"] else not between, f"lost before {i}")
        _rule(stop > end, f"chunk {i} goes back")
        shared = one.text[start:end] if start < end else ""
        sizes = {"max_chars": len(shared), "max_bytes": len(shared.encode())}
        if unit != "max_tokens":
            _rule(sizes[unit] <= one.options["overlap"], f"overlap of {i} is {sizes[unit]}")
        elif not one.options["overlap"]:
            _rule(not shared, f"overlap of {i} without any asked for")
        end = stop
    rest = one.text[end:]
    _rule(not rest.strip() if one.options["trim"] else not rest, "lost at the end")


def _check_sameness(one: Case, chunker: Chunker, chunks: Chunks) -> None:
    """The same from bytes, from another chunker, on another thread."""
    raw = one.text.encode()
    for other in (
        Chunker(**one.options).chunk(raw),
        *chunker.chunk_many([one.text, raw], threads=2),
    ):
        _rule(other.hash64.tolist() == chunks.hash64.tolist(), "not the same twice")
        _rule(other.byte_start.tolist() == chunks.byte_start.tolist(), "not the same twice")
        _rule(other.char_end.tolist() == chunks.char_end.tolist(), "not the same twice")


def run(documents: int, *, seed: int) -> int:
    """Check so many documents; return how many chunks they had."""
    chunks = 0
    for number in range(documents):
        one = case(random.Random(f"{seed}:{number}"))
        try:
            chunks += check(one)
        except BrokenRule as broken:
            text = f"seed {seed}, document {number}: {broken}; {one.options}; {one.text[:300]!r}"
            raise BrokenRule(text) from broken
    return chunks


def main() -> int:
    """Run the campaign."""
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=20_261_121)
    given = parser.parse_args()
    part = 10_000
    seeds = range(given.seed, given.seed + -(-given.documents // part))
    try:
        with ProcessPoolExecutor() as pool:
            counts = list(pool.map(partial(_part, part), seeds))
    except BrokenRule as broken:
        print(f"chunks: {broken}")  # noqa: T201
        return 1
    print(f"chunks: {len(counts) * part:,} documents, {sum(counts):,} chunks, 0 violations")  # noqa: T201
    return 0


def _part(documents: int, seed: int) -> int:
    return run(documents, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
