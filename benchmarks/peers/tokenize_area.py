"""Encode and count, beside tiktoken, quicktok and gigatoken: same text, same ids.

The goals' table: lists, counts and arrays on unseen and on seen text, one call on a short text,
two threads, load and memory in fresh processes, and what is made to be slow.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpora import corpus, fresh
from benchmarks.harness import Contender, Row, Table, named, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

ENCODINGS = ("o200k_base", "cl100k_base")
LANGUAGES = ("english", "korean", "code")
MEGABYTES = 8.0
SMALL_CALLS = 2000
FRESH_PROCESSES = 9
# What a fresh process does to load each engine, and then to fill its caches.
LOADERS = {
    "dure": "from dure import tokens; e = tokens.get_encoding(NAME); e.count('hello world')",
    "tiktoken": (
        "import tiktoken; e = tiktoken.get_encoding(NAME); e.encode_ordinary('hello world')"
    ),
    "quicktok": "import quicktok; e = quicktok.get_encoding(NAME); e.count('hello world')",
    "gigatoken": (
        "import gigatoken; e = gigatoken.Tokenizer.from_tiktoken(FILE).as_tiktoken();"
        " e.encode_ordinary('hello world')"
    ),
}
CHILD = """
import json, resource, sys, time
NAME, FILE, TEXT = sys.argv[1:]
start = time.perf_counter()
{load}
seconds = time.perf_counter() - start
if TEXT:
    e.encode_ordinary(open(TEXT, encoding="utf-8").read())
for line in open("/proc/self/status"):
    if line.startswith("VmRSS"):
        kilobytes = int(line.split()[1])
print(json.dumps([seconds, kilobytes]))
"""


def fill_cache(folder: Path) -> None:
    """Write our embedded vocabularies where tiktoken looks for its downloads."""
    import tiktoken_ext.openai_public as public
    from dure import tokens

    source = Path(public.__file__).read_text()
    for name in ENCODINGS:
        start = source.index(f"/{name}.tiktoken")
        url = source[source.rindex('"', 0, start) + 1 : source.index('"', start)]
        ranks: dict[bytes, int] = tokens.get_encoding(name)._mergeable_ranks
        lines = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
        (folder / hashlib.sha1(url.encode()).hexdigest()).write_bytes(lines)
        (folder / f"{name}.tiktoken").write_bytes(lines)


def integers(result: Any) -> list[int]:  # noqa: ANN401
    return [int(token) for token in result]


class Engines:
    """The four engines of one encoding."""

    make_gigatoken: Callable[[], Any]

    def __init__(self, name: str, folder: Path) -> None:
        import gigatoken
        import quicktok
        import tiktoken
        from dure import tokens

        self.ours = tokens.get_encoding(name)
        self.tiktoken = tiktoken.get_encoding(name)
        self.quicktok = quicktok.get_encoding(name)
        make = partial(gigatoken.Tokenizer.from_tiktoken, folder / f"{name}.tiktoken")
        self.make_gigatoken = make  # its cache cannot be wiped
        self.gigatoken = make().as_tiktoken()
        self.gigatoken_arrays = make()

    def lists(self) -> list[Contender]:
        return [
            Contender("dure", self.ours.encode_ordinary, integers),
            Contender(named("tiktoken"), self.tiktoken.encode_ordinary, integers),
            Contender(named("quicktok-v1"), self.quicktok.encode_ordinary, integers),
            Contender(named("gigatoken", "as_tiktoken"), self.gigatoken.encode_ordinary, integers),
        ]

    def counts(self) -> list[Contender]:
        return [
            Contender("dure", self.ours.count),
            Contender(
                named("tiktoken", "len(encode)"), lambda t: len(self.tiktoken.encode_ordinary(t))
            ),
            Contender(named("quicktok-v1"), self.quicktok.count),
        ]

    def arrays(self) -> list[Contender]:
        return [
            Contender("dure", partial(self.ours.encode_to_numpy, disallowed_special=()), integers),
            Contender(named("tiktoken", "list"), self.tiktoken.encode_ordinary, integers),
            Contender(
                named("gigatoken", "numpy, seen"),
                self.gigatoken_arrays.encode,
                integers,
            ),
        ]


def unseen_by_gigatoken(name: str, language: str, engines: Engines) -> Table:
    """Array of a text that neither engine has seen: each run of theirs has a new tokenizer."""
    text = corpus(language, MEGABYTES)
    size = len(text.encode()) / 1e6

    def pair() -> tuple[str, Any]:
        tokenizer = engines.make_gigatoken()
        tokenizer.encode("hello world")
        return fresh(text), tokenizer

    return side_by_side(
        f"array of unseen text, {name}, {language}",
        [
            Contender(
                "dure",
                lambda given: engines.ours.encode_to_numpy(given[0], disallowed_special=()),
                integers,
            ),
            Contender(
                named("gigatoken", "numpy, unseen"),
                lambda given: given[1].encode(given[0]),
                integers,
            ),
        ],
        fresh=pair,
        work=size,
        unit="MB/s",
        rounds=3,
        note=f"{size:.1f} MB; ours keeps its 6 MB cache",
    )


def throughput(name: str, engines: Engines) -> list[Table]:
    tables = []
    kinds = {
        "encode to list": engines.lists(),
        "count": engines.counts(),
        "array": engines.arrays(),
    }
    for language in LANGUAGES:
        text = corpus(language, MEGABYTES)
        size = len(text.encode()) / 1e6
        for what, rows in kinds.items():
            tables.append(
                side_by_side(
                    f"{what}, {name}, {language}",
                    rows,
                    fresh=partial(fresh, text),
                    work=size,
                    unit="MB/s",
                    note=f"{size:.1f} MB, one thread, new str each round",
                )
            )
        tables.append(unseen_by_gigatoken(name, language, engines))
    return tables


def small_calls(name: str, engines: Engines) -> list[Table]:
    text = corpus("english", MEGABYTES)
    tables = []
    for size in (100, 8000):
        parts = [text[i * size : (i + 1) * size] for i in range(400)]
        calls = SMALL_CALLS if size == 100 else 400

        def work(count: Callable[[str], int], parts: list[str] = parts, calls: int = calls) -> int:
            return sum(count(parts[i % len(parts)]) for i in range(calls))

        tables.append(
            side_by_side(
                f"count of {size} characters, {name}",
                [
                    Contender("dure", lambda _: work(engines.ours.count)),
                    Contender(
                        named("tiktoken", "len(encode)"),
                        lambda _: work(lambda t: len(engines.tiktoken.encode_ordinary(t))),
                    ),
                    Contender(named("quicktok-v1"), lambda _: work(engines.quicktok.count)),
                ],
                fresh=lambda: None,
                work=calls / 1e6,
                unit="M calls/s",
                note="English, from Python, one call after another",
            )
        )
    return tables


def two_threads(name: str, engines: Engines) -> list[Table]:
    tables = []
    for language in ("english", "korean"):
        text = corpus(language, MEGABYTES)
        size = len(text.encode()) / 1e6

        def parts(text: str = text) -> list[str]:
            new = fresh(text)
            return [new[i : i + 20_000] for i in range(0, len(new), 20_000)]

        def counts(texts: list[str], threads: int) -> object:
            return engines.ours.count_batch(texts, threads=threads)

        def lists(texts: list[str], threads: int) -> object:
            return engines.ours.encode_ordinary_batch(texts, num_threads=threads)

        for what, run in {"count_batch": counts, "lists": lists}.items():
            tables.append(
                side_by_side(
                    f"{what} on two threads, {name}, {language}",
                    [
                        Contender("dure, 2 threads", partial(run, threads=2), None),
                        Contender("dure, 1 thread", partial(run, threads=1), None),
                    ],
                    fresh=parts,
                    work=size,
                    unit="MB/s",
                )
            )
    return tables


def in_fresh_process(engine: str, name: str, folder: Path, text: str) -> tuple[float, float]:
    code = CHILD.format(load=LOADERS[engine])
    arguments = [name, str(folder / f"{name}.tiktoken"), text]
    out = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    seconds, kilobytes = json.loads(out.stdout)
    return seconds, kilobytes


def fresh_processes(name: str, folder: Path) -> list[Table]:
    sample = folder / "sample.txt"
    sample.write_text("".join(corpus(language, 3.0) for language in LANGUAGES))
    load = Table(f"load to the first count, {name}", "ms", "median of fresh processes")
    memory = Table(f"memory after a list of 9 MB of text, {name}", "MB", "whole process")
    times: dict[str, list[float]] = {engine: [] for engine in LOADERS}
    for _ in range(FRESH_PROCESSES):
        for engine in LOADERS:
            times[engine].append(in_fresh_process(engine, name, folder, "")[0] * 1e3)
    resident = {e: in_fresh_process(e, name, folder, str(sample))[1] / 1e3 for e in LOADERS}
    for table, figures in (
        (load, {engine: sorted(all_)[len(all_) // 2] for engine, all_ in times.items()}),
        (memory, resident),
    ):
        for engine, figure in figures.items():
            ratio = figure / figures["dure"]
            table.rows.append(Row(engine, figure, figure, figure, figure, ratio, None))
        table.show()
    return [load, memory]


def adversarial(name: str, engines: Engines) -> Table:
    """A megabyte and ten of what regular expressions and heaps find hard; ours alone."""
    chance = random.Random(7)
    letters = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=10_000_000))
    texts = {
        "one letter": "x" * 10_000_000,
        "spaces": " " * 10_000_000,
        "combining marks": "\u0301" * 5_000_000,
        "random a-z": letters,
    }
    table = Table(f"made to be slow, {name}", "ms", "1 MB; then how much longer 10 MB take")
    for what, text in texts.items():
        one = text[: len(text) // 10]
        figures = []
        for given in (one, text):
            rounds = []
            for _ in range(5):
                start = time.perf_counter()
                engines.ours.count(given)
                rounds.append((time.perf_counter() - start) * 1e3)
            figures.append(sorted(rounds))
        small, large = (all_[len(all_) // 2] for all_ in figures)
        table.rows.append(
            Row(what, small, figures[0][0], figures[0][-1], small, large / small, None)
        )
    table.show()
    return table


def run() -> list[Table]:
    tables = []
    only = os.environ.get("DURE_BENCH_ENCODING")
    parts = os.environ.get("DURE_BENCH_PARTS", "throughput small threads fresh adversarial").split()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["TIKTOKEN_CACHE_DIR"] = temporary
        fill_cache(folder)
        for name in (only,) if only else ENCODINGS:
            engines = Engines(name, folder)
            if "throughput" in parts:
                tables += throughput(name, engines)
            if "small" in parts:
                tables += small_calls(name, engines)
            if "threads" in parts:
                tables += two_threads(name, engines)
            if "fresh" in parts:
                tables += fresh_processes(name, folder)
            if "adversarial" in parts:
                tables.append(adversarial(name, engines))
    return tables
