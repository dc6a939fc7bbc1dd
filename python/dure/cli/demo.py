"""`dure demo`: the whole main job on real documents, in under a minute.

Ingest what is on every machine, ask three questions, fan out; then prove the ledger. Without a key
it talks to `dure.testing.upstream`, a real HTTP server in its own process; with one, to the
provider.
"""

from __future__ import annotations

import fcntl
import sysconfig
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure._dollars import to_dollars
from dure._progress import Bar
from dure.errors import DureError, UnavailableError

from . import ask as ask_command
from . import ingest as ingest_command
from . import ledger as ledger_command
from .output import bold, dim, dollars, print_json, rows, say
from .places import data_folder
from .provider import has_key, provider_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from dure._sync import Client
    from dure.costs import LedgerReport
    from dure.rag import Answer, IngestReport

CHAT_MODEL = "gpt-4o-mini"
EMBED_MODEL = "text-embedding-3-small"
EMBED_DIMENSIONS = 384
SCOPE = "org:demo"
BUDGET = "0.50"  # dollars a day
LIBRARY_BYTES = 8_000_000
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages"}
SEED = 20
FAULTS = {"429": 0.02, "500": 0.01, "503": 0.01, "reset": 0.01}
QUESTIONS = (
    "What does heapq.merge do with its sorted inputs?",
    "두레와 품앗이는 어떻게 다른가요?",
    "What does bisect_left return when the item is already in the list?",
)


@dataclass(slots=True)
class _FanOut:
    """What one fan-out measured."""

    name: str
    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    retries: int
    cost: Decimal

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "requests": self.requests,
            "failed": self.failed,
            "seconds": self.seconds,
            "requests_per_second": self.requests / self.seconds,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "retries": self.retries,
            "cost_usd": f"{self.cost:f}",
        }


def run(options: argparse.Namespace) -> int:
    """Run the demo; exit code 1 if a request failed or the ledger does not add up."""
    started = time.monotonic()
    folder = data_folder(options) / "demo"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    show = _Show(quiet=options.json)
    with ExitStack() as stack:
        stack.enter_context(_alone(folder))
        before = _spent(folder)
        client, steady = stack.enter_context(_provider(folder, None))
        show.title("dure demo", f"data in {folder}; {steady}")
        client.budgets.set(SCOPE, limit=BUDGET, window="day")
        store = Path(options.store) if options.store else folder / _store_name()
        reports = _ingest(show, client, store, prune=not options.store)
        answers = [_ask(show, client, store, question) for question in QUESTIONS]
        busy, _ = stack.enter_context(_provider(folder, FAULTS))
        runs = [_fan_out(show, busy, options, stream=stream) for stream in (False, True)]
        counted = busy.counters["cost_pico"]  # of all clients on this data folder
    proof = _prove(show, folder)
    equal = proof.ok and proof.spent_pico - before == counted
    if not show.quiet:
        ledger = dollars(proof.spent_pico - before)
        rows([("this run", f"{ledger} in the ledger, {dollars(counted)} by the counters")])
    seconds = time.monotonic() - started
    show.title("done", f"{seconds:.1f} s")
    if options.json:
        print_json(
            {
                "ingest": [report.to_dict() for report in reports],
                "answers": [answer.to_dict() for answer in answers],
                "fan_out": [one.to_dict() for one in runs],
                "ledger": {**proof.to_dict(), "equals_counters": equal},
                "seconds": seconds,
            }
        )
    return 0 if equal and not any(one.failed for one in runs) else 1


def _store_name() -> str:
    """Return a name for what is asked here: vectors are one provider's, documents one machine's.

    Another checkout, another Python or another provider has another store, so no answer comes from
    files that are not this demo's, and no vectors of two models are compared.
    """
    import hashlib

    import dure

    provider = provider_url() if has_key() else "dure.testing.upstream"
    parts = "\0".join((provider, str(Path(dure.__file__).parent), sysconfig.get_path("stdlib")))
    return f"store-{hashlib.blake2b(parts.encode(), digest_size=4).hexdigest()}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other demos out of the folder: what the ledger gained must be what this run counted."""
    with Path(folder, "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"another demo is running in {folder}: wait for its end, or give --data DIR"
            ) from None
        yield


class _Show:
    """Prints, or keeps quiet for --json."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def title(self, text: str, note: str = "") -> None:
        if not self.quiet:
            say(f"\n{bold(text)}" + (f"  {dim(note)}" if note else ""))


@contextmanager
def _provider(folder: Path, faults: dict[str, float] | None) -> Iterator[tuple[Client, str]]:
    """Give a client and a word on whom it talks to."""
    from dure._sync import Client

    if has_key():
        with Client(data=folder) as client:
            yield client, "the provider of OPENAI_API_KEY"
        return
    from dure.testing import upstream

    pace = 0.0 if faults else 0.012  # an answer that can be watched
    with (
        upstream.start(seed=SEED, faults=faults, pace=pace) as server,
        Client(base_url=server.url, api_key="dure-demo", data=folder) as client,
    ):
        yield client, "no key: dure.testing.upstream over HTTP, no language model"


# Ingest


def library_files(limit: int = LIBRARY_BYTES) -> list[Path]:
    """Return the standard library's sources in sorted order, at most `limit` bytes."""
    root = Path(sysconfig.get_path("stdlib"))
    found, size = [], 0
    for path in sorted(root.rglob("*.py")):
        if LEFT_OUT & set(path.relative_to(root).parts):
            continue
        length = path.stat().st_size
        size += length
        if size > limit:
            break
        if length > 0:  # many packages have an empty __init__.py
            found.append(path)
    return found


def project_files() -> list[Path]:
    """Return this project's own documents, if this is a checkout."""
    import dure

    root = Path(dure.__file__).parents[2]
    if not (root / "pyproject.toml").is_file() or not (root / "cpp").is_dir():
        return []
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])


def _ingest(show: _Show, client: Client, store: Path, *, prune: bool) -> list[IngestReport]:
    from dure import rag
    from dure.embedders import ClientEmbedder
    from dure.testing import documents

    files = [*library_files(), *project_files(), *documents()]
    embedder = ClientEmbedder(EMBED_MODEL, client=client, dimensions=EMBED_DIMENSIONS)
    reports = []
    for number, title in enumerate(("ingest", "ingest again")):
        show.title(
            f"{1 if number == 0 else ' '} {title}", "standard library, own docs, Korean texts"
        )
        report = rag.ingest(
            files,
            store=store,
            embedder=embedder,
            client=client,
            prune=prune,
            progress=None if show.quiet else True,
        )
        reports.append(report)
        if not show.quiet:
            ingest_command.show(report)
    return reports


# Ask


def _ask(show: _Show, client: Client, store: Path, question: str) -> Answer:
    from dure import rag
    from dure.calls import Call
    from dure.embedders import ClientEmbedder

    show.title("2 ask", question)
    stream = rag.ask(
        question,
        store=store,
        client=client,
        embedder=ClientEmbedder(EMBED_MODEL, client=client, dimensions=EMBED_DIMENSIONS),
        model=CHAT_MODEL,
        call=Call(org="demo"),
        stream=True,
    )
    if show.quiet:
        return stream.answer
    for piece in stream:
        say(piece, end="")
    say("\n")
    ask_command.show_sources(stream.sources)
    left = client.budgets.read(SCOPE).left
    ask_command.show_bill(stream.answer, budget_left=f"{dollars(left)} of ${BUDGET} today")
    return stream.answer


# Fan out


def _fan_out(show: _Show, client: Client, options: argparse.Namespace, *, stream: bool) -> _FanOut:
    from dure.calls import Call

    n = options.requests // 2 + (0 if stream else options.requests % 2)
    name = "streamed" if stream else "whole"
    show.title(f"3 fan out, {name}", f"{n} requests, {options.limit} at once, seeded faults")
    requests = [_request(number, stream=stream, call=Call(org="demo")) for number in range(n)]
    bar = Bar(name)
    start = time.monotonic()
    answers = client.map(requests, options.limit, progress=None if show.quiet else bar)
    measured = _measure(name, answers, time.monotonic() - start)
    if not show.quiet:
        bar.close()
        rows(
            [
                ("throughput", f"{n / measured.seconds:,.0f} requests/s"),
                ("latency", f"p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms"),
                ("retries", f"{measured.retries}, failed {measured.failed}"),
                ("cost", bold(dollars(measured.cost))),
            ]
        )
    return measured


def _request(number: int, *, stream: bool, call: object) -> dict[str, Any]:
    content = f"Request {number}: say in one sentence what you are."
    messages = [{"role": "user", "content": content}]
    more = {"stream": True} if stream else {}
    return {
        "model": CHAT_MODEL,
        "messages": messages,
        "max_tokens": 64,
        "dure": call,
        **more,
    }


def _measure(name: str, answers: Sequence[Any], seconds: float) -> _FanOut:
    good = [answer for answer in answers if not isinstance(answer, DureError)]
    times = sorted(answer.dure.latency for answer in good) or [0.0]
    return _FanOut(
        name=name,
        requests=len(answers),
        failed=len(answers) - len(good),
        seconds=seconds,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[min(len(times) - 1, len(times) * 99 // 100)] * 1000,
        retries=sum(answer.dure.attempts - 1 for answer in good),
        cost=to_dollars(sum(answer.dure.cost_pico for answer in good)),
    )


# Prove


def _spent(folder: Path) -> int:
    """Return what the ledger says was spent before this run, in pico-dollars."""
    from dure import costs

    return costs.verify_ledger(folder).spent_pico if (folder / "ledger").is_dir() else 0


def _prove(show: _Show, folder: Path) -> LedgerReport:
    from dure import costs

    show.title("4 ledger verify", "every hold ended once; replay equals the counters")
    report = costs.verify_ledger(folder)
    if not show.quiet:
        ledger_command.show(report)
    return report
