"""Encode and count, beside tiktoken, quicktok and gigatoken: same text, same ids.

The goals' table: lists, counts and arrays on unseen and on seen text, one call on a short text,
two threads, load and memory in fresh processes, what is made to be slow, a gigabyte, and the core
without Python. Each figure that has a goal stands beside it at the end.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpora import corpus, fresh
from benchmarks.goals import Goals
from benchmarks.harness import Contender, Row, Table, named, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

ENCODINGS = ("o200k_base", "cl100k_base")
LANGUAGES = ("english", "korean", "code")
MEGABYTES = 8.0
SMALL_CALLS = 2000
FRESH_PROCESSES = 9
ROOT = Path(__file__).parents[2]
NATIVE = Path(sys.executable).with_name("dure_tokenize_bench")  # scripts/bench builds it
GOALS = Goals("Goals of the tokenizer, each for its encoding and language")
TIKTOKEN_LISTS = {"english": 8, "korean": 7, "code": 8}
TIKTOKEN_COUNTS = {"english": 10, "korean": 8, "code": 10}
NATIVE_RATES = {"english": 320, "korean": 200, "code": 320}
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
ARRAYS = {
    "dure": "array = lambda text: e.encode_to_numpy(text, disallowed_special=())",
    "gigatoken": "array = gigatoken.Tokenizer.from_tiktoken(FILE).encode",
}
STATUS = """
import json, sys, time
NAME, FILE, TEXT = sys.argv[1:]
def kilobytes(field="VmRSS"):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1])
"""
LOAD = """
start = time.perf_counter()
{load}
print(json.dumps(time.perf_counter() - start))
"""
# The caches see much text first, a part at a time; then one list, which is kept with its text.
LIST = """
{load}
with open(TEXT, encoding="utf-8") as file:
    while part := file.read(100_000):
        len(e.encode_ordinary(part))
with open(TEXT, encoding="utf-8") as file:
    text = file.read(100_000)
del part
ids = e.encode_ordinary(text)
print(json.dumps(kilobytes()))
"""
SEEN = """
{load}
{array}
text = open(TEXT, encoding="utf-8").read()
for _ in range(2):
    array(text)
print(json.dumps(kilobytes()))
"""
GIGABYTE = """
from dure import tokens
e = tokens.get_encoding(NAME)
e.count("hello world")
text = open(TEXT, encoding="utf-8").read()
text *= int(1e9 / (len(text.encode()))) + 1
open("/proc/self/clear_refs", "w").write("5")  # the peak starts here
before = kilobytes()
start = time.perf_counter()
tokens = e.count(text)
print(json.dumps([kilobytes("VmHWM") - before, time.perf_counter() - start, tokens]))
"""
COUNTING = """
from dure import tokens
e = tokens.get_encoding(NAME)
text = open(TEXT, encoding="utf-8").read()
e.count(text)
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
for _ in range(8):
    e.count(text)
print(json.dumps(time.perf_counter() - start))
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
    for language in LANGUAGES:
        (folder / f"{language}.txt").write_text(corpus(language, MEGABYTES), encoding="utf-8")
    sample = "".join(corpus(language, 3.0) for language in LANGUAGES)
    (folder / "sample.txt").write_text(sample, encoding="utf-8")


def integers(result: Any) -> list[int]:  # noqa: ANN401
    return [int(token) for token in result]


class Engines:
    """The four engines of one encoding. Ours forgets before each run what it has seen."""

    make_gigatoken: Callable[[], Any]

    def __init__(self, name: str, folder: Path) -> None:
        import gigatoken
        import quicktok
        import tiktoken
        from dure import _core, tokens

        self.forget_merges = _core.tokenize.forget_merges
        self.ours = tokens.get_encoding(name)
        self.tiktoken = tiktoken.get_encoding(name)
        self.quicktok = quicktok.get_encoding(name)
        make = partial(gigatoken.Tokenizer.from_tiktoken, folder / f"{name}.tiktoken")
        self.make_gigatoken = make  # its cache cannot be wiped
        self.gigatoken = make().as_tiktoken()
        self.gigatoken_arrays = make()

    def forget(self) -> None:
        """Let the threads wipe their caches now, not when the clock runs."""
        self.forget_merges()
        self.ours.count_batch(["what is wiped " * 2000] * 16, threads=2)

    def unseen_and_seen(
        self, run: Callable[[str], Any], text: str, answer: Callable[[Any], object]
    ) -> tuple[Contender, Contender]:
        def meet() -> None:
            self.ours.count(text)

        return (
            Contender("dure", run, answer, before=self.forget),
            Contender("dure, seen text", run, answer, before=meet),
        )

    def lists(self, text: str) -> list[Contender]:
        unseen, seen = self.unseen_and_seen(self.ours.encode_ordinary, text, integers)
        return [
            unseen,
            Contender(named("tiktoken"), self.tiktoken.encode_ordinary, integers),
            Contender(named("quicktok-v1"), self.quicktok.encode_ordinary, integers),
            Contender(named("gigatoken", "as_tiktoken"), self.gigatoken.encode_ordinary, integers),
            seen,
        ]

    def counts(self, text: str) -> list[Contender]:
        unseen, seen = self.unseen_and_seen(self.ours.count, text, int)
        return [
            unseen,
            Contender(
                named("tiktoken", "len(encode)"), lambda t: len(self.tiktoken.encode_ordinary(t))
            ),
            Contender(named("quicktok-v1"), self.quicktok.count),
            seen,
        ]

    def arrays(self, text: str) -> list[Contender]:
        run = partial(self.ours.encode_to_numpy, disallowed_special=())
        unseen, seen = self.unseen_and_seen(run, text, integers)
        return [
            unseen,
            Contender(named("tiktoken", "list"), self.tiktoken.encode_ordinary, integers),
            Contender(
                named("gigatoken", "numpy, seen"),
                self.gigatoken_arrays.encode,
                integers,
            ),
            seen,
        ]


def ratio(table: Table, slow: str, fast: str = "dure") -> float:
    """How many times faster the row `fast` is than the one that starts with `slow`."""
    rates = {row.contender: row.rate for row in table.rows}
    return rates[fast] / next(rate for name, rate in rates.items() if name.startswith(slow))


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
                before=engines.forget,
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
        note=f"{size:.1f} MB",
    )


def throughput(name: str, engines: Engines) -> list[Table]:
    tables = []
    for language in LANGUAGES:
        text = corpus(language, MEGABYTES)
        size = len(text.encode()) / 1e6

        def beside(
            what: str,
            rows: list[Contender],
            text: str = text,
            size: float = size,
            language: str = language,
        ) -> Table:
            return side_by_side(
                f"{what}, {name}, {language}",
                rows,
                fresh=partial(fresh, text),
                work=size,
                unit="MB/s",
                note=f"{size:.1f} MB, one thread, new str and wiped cache each round",
            )

        lists = beside("encode to list", engines.lists(text))
        counts = beside("count", engines.counts(text))
        arrays = beside("array", engines.arrays(text))
        unseen = unseen_by_gigatoken(name, language, engines)
        where = f"{name}, {language}"
        wanted = TIKTOKEN_LISTS[language]
        GOALS.at_least(f"list, {where}: times tiktoken", ratio(lists, "tiktoken"), wanted)
        GOALS.at_least(f"list, {where}: times quicktok", ratio(lists, "quicktok"), 2.5)
        GOALS.at_least(f"list, {where}: times gigatoken", ratio(lists, "gigatoken"), 1.2)
        for what, table in (("count", counts), ("array", arrays)):
            wanted = TIKTOKEN_COUNTS[language]
            found = ratio(table, "tiktoken")
            GOALS.at_least(f"{what}, {where}: times tiktoken", found, wanted)
        found = ratio(unseen, "gigatoken")
        GOALS.at_least(f"array, {where}: times gigatoken, unseen", found, 1.3)
        found = ratio(arrays, "gigatoken", "dure, seen text")
        GOALS.at_least(f"array, {where}: times gigatoken, seen", found, 0.6)
        tables += [lists, counts, arrays, unseen]
    return tables


def small_calls(name: str, engines: Engines) -> list[Table]:
    text = corpus("english", MEGABYTES)
    tables = []
    for size, most in ((100, 0.8), (8000, 30)):
        parts = [text[i * size : (i + 1) * size] for i in range(400)]
        calls = SMALL_CALLS if size == 100 else 400

        def work(count: Callable[[str], int], parts: list[str] = parts, calls: int = calls) -> int:
            return sum(count(parts[i % len(parts)]) for i in range(calls))

        table = side_by_side(
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
            rounds=9,
            note="English, from Python, one call after another",
        )
        GOALS.at_most(f"count of {size} characters, {name}: us", 1 / table.rows[0].rate, most)
        tables.append(table)
    return tables


def child(code: str, *arguments: str) -> Any:  # noqa: ANN401
    """What `code` prints, run in a fresh interpreter."""
    out = subprocess.run(
        [sys.executable, "-c", STATUS + code, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(out.stdout)


def machine_limit(name: str, text: Path) -> float:
    """What two processes that share nothing do of the same work in the time of one."""

    def seconds(processes: int) -> float:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", STATUS + COUNTING, name, "", str(text)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        for one in running:
            assert one.stdout is not None
            one.stdout.readline()
        for one in running:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        return max(float(one.communicate()[0]) for one in running)

    return statistics.median(2 * seconds(1) / seconds(2) for _ in range(3))


def two_threads(name: str, engines: Engines, folder: Path) -> list[Table]:
    tables = []
    for language in ("english", "korean"):
        text = corpus(language, MEGABYTES)
        size = len(text.encode()) / 1e6
        limit = machine_limit(name, folder / f"{language}.txt")
        note = f"two processes that share nothing do {limit:.2f} times the work of one"

        def parts(text: str = text) -> list[str]:
            new = fresh(text)
            return [new[i : i + 20_000] for i in range(0, len(new), 20_000)]

        def counts(texts: list[str], threads: int) -> object:
            return engines.ours.count_batch(texts, threads=threads)

        def lists(texts: list[str], threads: int) -> object:
            return engines.ours.encode_ordinary_batch(texts, num_threads=threads)

        def arrays(texts: list[str], threads: int) -> object:
            return engines.ours.encode_to_numpy_batch(texts, threads=threads)

        kinds = {"count_batch": (counts, 1.8), "flat arrays": (arrays, 1.8), "lists": (lists, 1.5)}
        for what, (run, wanted) in kinds.items():
            table = side_by_side(
                f"{what} on two threads, {name}, {language}",
                [
                    Contender("dure, 2 threads", partial(run, threads=2), None, engines.forget),
                    Contender("dure, 1 thread", partial(run, threads=1), None, engines.forget),
                ],
                fresh=parts,
                work=size,
                unit="MB/s",
                rounds=9,
                note=note,
            )
            found = ratio(table, "dure, 1 thread", "dure, 2 threads")
            where = f"{what}, {name}, {language}: times one thread ({limit:.2f} can be)"
            GOALS.at_least(where, found, wanted)
            tables.append(table)
    return tables


def single(title: str, unit: str, note: str, figures: dict[str, list[float]]) -> Table:
    """A table of figures where less is better; ours first."""
    table = Table(title, unit, note)
    base = statistics.median(next(iter(figures.values())))
    for who, all_ in figures.items():
        middle = statistics.median(all_)
        table.rows.append(Row(who, middle, min(all_), max(all_), middle, middle / base, None))
    table.show()
    return table


def fresh_processes(name: str, folder: Path) -> list[Table]:
    file, sample = str(folder / f"{name}.tiktoken"), str(folder / "sample.txt")
    times: dict[str, list[float]] = {engine: [] for engine in LOADERS}
    for _ in range(FRESH_PROCESSES):
        for engine, load in LOADERS.items():
            times[engine].append(child(LOAD.format(load=load), name, file, "") * 1e3)
    lists = {
        engine: [child(LIST.format(load=load), name, file, sample) / 1e3]
        for engine, load in LOADERS.items()
    }
    english = str(folder / "english.txt")
    seen = {
        engine: [child(SEEN.format(load=LOADERS[engine], array=array), name, file, english) / 1e3]
        for engine, array in ARRAYS.items()
    }
    GOALS.at_most(f"first count, {name}: ms", statistics.median(times["dure"]), 20)
    if name == "o200k_base":
        GOALS.at_most(f"process after a list, {name}: MB", lists["dure"][0], 40)
    return [
        single(f"load to the first count, {name}", "ms", "median of fresh processes", times),
        single(
            f"memory after a list, {name}",
            "MB",
            "whole process, 9 MB seen; 100,000 characters and their ids are held",
            lists,
        ),
        single(f"memory after seen arrays, {name}", "MB", "whole process, 8 MB of English", seen),
    ]


def gigabyte(name: str, folder: Path) -> Table:
    """The peak beside a str of a gigabyte, ASCII and Korean."""
    figures = {}
    for language in ("code", "korean"):
        text = "".join(char for char in corpus("code", 1.0) if char < "\x80")
        if language == "korean":
            text = corpus("korean", 1.0)
        path = folder / "gigabyte.txt"
        path.write_text(text, encoding="utf-8")
        kilobytes, _, _ = child(GIGABYTE, name, "", str(path))
        figures[language] = [kilobytes / 1e3]
        GOALS.at_most(f"count of 1 GB, {name}, {language}: MB beside it", kilobytes / 1e3, 64)
    return single(f"count of a gigabyte, {name}", "MB", "peak beyond the str", figures)


def adversarial(name: str, engines: Engines) -> Table:
    """A megabyte and ten of what regular expressions and heaps find hard; ours alone."""
    chance = random.Random(7)
    letters = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=10_000_000))
    texts = {
        "one letter": ("x" * 10_000_000, 5),
        "spaces": (" " * 10_000_000, 5),
        "newlines": ("\n" * 10_000_000, 5),
        "combining marks": ("\u0301" * 5_000_000, 5),
        "random a-z": (letters, 70),
    }
    table = Table(f"made to be slow, {name}", "ms", "1 MB; then how much longer 10 MB take")
    for what, (text, most) in texts.items():
        one = text[: len(text) // 10]
        figures = []
        for given in (one, text):
            rounds = []
            for _ in range(5):
                engines.forget()
                start = time.perf_counter()
                engines.ours.count(given)
                rounds.append((time.perf_counter() - start) * 1e3)
            figures.append(sorted(rounds))
        small, large = (statistics.median(all_) for all_ in figures)
        table.rows.append(
            Row(what, small, figures[0][0], figures[0][-1], small, large / small, None)
        )
        GOALS.at_most(f"1 MB of {what}, {name}: ms", small, most)
        GOALS.at_most(f"10 MB of {what}, {name}: times 1 MB", large / small, 10.5)
    table.show()
    return table


def native(folder: Path) -> list[Table]:
    """The C++ core alone, one thread, CPU time."""
    files = [str(folder / f"{language}.txt") for language in LANGUAGES]
    tables: dict[str, Table] = {}
    out = subprocess.run(
        [NATIVE, "--plain", "--rounds=9", *files], check=True, capture_output=True, text=True
    )
    for line in out.stdout.splitlines():
        name, file, stage, median, best = line.split("\t")
        if name not in ENCODINGS:
            continue
        language, rate = Path(file).stem, float(median)
        title = f"C++ core, {name}, {language}"
        table = tables.setdefault(title, Table(title, "MB/s", "one thread, CPU time"))
        table.rows.append(Row(stage, rate, rate, float(best), rate, 1.0, None))
        if stage.endswith(", unseen"):
            what = f"native {stage}, {name}, {language}: MB/s"
            GOALS.at_least(what, rate, NATIVE_RATES[language])
    for table in tables.values():
        table.show()
    return list(tables.values())


def wheel() -> None:
    blob = (ROOT / "cpp/src/tokenize/data/vocab.bin").read_bytes()
    GOALS.at_most("vocabularies in the wheel: MB", len(zlib.compress(blob, 6)) / 1e6, 1.8)


def run() -> list[Any]:
    tables: list[Any] = []
    only = os.environ.get("DURE_BENCH_ENCODING")
    every = "native throughput small threads fresh adversarial gigabyte"
    parts = os.environ.get("DURE_BENCH_PARTS", every).split()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["TIKTOKEN_CACHE_DIR"] = temporary
        fill_cache(folder)
        wheel()
        if "native" in parts and NATIVE.exists():
            tables += native(folder)
        for name in (only,) if only else ENCODINGS:
            engines = Engines(name, folder)
            if "throughput" in parts:
                tables += throughput(name, engines)
            if "small" in parts:
                tables += small_calls(name, engines)
            if "threads" in parts:
                tables += two_threads(name, engines, folder)
            if "fresh" in parts:
                tables += fresh_processes(name, folder)
            if "adversarial" in parts:
                tables.append(adversarial(name, engines))
            if "gigabyte" in parts:
                tables.append(gigabyte(name, folder))
    GOALS.show()
    tables.append(GOALS)
    return tables
