"""Chunking beside its peers, a line for each goal: speed, quality, steadiness, hostile texts.

Peers cut at other places, so answers are not equal; what is checked is that every contender's
pieces cover the text's letters and that ours hold their cap and offsets (`Chunks.verify`).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpora import FOLDER, corpus, fresh, markdown
from benchmarks.goals import Goals
from benchmarks.harness import Contender, Table, named, side_by_side, write
from benchmarks.peers import chunk_quality
from benchmarks.peers.tokenize_area import fill_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKENS, CHARS = 512, 1000
ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "build" / "release" / "benchmarks" / "cpp" / "dure_chunk_bench"
TOKEN_GOALS = {"langchain": 20, "semchunk": 20, "semantic": 25, "chonkie": 10, "llama": 75}


def texts(english: float, korean: float) -> Iterator[tuple[str, str]]:
    """Both languages, with line feeds and without."""
    for language, megabytes in (("english", english), ("korean", korean)):
        text = corpus(language, megabytes)
        yield language, text
        yield f"{language}, no newlines", text.replace("\n", " ")


def cap_of(unit: str, cap: int) -> dict[str, Any]:
    return {unit: cap}


def covers(text: str) -> Callable[[Any], bool]:
    """Whether the pieces hold at least the letters of the text, overlap aside."""
    letters = sum(not c.isspace() for c in text)

    def check(pieces: Any) -> bool:  # noqa: ANN401
        return sum(not c.isspace() for piece in pieces for c in piece) >= letters * 0.99

    return check


def ours(text: str, label: str = "", *, count: bool = False, **options: Any) -> Contender:  # noqa: ANN401
    import dure

    chunker = dure.Chunker(**options)
    check = covers(text)

    def run(given: str) -> Any:  # noqa: ANN401
        chunks = chunker.chunk(given)
        if count:
            _ = chunks.token_count
        return chunks

    def answer(chunks: Any) -> bool:  # noqa: ANN401
        assert chunks.verify(text) == []
        return check(list(chunks.text))

    return Contender(f"dure{label}", run, answer)


def rate(table: Table, name: str) -> float:
    return next(row.rate for row in table.rows if row.contender.startswith(name))


def ratio(table: Table, name: str) -> float:
    return next(row.ratio for row in table.rows if row.contender.startswith(name))


def compare(title: str, contenders: list[Contender], text: str, note: str) -> Table:
    size = len(text.encode()) / 1e6
    return side_by_side(
        title,
        contenders,
        fresh=lambda: fresh(text),
        work=size,
        unit="MB/s",
        note=f"{size:.1f} MB, one thread, new str each round; {note}",
    )


def token_rows(text: str) -> list[Contender]:
    import chonkie
    import semchunk
    import tiktoken
    from dure import tokens
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from llama_index.core.node_parser import SentenceSplitter
    from semantic_text_splitter import TextSplitter

    encoding, own = tiktoken.get_encoding("o200k_base"), tokens.get_encoding("o200k_base")
    langchain = RecursiveCharacterTextSplitter.from_tiktoken_encoder(
        encoding_name="o200k_base", chunk_size=TOKENS, chunk_overlap=0
    )

    def sem(given: str) -> Any:  # noqa: ANN401  # a new counter each time: it remembers all it counted
        return semchunk.chunkerify(lambda piece: len(encoding.encode_ordinary(piece)), TOKENS)(
            given
        )

    rust = TextSplitter.from_tiktoken_model("gpt-4o", TOKENS)
    recursive = chonkie.RecursiveChunker(tokenizer=encoding, chunk_size=TOKENS)
    llama = SentenceSplitter(chunk_size=TOKENS, chunk_overlap=0, tokenizer=encoding.encode_ordinary)
    check = covers(text)
    return [
        ours(text, max_tokens=TOKENS),
        Contender("one pass of our encoder", own.count, None),
        Contender(named("langchain-text-splitters"), langchain.split_text, check),
        Contender(named("semchunk"), sem, check),
        Contender(named("semantic-text-splitter"), rust.chunks, check),
        Contender(
            named("chonkie", "recursive"), recursive.chunk, lambda cs: check([c.text for c in cs])
        ),
        Contender(named("llama-index-core"), llama.split_text, check),
    ]


def token_tables(goals: Goals) -> Iterator[Table]:
    for language, text in texts(1.5, 1.5):
        note = "answers: all covered"
        table = compare(f"{TOKENS} tokens (o200k), {language}", token_rows(text), text, note)
        cost = rate(table, "one pass") / rate(table, "dure")
        goals.at_most(f"{TOKENS} tokens, {language}: times one pass", cost, 1.25)
        for name, limit in TOKEN_GOALS.items():
            goals.at_least(f"{TOKENS} tokens, {language}: times {name}", ratio(table, name), limit)
        yield table


def char_rows(text: str) -> list[Contender]:
    import chonkie
    import semchunk
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from semantic_text_splitter import TextSplitter

    langchain = RecursiveCharacterTextSplitter(
        chunk_size=CHARS, chunk_overlap=0, add_start_index=True
    )
    sem = semchunk.chunkerify(len, CHARS, memoize=False)
    rust = TextSplitter(CHARS)
    recursive = chonkie.RecursiveChunker(tokenizer="character", chunk_size=CHARS)
    check = covers(text)
    return [
        ours(text, max_chars=CHARS),
        ours(text, " with token_count", count=True, max_chars=CHARS),
        Contender(
            named("langchain-text-splitters", "start_index"),
            lambda given: langchain.create_documents([given]),
            lambda docs: check([doc.page_content for doc in docs]),
        ),
        Contender(
            named("semchunk", "offsets"),
            lambda given: sem(given, offsets=True),
            lambda pair: check(pair[0]),
        ),
        Contender(
            named("semantic-text-splitter"),
            rust.chunk_indices,
            lambda pairs: check([piece for _, piece in pairs]),
        ),
        Contender(
            named("chonkie", "recursive"), recursive.chunk, lambda cs: check([c.text for c in cs])
        ),
    ]


def char_tables(goals: Goals) -> Iterator[Table]:
    for language, text in texts(4.0, 3.7):
        table = compare(f"{CHARS} characters, {language}", char_rows(text), text, "all columns")
        goals.at_least(f"{CHARS} characters, {language}: MB/s", rate(table, "dure"), 300)
        peers = (row.ratio for row in table.rows if not row.contender.startswith("dure"))
        goals.at_least(f"{CHARS} characters, {language}: times the best peer", min(peers), 2)
        limit = 20 if "no newlines" in language else 1.8 if "korean" in language else 5
        times = ratio(table, "langchain")
        goals.at_least(f"{CHARS} characters, {language}: times langchain", times, limit)
        yield table


def markdown_tables(goals: Goals) -> Iterator[Table]:
    from semantic_text_splitter import MarkdownSplitter

    for language in ("english", "korean"):
        text = markdown(language, 2.0)
        rust = MarkdownSplitter(CHARS)
        rows = [
            ours(text, max_chars=CHARS, mode="markdown"),
            Contender(named("semantic-text-splitter"), rust.chunks, covers(text)),
        ]
        note = "heading path embedded"
        table = compare(f"Markdown, {CHARS} characters, {language}", rows, text, note)
        goals.at_least(f"Markdown, {language}: MB/s", rate(table, "dure"), 200)
        goals.at_least(f"Markdown, {language}: times text-splitter", ratio(table, "semantic"), 6)
        yield table


def delimiter_tables(goals: Goals) -> Iterator[Table]:
    import chonkie_core  # type: ignore[import-not-found, unused-ignore]
    import dure

    size = 4096
    for language, megabytes in (("english", 8.0), ("korean", 3.7)):
        text = corpus(language, megabytes)
        chunker = dure.Chunker(max_bytes=size, mode="delimiter", delimiters="\n.?!", trim=False)

        def joined(chunks: Any, text: str = text) -> bool:  # noqa: ANN401
            return "".join(chunks.text) == text

        def decodes(spans: Any, text: str = text) -> bool:  # noqa: ANN401
            raw = text.encode()
            return b"".join(raw[a:b] for a, b in spans) == raw

        table = side_by_side(
            f"delimiter, {size} bytes, {language}",
            [
                Contender("dure", chunker.chunk, joined),
                Contender(
                    named("chonkie-core"),
                    lambda given: chonkie_core.chunk_offsets(given, size=size, delimiters="\n.?!"),
                    decodes,
                ),
            ],
            fresh=lambda text=text: fresh(text),  # type: ignore[misc]
            work=len(text.encode()) / size / 1e6,
            unit="M chunks/s",
            note="offsets; hashes and code points when asked for",
        )
        goals.at_least(f"delimiter, {language}: times chonkie-core", ratio(table, "chonkie"), 1)
        yield table


def thread_tables(goals: Goals) -> Iterator[Table]:
    import dure

    text = corpus("english", 8.0)
    parts = [text[i : i + 50_000] for i in range(0, len(text), 50_000)]
    for unit, cap in (("max_tokens", TOKENS), ("max_chars", CHARS)):
        table = thread_table(unit, dure.Chunker(**cap_of(unit, cap)), parts)
        goals.at_least(f"chunk_many, {unit}: 2 threads times 1", ratio(table, "1 thread"), 1.8)
        yield table


def thread_table(unit: str, chunker: Any, parts: list[str]) -> Table:  # noqa: ANN401
    return side_by_side(
        f"chunk_many on threads, {unit}",
        [
            Contender("2 threads", lambda given: chunker.chunk_many(given, threads=2), len),
            Contender("1 thread", lambda given: chunker.chunk_many(given, threads=1), len),
            Contender("2 processes, half each", lambda given: halves(chunker, given), len),
        ],
        fresh=lambda: [fresh(part) for part in parts],
        work=sum(len(part.encode()) for part in parts) / 1e6,
        unit="MB/s",
        note="the processes show what the hardware gives",
    )


def halves(chunker: Any, parts: list[str]) -> list[int]:  # noqa: ANN401
    """Work on one half here and on the other in a child."""
    middle = len(parts) // 2
    child = os.fork()
    if child == 0:
        chunker.chunk_many(parts[:middle], threads=1)
        os._exit(0)
    chunker.chunk_many(parts[middle:], threads=1)
    os.waitpid(child, 0)
    return [0] * len(parts)


def native_rows(language: str) -> dict[str, dict[str, Any]]:
    """Rows of the native benchmark: sentences beside ICU, both in C++."""
    corpus(language, 1)
    command = [str(NATIVE), "--json", "--only=sentences", str(FOLDER / f"{language}.txt")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["row"]: row for row in rows if not row["text"].endswith("flat")}


def sentence_goals(goals: Goals) -> None:
    for language in ("english", "korean", "code"):
        rows = native_rows(language)
        own = rows["sentences UAX #29"]
        goals.at_least(f"sentences, UAX #29, {language}: MB/s", own["median"], 450)
        icu = next((row for name, row in rows.items() if " ICU " in name), None)
        if icu is not None:
            times = own["median"] / icu["median"]
            goals.at_least(f"sentences, {language}: times {icu['row'][10:]}", times, 1.5)
            goals.at_most(
                f"sentences, {language}: found otherwise", abs(own["found"] - icu["found"]), 0
            )
        if language == "korean":
            speed = rows["sentences Korean"]["median"]
            goals.at_least("Korean sentences: MB/s", speed, 100)


HOSTILE: dict[str, Callable[[int], str]] = {
    "one line": lambda n: "word " * (n // 5),
    "only newlines": lambda n: "\n" * n,
    "unclosed fence": lambda n: "```\n" + "x = 1\n" * (n // 6),
    "nested quotes": lambda n: ("> " * 100_000 + "\n") * (n // 200_000),
    "no spaces": lambda n: "a" * n,
    "no spaces, Hangul": lambda n: "가" * (n // 3),
    "one giant table": lambda n: "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * (n // 10),
}


def cpu_seconds(work: Callable[[str], object], text: str, rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        given = fresh(text)
        start = time.thread_time()
        work(given)
        best = min(best, time.thread_time() - start)
    return best


def hostile_goals(goals: Goals) -> None:
    """Cost of a byte beside the normal one, and of ten times the text."""
    import dure
    from dure import tokens

    encoder = tokens.get_encoding("o200k_base")
    normal = corpus("english", 4.0)
    for unit, cap in (("max_chars", CHARS), ("max_bytes", CHARS), ("max_tokens", TOKENS)):
        chunker = dure.Chunker(**cap_of(unit, cap))
        usual = cpu_seconds(chunker.chunk, normal, 3) / len(normal.encode())
        for name, make in HOSTILE.items():
            large, small = make(10_000_000), make(1_000_000)
            seconds = cpu_seconds(chunker.chunk, large, 2)
            tenth = cpu_seconds(chunker.chunk, small, 4)
            growth = seconds / tenth * len(small) / len(large)
            goals.at_most(f"{name}, {unit}: 10 MB, a byte, times 1 MB", growth, 1.1)
            if unit == "max_tokens":
                times = seconds / cpu_seconds(encoder.count, large, 2)
                goals.at_most(f"{name}, {unit}: times one pass", times, 1.5)
            else:
                times = seconds / len(large.encode()) / usual
                goals.at_most(f"{name}, {unit}: a byte, times the usual", times, 3)


def quality_goals(goals: Goals) -> None:
    folder = chunk_quality.data("chunk_eval")
    if folder is None:
        print("the folder shared/data/chunk_eval is not beside the checkout: no rows of quality")
    else:
        chunk_quality.boundaries(goals, folder)
        chunk_quality.edits(goals, folder, insertions=2000)
    folder = chunk_quality.data("ko_sentences")
    if folder is not None:
        chunk_quality.korean(goals, folder)


def run() -> list[Table]:
    tables: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["TIKTOKEN_CACHE_DIR"] = name
        fill_cache(Path(name))
        for section in (
            token_tables,
            char_tables,
            markdown_tables,
            delimiter_tables,
            thread_tables,
            sentence_goals,
            hostile_goals,
            quality_goals,
        ):
            start = time.perf_counter()
            goals = Goals(f"Goals of {section.__name__.replace('_', ' ')}")
            tables += section(goals) or ()
            goals.show()
            print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)
            tables.append(goals)
            write("chunk", tables)
    return tables
