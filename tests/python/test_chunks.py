"""Chunker: the rules of the house hold for every text and every choice of options."""

import os
import pickle
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dure
import numpy as np
import pytest
from dure.chunks import Chunker, Chunks, Document, sentences
from dure.errors import FileRefusedError, InvalidArgumentError
from hypothesis import given, settings
from hypothesis import strategies as st

MARKDOWN = """# Guide

Intro text that says a little. It goes on.

## Install

Run this:

```sh
make all
make install
```

| name | value |
|------|-------|
| a    | 1     |
| b    | 2     |

### Notes

- one item
- another item

Setext title
============

마지막 문단입니다. 잘 읽으셨나요? 네 그렇습니다.
"""

ATOMS = [
    "word ",
    "The cat sat. ",
    "안녕하세요 ",
    "갔습니다. ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "  ",
    "# Title\n",
    "## Sub\n\n",
    "```\ncode\n```\n",
    "```\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "- item\n",
    "1. one\n",
    "> quote\n",
    "👨\u200d👩\u200d👧",
    "🇰🇷",
    "e\u0301",
    "각",
    "\u3000",
    "。",
    "\uff01",
    "\u0000",
    "\ufeff",
    "<|endoftext|>",
    "3.14159",
    "AAAA",
    "aaaaaaaaaaaaaaaa",
    "\u0301",
    "\u200d",
    "/",
    "?\n",
    "a,b;",
    "\u000c",
    "“인용.”라고 ",
    "=====\n",
    "---\n",
    '"x, y"\n',
    '{"a": 1}\n',
    "\u0600",
    "def f():\n    pass\n",
    "<p>x</p>",
    "<h2>T</h2>",
]
MODES = ["auto", "text", "markdown", "html", "code", "csv", "jsonl", "page", "delimiter"]

texts = st.lists(st.sampled_from(ATOMS), max_size=60).map("".join) | st.text(max_size=200)


def capped(unit: str, cap: int, **options: Any) -> Chunker:  # noqa: ANN401
    return Chunker(**{unit: cap, **options})


def check(chunks: Chunks, text: str, *, trim: bool, overlap: int) -> None:
    assert chunks.verify(text) == []
    raw = text.encode()
    for i, piece in enumerate(chunks.text):
        assert text[chunks.char_start[i] : chunks.char_end[i]] == piece
        assert raw[chunks.byte_start[i] : chunks.byte_end[i]].decode() == piece
        assert chunks.embed_text[i].endswith(piece)
    if not trim and overlap == 0:
        assert "".join(chunks.text) == text


@settings(max_examples=400, deadline=None)
@given(
    text=texts,
    mode=st.sampled_from(MODES),
    unit=st.sampled_from(["max_tokens", "max_chars", "max_bytes"]),
    cap=st.integers(4, 80),
    overlap=st.integers(0, 3),
    trim=st.booleans(),
    stable=st.booleans(),
)
def test_every_rule_holds(
    text: str, mode: str, unit: str, cap: int, overlap: int, trim: bool, stable: bool
) -> None:
    chunker = capped(unit, cap, mode=mode, overlap=overlap, trim=trim, stable=stable)
    check(chunker.chunk(text), text, trim=trim, overlap=overlap)


@pytest.mark.parametrize("seed", range(8))
def test_fuzz(seed: int) -> None:
    """Longer documents, by the hundred; the seed names them."""
    chance = random.Random(seed)
    for _ in range(250):
        text = "".join(chance.choices(ATOMS, k=chance.randrange(1, 400)))
        trim = chance.random() < 0.5
        overlap = chance.choice([0, 0, 1, 5])
        unit = chance.choice(["max_tokens", "max_chars", "max_bytes"])
        chunker = capped(
            unit,
            chance.choice([6, 13, 40, 100, 333]),
            mode=chance.choice(MODES),
            overlap=overlap,
            trim=trim,
            stable=chance.random() < 0.7,
            heading_path=chance.random() < 0.8,
        )
        chunks = chunker.chunk(text)
        assert chunks.verify(text) == []
        if not trim and overlap == 0:
            assert "".join(chunks.text) == text


def test_columns_are_read_only_int64_and_uint64() -> None:
    chunks = Chunker(max_chars=40).chunk(MARKDOWN)
    columns = chunks.columns()
    assert {k: v.dtype for k, v in columns.items() if k != "hash64"} == dict.fromkeys(
        ["byte_start", "byte_end", "char_start", "char_end", "token_count", "page"], np.int64
    )
    assert columns["hash64"].dtype == np.uint64
    with pytest.raises(ValueError, match="read-only"):
        columns["byte_start"][0] = 1


def test_columns_outlive_the_chunks() -> None:
    starts = Chunker(max_chars=40).chunk(MARKDOWN).byte_start
    assert starts[0] == 0


def test_a_chunk_has_its_headings_above_it() -> None:
    chunks = Chunker(max_chars=120, mode="markdown").chunk(MARKDOWN)
    paths = {c.heading_path for c in chunks}
    assert ("Guide", "Install") in paths or ("Guide",) in paths
    for chunk in chunks:
        path = " > ".join(chunk.heading_path)
        assert chunk.embed_text == (f"{path}\n\n{chunk.text}" if path else chunk.text) or (
            "| name | value |" in chunk.embed_text
        )
        assert len(chunk.embed_text) <= 120


def test_fences_and_tables_stay_whole_when_they_fit() -> None:
    text = "Words before it. " * 6 + "\n\n```py\n" + "x = 1\n" * 10 + "```\n\n" + "After. " * 20
    for chunk in Chunker(max_chars=150, mode="markdown").chunk(text):
        assert chunk.text.count("```") in {0, 2}


def test_a_table_stays_whole_when_it_fits() -> None:
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 8
    text = ("Words before it. " * 5 + "\n\n" + table + "\n" + "After. " * 13 + "\n\n") * 20
    for stable in (True, False):
        chunks = Chunker(max_chars=170, mode="markdown", stable=stable).chunk(text)
        with_rows = [t for t in chunks.text if "| 1 | 2 |" in t]
        assert len(with_rows) == 20
        assert all(table.strip() in t for t in with_rows)


@pytest.mark.parametrize("head", ["<tr><th>id<th>text</tr>", "<thead><tr><td>id</td></tr></thead>"])
def test_a_split_table_of_html_repeats_its_header(head: str) -> None:
    rows = "".join(f"<tr><td>{i}</td><td>row <b>number</b> {i}</td></tr>" for i in range(200))
    text = f"<html><body><p>Before.</p><table border=1>{head}{rows}</table><p>After.</p></body>"
    chunks = Chunker(max_chars=600, mode="html").chunk(text)
    assert chunks.verify(text) == []
    inner = [c for c in chunks if c.text.startswith("<tr><td>")]
    assert len(inner) > 10
    assert all(c.embed_text == f"<table border=1>{head}\n{c.text}" for c in inner)
    assert all(c.text.rstrip().endswith(("</tr>", "</table>", "</body>")) for c in inner)
    assert chunks.embed_text[-1].endswith("<p>After.</p></body>")


def test_a_split_table_repeats_its_header() -> None:
    header = "| id | text |\n|----|------|\n"
    table = header + "".join(f"| {i} | row number {i} |\n" for i in range(100))
    chunks = Chunker(max_tokens=100, mode="markdown").chunk(table)
    assert len(chunks) > 5
    assert all(e.startswith(header) for e in chunks.embed_text)
    assert chunks.verify(table) == []


def test_csv_repeats_its_header_and_keeps_records() -> None:
    rows = "".join(f'{i},"line one\nline two, {i}"\n' for i in range(60))
    chunks = Chunker(max_chars=200, mode="csv").chunk("id,text\n" + rows)
    assert all(e.startswith("id,text\n") for e in chunks.embed_text)
    assert all(t.count('"') % 2 == 0 for t in chunks.text)


def test_a_long_heading_path_is_shortened_never_the_text() -> None:
    deep = "".join(f"{'#' * level} {'long title ' * 6}\n\n" for level in range(1, 7))
    text = deep + "body words here. " * 30
    chunks = Chunker(max_chars=150, mode="markdown").chunk(text)
    assert chunks.verify(text) == []
    assert any(e.startswith("… > ") for e in chunks.embed_text)


def test_overlap_is_a_maximum_inside_the_cap() -> None:
    text = "".join(f"Sentence number {i} is here. " for i in range(300))
    chunks = Chunker(max_tokens=60, overlap=20).chunk(text)
    assert chunks.verify(text) == []
    overlaps = chunks.char_end[:-1] - chunks.char_start[1:]
    assert (overlaps > 0).mean() > 0.9
    assert all(t.startswith("Sentence number") for t in chunks.text)


def test_the_body_does_not_depend_on_bytes_or_str() -> None:
    one, other = Chunker().chunk(MARKDOWN), Chunker().chunk(MARKDOWN.encode())
    assert list(one.text) == list(other.text)
    assert (one.hash64 == other.hash64).all()


@pytest.mark.parametrize(("unit", "overlap"), [("max_tokens", 0), ("max_chars", 40)])
def test_a_file_is_cut_as_its_text_is(tmp_path: Path, unit: str, overlap: int) -> None:
    """Three windows and a half, so that some chunks lie across their edges."""
    chance = random.Random(5)
    words = [f"word{i}" for i in range(3000)] + [
        "안녕하세요",
        "갔습니다.",
        "그리고",
        "end.",
        "\n\n",
    ]
    text = " ".join(chance.choices(words, k=3_400_000))
    path = tmp_path / "long.txt"
    path.write_text(text)
    chunker = capped(unit, 300, mode="text", overlap=overlap)
    whole = chunker.chunk(text)
    parts = list(chunker.chunk_file(path, batch_chunks=5000))
    assert len(parts) > 2
    assert {len(part) for part in parts[:-1]} == {5000}
    for name, column in whole.columns().items():
        if name != "token_count":
            assert (np.concatenate([p.columns()[name] for p in parts]) == column).all(), name
    assert parts[1].text[0] == whole.text[len(parts[0])]


def test_a_file_in_markdown_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(MARKDOWN)
    (part,) = Chunker(max_chars=120).chunk_file(path)
    assert list(part.embed_text) == list(Chunker(max_chars=120).chunk(MARKDOWN).embed_text)
    path.write_text("")
    assert list(Chunker().chunk_file(path)) == []
    with pytest.raises(FileRefusedError, match="No such file"):
        Chunker().chunk_file(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileRefusedError, match="not a regular file"):
        Chunker().chunk_file(tmp_path / "pipe")
    with pytest.raises(FileRefusedError, match="null"):
        Chunker().chunk_file("a\0b")


STRUCTURED = {
    "markdown": "# Top\n\n" + "## Part {}\n\nSome words, 몇 마디. More of it.\n\n"
    "| a | b |\n|---|---|\n| {} | 2 |\n\n",
    "html": "<h2>Part {}</h2><p>Some words, 몇 마디.</p><table><tr><th>a</th></tr>"
    "<tr><td>{}</td></tr></table>\n",
    "code": "def f{}(x):\n    return x\n\n\nclass C{}:\n    pass\n\n",
    "csv": '{},"two\nlines"\n{},x\n',
    "jsonl": '{{"a": {}, "b": "낱말 {}"}}\n',
    "page": "Page {}, with words and words. {}\n\f",
    "delimiter": "first;second {}|third {};",
}


@pytest.mark.parametrize("mode", STRUCTURED)
def test_a_file_of_structure_comes_in_batches_and_as_its_text(tmp_path: Path, mode: str) -> None:
    """Two windows and more of each; what a chunk embeds hangs on what stands before the window."""
    parts = ["id,text\n"] if mode == "csv" else []
    while sum(map(len, parts)) < 4_600_000:
        parts += [STRUCTURED[mode].format(i, i) for i in range(len(parts), len(parts) + 5000)]
    text = "".join(parts)
    path = tmp_path / "long"
    path.write_text(text)
    chunker = Chunker(max_chars=700, mode=mode, overlap=40)
    whole = chunker.chunk(text)
    tables = list(chunker.chunk_file(path, batch_chunks=2000))
    assert {len(table) for table in tables[:-1]} == {2000}
    for name in ("byte_start", "byte_end", "char_start", "char_end", "page", "hash64"):
        got = np.concatenate([getattr(table, name) for table in tables])
        assert (got == getattr(whole, name)).all(), name
    for table, first in zip(tables, range(0, len(whole), 2000), strict=True):
        assert table.embed_text[-1] == whole.embed_text[first + len(table) - 1]
        assert table[0].heading_path == whole[first].heading_path


def test_a_table_of_a_file_reads_what_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "".join(f"문장 {i}이다. A sentence, the {i}th. " for i in range(20_000))
    path.write_text(text)
    chunker = Chunker(max_chars=60, mode="text")
    whole = chunker.chunk(text)
    tables = list(chunker.chunk_file(path, batch_chunks=9000))
    counts = np.concatenate([table.token_count for table in tables])
    assert (counts == whole.token_count).all()
    doubled = tmp_path / "b.txt"
    doubled.write_text(text + text)
    (table,) = chunker.chunk_file(doubled, batch_chunks=1_000_000)
    assert len(table.dedup()) < len(table)
    ids = [one for part in tables for one in part.ids("d")]
    assert ids == whole.ids("d"), "no content stands twice, so batches give the ids of the whole"


def test_a_file_that_becomes_shorter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some words. " * 2_000_000)
    tables = Chunker(max_chars=1000, mode="text").chunk_file(path, batch_chunks=1000)
    first = next(tables)
    os.truncate(path, 20_000)
    with pytest.raises(FileRefusedError, match="became shorter"):
        list(tables)
    with pytest.raises(FileRefusedError, match="became shorter"):
        first.text[999]


def test_a_file_is_cut_as_its_text_is_by_a_caller_s_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "some words, and more of them. " * 3000
    path.write_text(text)
    chunker = Chunker(max_tokens=40, mode="text", tokenizer=lambda part: len(part.split()))
    read = path.read_bytes()
    from dure import _core

    reader = _core.chunk.Reader(
        chunker._native, lambda at, size: read[at : at + size], len(read), 100_000, 10_000
    )
    columns = reader.next()
    whole = chunker.chunk(text)
    assert (columns.byte_start == whole.byte_start).all()
    assert (columns.hash64 == whole.hash64).all()


def test_errors_in_a_file_name_the_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"some words. " * 800_000 + b"\xff")
    with pytest.raises(InvalidArgumentError, match="not UTF-8 at offset 9600000") as bad:
        list(Chunker(max_chars=1000, mode="text").chunk_file(path))
    assert bad.value.position == 9_600_000  # type: ignore[attr-defined]
    path.write_bytes("낱말 몇 개. ".encode() * 800_000 + "\N{FAMILY}".encode())
    with pytest.raises(InvalidArgumentError, match="at offset 6400000 counts 4") as bad:
        list(Chunker(max_bytes=3, mode="text").chunk_file(path))
    assert bad.value.position == 6_400_000  # type: ignore[attr-defined]


def test_threads_change_nothing() -> None:
    chance = random.Random(7)
    many = ["".join(chance.choices(ATOMS, k=500)) for _ in range(40)]
    chunker = Chunker(max_tokens=50)
    expected = [chunker.chunk(text).hash64.tolist() for text in many]
    for threads in (1, 2, 7):
        got = chunker.chunk_many(many, threads=threads)
        assert [c.hash64.tolist() for c in got] == expected


def test_a_chunker_is_copied_to_other_processes() -> None:
    chunker = Chunker(max_chars=60, overlap=5, mode="markdown", separators=["\n\n", "."])
    copied = pickle.loads(pickle.dumps(chunker))
    assert copied.chunk(MARKDOWN).hash64.tolist() == chunker.chunk(MARKDOWN).hash64.tolist()


async def test_achunk_many() -> None:
    chunks = await Chunker(max_tokens=50).achunk_many([MARKDOWN, ""])
    assert len(chunks[0]) > 0
    assert len(chunks[1]) == 0


@pytest.mark.parametrize("mode", MODES)
def test_lines_of_nothing_but_carriage_returns(mode: str) -> None:
    text = "\r\r\n{\r\r\n\r \r\nx\r"
    chunks = Chunker(max_chars=4, mode=mode, trim=False).chunk(text)
    assert "".join(chunks.text) == text
    assert chunks.verify(text) == []


@pytest.mark.parametrize("text", ["", " \n\t\u3000\r\n", "\n" * 1000])
def test_nothing_but_space_makes_no_chunk(text: str) -> None:
    assert len(Chunker().chunk(text)) == 0
    assert "".join(Chunker(trim=False).chunk(text).text) == text


def test_special_tokens_are_ordinary_text() -> None:
    text = "<|endoftext|>" * 20
    chunks = Chunker(max_tokens=32).chunk(text)
    assert chunks.verify(text) == []
    assert len(chunks) > 1


def test_a_caller_s_tokenizer_is_obeyed() -> None:
    calls = 0

    def words(text: str) -> int:
        nonlocal calls
        calls += 1
        return len(text.split())

    text = "one two three four five. " * 200
    chunks = Chunker(max_tokens=30, tokenizer=words).chunk(text)
    assert calls / len(chunks) < 40
    assert chunks.token_count.max() <= 30
    assert chunks.token_count.tolist() == [len(e.split()) for e in chunks.embed_text]
    assert chunks.verify(text) == []


def test_a_tokenizers_tokenizer_counts() -> None:
    """The real library; what it adds around a text (template, special tokens) is not counted."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [CLS]", special_tokens=[("[CLS]", 1)]
    )
    text = "하나 둘 셋 넷 다섯. six seven eight. " * 60
    chunks = Chunker(max_tokens=25, tokenizer=tokenizer).chunk(text)
    assert len(chunks) > 10
    assert chunks.token_count.tolist() == [len(e.split()) for e in chunks.embed_text]
    assert chunks.token_count.max() <= 25
    assert chunks.verify(text) == []
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=30, pad_id=0, pad_token="[UNK]")
    again = Chunker(max_tokens=25, tokenizer=tokenizer).chunk(text)
    assert again.to_dict() == chunks.to_dict(), "a count of what was cut off says nothing"
    assert tokenizer.truncation is not None, "the caller's own is as it was"


def test_an_encoding_counts_ours_and_tiktoken_s() -> None:
    import tiktoken
    from dure import tokens

    ours = tokens.get_encoding("cl100k_base")
    theirs = tiktoken.Encoding(
        "mine", pat_str=ours._pat_str, mergeable_ranks=ours._mergeable_ranks, special_tokens={}
    )
    by_name = Chunker(max_tokens=40, tokenizer="cl100k_base").chunk(MARKDOWN)
    assert Chunker(max_tokens=40, tokenizer=ours).chunk(MARKDOWN).to_dict() == by_name.to_dict()
    made = Chunker(max_tokens=40, tokenizer=theirs).chunk(MARKDOWN)
    assert made.token_count.tolist() == [len(ours.encode_ordinary(e)) for e in made.embed_text]
    assert made.token_count.max() <= 40
    assert made.verify(MARKDOWN) == []


def test_an_error_in_the_tokenizer_comes_through() -> None:
    def broken(_: str) -> int:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Chunker(max_tokens=30, tokenizer=broken).chunk("some text")
    with pytest.raises(ZeroDivisionError, match="mine"):
        Chunker(max_tokens=30, tokenizer=broken).chunk_many(["some text", "more"])

    def interrupted(_: str) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Chunker(max_tokens=30, tokenizer=interrupted).chunk_many(["some text"])


@pytest.mark.parametrize("wrong", [None, "3", 1.5, -1, 2**70, [1]])
def test_a_tokenizer_that_counts_no_number_is_refused(wrong: object) -> None:
    def lies(_: str) -> Any:  # noqa: ANN401
        return wrong

    with pytest.raises(InvalidArgumentError, match="a number of tokens is an int from 0"):
        Chunker(max_tokens=30, tokenizer=lies).chunk("some text")


def test_threads_that_count_tokens_at_once_see_one_column() -> None:
    text = "A sentence of some words. " * 20_000
    chunks = Chunker(max_chars=100).chunk(text)
    barrier = threading.Barrier(4)

    def look(_: int) -> tuple[int, int]:
        barrier.wait()
        column = chunks.token_count
        return int(column.sum()), column.__array_interface__["data"][0]

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(look, range(4)))) == 1


def test_one_text_in_the_place_of_many_is_refused() -> None:
    with pytest.raises(TypeError, match="texts must be a list of texts, not str"):
        Chunker().chunk_many("hello")
    with pytest.raises(TypeError, match="docs must be"):
        dure.split_documents("hello")
    with pytest.raises(TypeError, match="separators must be"):
        Chunker(separators="--")


def test_separators_rule() -> None:
    text = ("a--b--" * 6 + "##") * 10
    chunks = Chunker(max_chars=50, separators=["##", "--"], mode="text").chunk(text)
    assert all(t.endswith(("--", "##")) for t in chunks.text)
    assert any(t.endswith("##") for t in chunks.text)


@pytest.mark.parametrize("mode", ["auto", "markdown", "html", "code"])
def test_separators_take_the_place_of_structure(mode: str) -> None:
    """Of all but headings: no paragraph or block parts what no separator ends."""
    text = "# Title\n\n" + "one, two\n\nthree.##\n```\nx\n```\n<p>four</p>##" * 20
    chunks = Chunker(max_chars=90, separators=["##"], mode=mode, keep=()).chunk(text)
    assert all(t.endswith("##") for t in chunks.text[:-1])


def test_delimiters_rule() -> None:
    text = "first;second;third|" * 50
    chunks = Chunker(max_bytes=64, mode="delimiter", delimiters=";|").chunk(text)
    assert all(t.endswith((";", "|")) for t in chunks.text)


def test_pages_are_kept() -> None:
    pages = ["Page one has words. " * 20, "Page two. " * 30, "Three."]
    starts = [0, len(pages[0]), len(pages[0]) + len(pages[1])]
    document = Document("".join(pages), "doc", pages=starts, metadata={"source": "x.pdf"})
    chunks = Chunker(max_chars=150, mode="page").chunk(document)
    assert set(chunks.page.tolist()) == {1, 2, 3}
    for chunk in chunks:
        assert chunk.metadata == {"source": "x.pdf"}
        assert starts[chunk.page - 1] <= chunk.char_start
        assert chunk.page == 3 or chunk.char_end <= starts[chunk.page]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_chars": -1}, "max_chars"),
        ({"max_tokens": 10, "max_chars": 10}, "max_tokens"),
        ({"max_tokens": 10, "overlap": 10}, "overlap"),
        ({"overlap": -1}, "overlap"),
        ({"mode": "nope"}, "mode"),
        ({"sentence": "nope"}, "sentence"),
        ({"keep": ("list",)}, "keep"),
        ({"tokenizer": "nope"}, None),
        ({"tokenizer": 7}, "tokenizer"),
        ({"delimiters": ["a", ""]}, "separators"),
    ],
)
def test_bad_options_say_which(options: dict[str, Any], argument: str | None) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Chunker(**options)
    if argument:
        assert caught.value.argument == argument


def test_a_character_over_the_cap_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidArgumentError, match=r"offset 3 counts 4, more than the cap of 3"):
        Chunker(max_bytes=3).chunk("abc🎈")


def test_a_grapheme_over_the_cap_is_cut_at_code_points() -> None:
    text = "👨‍👩‍👧‍👦" * 3
    chunks = Chunker(max_chars=3, trim=False).chunk(text)
    assert "".join(chunks.text) == text
    assert chunks.verify(text) == []


def test_bad_text_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="offset 2"):
        Chunker().chunk(b"ab\xff")
    with pytest.raises(InvalidArgumentError, match="lone surrogate at offset 1"):
        Chunker().chunk("a\ud800")
    with pytest.raises(InvalidArgumentError, match="not int"):
        Chunker().chunk(7)  # type: ignore[arg-type]


def test_verify_finds_what_is_broken() -> None:
    text = "One sentence. Another sentence. " * 30
    chunks = Chunker(max_chars=100).chunk(text)
    assert chunks.verify(text) == []
    assert chunks.verify("X" + text[1:]) != []
    assert chunks.verify(text + "more") != []
    assert chunks.verify(text[:-40]) != []
    strict = Chunks(chunks._columns, text, Chunker(max_chars=50))
    assert any("over the cap" in rule for rule in strict.verify(text))


@pytest.mark.parametrize("pages", [[3, 1], [-1], [0, 99], [0, 0, -2]])
def test_pages_that_cannot_be_are_refused(pages: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match="pages have to ascend"):
        Document("some text", pages=pages)
    with pytest.raises(TypeError, match="text must be str"):
        Document(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("old", [[-1], [2**64], ["x"]])
def test_what_is_no_hash_is_refused(old: list[Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="integers of 64 bits"):
        Chunker().chunk("some text").diff(old)


def test_diff_names_what_changed() -> None:
    text = "".join(f"Paragraph {i} speaks of thing {i * 7}.\n\n" for i in range(200))
    chunker = Chunker(max_chars=300)
    old, new = chunker.chunk(text), chunker.chunk(text.replace("Paragraph 100 ", "Section 100 "))
    diff = new.diff(old.hash64)
    assert 1 <= len(diff.added) <= 10
    assert len(diff.kept) == len(new) - len(diff.added)
    assert len(diff.removed) >= 1


def test_dedup_drops_equal_and_alike() -> None:
    chance = random.Random(3)
    words = [f"word{chance.randrange(5000)}" for _ in range(60)]
    first = " ".join(words)
    alike = " ".join([*words[:-1], "other"])
    different = " ".join(f"term{chance.randrange(5000)}" for _ in range(60))
    text = "\n\n".join([first, first, alike, different])
    chunks = Chunker(max_chars=len(first) + 10, mode="text", stable=False).chunk(text)
    assert len(chunks) == 4
    assert len(chunks.dedup()) == 3
    assert list(chunks.dedup(minhash=0.8).text) == [first, different]
    with pytest.raises(InvalidArgumentError):
        chunks.dedup(minhash=1.5)


def test_ids_follow_the_rule_and_count_repeats() -> None:
    from dure._core.base import sha256

    text = "same\n\nsame\n\nother"
    chunks = Chunker(max_chars=5, mode="text").chunk(text)
    document = "문서"

    def by_hand(content: str, n: int) -> str:
        name = document.encode()
        key = len(name).to_bytes(8, "little") + name + sha256(content.encode())
        return sha256(key + n.to_bytes(8, "little"))[:16].hex()

    expected = [by_hand("same", 0), by_hand("same", 1), by_hand("other", 0)]
    assert chunks.ids(document) == expected


def test_document_id_is_that_of_its_text() -> None:
    from dure._core.base import sha256

    assert Document("text").id == sha256(b"text")[:16].hex()
    assert Document("text", "mine").id == "mine"


def test_split_documents_copies_metadata() -> None:
    docs: list[str | Document] = ["plain text", Document("more text", metadata={"a": 1})]
    first, second = dure.split_documents(docs)
    assert first.metadata == {}
    assert second.metadata == {"a": 1}
    second.metadata["a"] = 2
    assert isinstance(docs[1], Document)
    assert docs[1].metadata == {"a": 1}


def test_an_inserted_sentence_moves_few_chunks() -> None:
    chance = random.Random(11)
    words = [f"w{i}" for i in range(400)]
    kept = [" ".join(chance.choices(words, k=chance.randrange(5, 25))) + ". " for _ in range(1200)]
    for i in range(7, len(kept), 9):
        kept[i] += "\n\n"
    chunker = Chunker(max_chars=800)
    old = set(chunker.chunk("".join(kept)).hash64.tolist())
    changed = []
    for _ in range(150):
        at = chance.randrange(len(kept))
        edited = [*kept[:at], "An inserted sentence stands here. ", *kept[at:]]
        changed.append(len(set(chunker.chunk("".join(edited)).hash64.tolist()) - old))
    assert sum(changed) / len(changed) <= 2.2
    assert max(changed) <= 10


ADVERSARIAL: dict[str, Callable[[int], str]] = {
    "one line": lambda n: "word " * (n // 5),
    "newlines": lambda n: "\n" * n,
    "spaces": lambda n: " " * n,
    "no spaces": lambda n: "a" * n,
    "hangul": lambda n: "가" * (n // 3),
    "digits": lambda n: "7" * n,
    "unclosed fence": lambda n: "```\n" + "x = 1\n" * (n // 6),
    "nested quotes": lambda n: "> " * (n // 2),
    "open brackets": lambda n: "(다 " * (n // 5),
    "giant table": lambda n: "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * (n // 10),
    "marks": lambda n: "e" + "\u0301" * (n // 2),
    "flags": lambda n: "🇰" * (n // 4),
    "full stops": lambda n: "." * n,
    "headings": lambda n: "## t\n" * (n // 5),
    "one long title": lambda n: "# " + "title " * (n // 12) + "\n" + "## t\nx\n" * (n // 14),
    "open tags": lambda n: "<html>" + "<h1</h<p<p<p" * (n // 12),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("unit", ["max_tokens", "max_chars"])
def test_hostile_inputs_take_linear_time(name: str, unit: str) -> None:
    """Ten times the text takes about ten times as long; quadratic would take a hundred."""
    make = ADVERSARIAL[name]
    chunker = capped(unit, 500)
    chunker.chunk(make(1000))

    def seconds(size: int) -> float:
        text = make(size)
        start = time.thread_time()
        chunker.chunk(text)
        return time.thread_time() - start

    small = min(seconds(100_000) for _ in range(3))
    large = seconds(1_000_000)
    assert large < 30 * small + 0.25, f"{small=} {large=}"
    chunks = chunker.chunk(make(30_000))
    assert chunks.verify(make(30_000)) == []


def test_sentences_cover_the_text() -> None:
    text = "Dr. Kim came. 그는 갔다. 나는 잤어요 그리고 끝.\n\n새 문단 👍! OK?"
    spans = sentences(text)
    assert spans.dtype == np.int64
    assert spans[0, 0] == 0
    assert spans[-1, 1] == len(text)
    assert (spans[1:, 0] == spans[:-1, 1]).all()
    assert "나는 잤어요 " in [text[a:b] for a, b in spans]
    assert sentences("").shape == (0, 2)
    with pytest.raises(InvalidArgumentError):
        sentences(text, rules="nope")


def test_the_module_stays_light() -> None:
    import subprocess

    code = "import sys, dure.chunks; print('numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
