"""Client CPU per request over loopback, beside the peers and the raw epoll floor of the same run.

The server has processor 0, the client processor 1. POST of 1.1 kB, answer of 1.1 kB, keep-alive.
Peers, `HttpClient json` and `create` take a dict and return the parsed usage; `create` also admits,
holds, writes three ledger records and settles. What is done is written after each section.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.goals import Goals
from benchmarks.harness import Row, Table, named, python_of, write

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = Path(sys.executable).parent  # scripts/bench compiles them there
FLOOR = "raw epoll floor"
PACKAGES = ("pycurl", "aiohttp", "openai", "litellm")
ASIDE = (
    "No goals of the transport: a call through `AsyncClient` also admits, holds, writes three "
    "ledger records and settles, and its own goals stand in [Calls](client.md)."
)
Samples = dict[str, list[dict[str, Any]]]


@contextmanager
def server(delay_ms: int) -> Iterator[str]:
    command = ["taskset", "-c", "0", str(TOOLS / "dure_stub_server"), "0", str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def tls_server(count: int) -> Iterator[str]:
    """Serve TLS and hold `count` requests back; `DURE_BENCH_CA` names its authority meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.peers.tls_server", str(count), folder]
        with subprocess.Popen(
            ["taskset", "-c", "0", *command], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            os.environ["DURE_BENCH_CA"] = f"{folder}/ca.pem"
            try:
                yield process.stdout.readline().strip()
            finally:
                del os.environ["DURE_BENCH_CA"]
                process.kill()


def raw(port: str, concurrency: int, total: int) -> dict[str, Any]:
    command = ["taskset", "-c", "1", str(TOOLS / "dure_raw_client"), port]
    out = subprocess.check_output([*command, str(concurrency), str(total)], text=True).split()
    figures = (float(figure) for figure in out)
    return dict(zip(("cpu_us", "p50_ms", "p99_ms"), figures, strict=True)) | {"answers": [200]}


def raw_stream(port: str, concurrency: int, path: str) -> dict[str, Any]:
    command = ["taskset", "-c", "1", str(TOOLS / "dure_raw_client"), port, str(concurrency), "0"]
    out = subprocess.check_output([*command, path], text=True).split()
    return {"cpu_us": float(out[0]), "receives": int(out[2]) / int(out[1])}


def client(name: str, target: str, concurrency: int, total: int) -> dict[str, Any]:
    command = ["taskset", "-c", "1", python_of(name), "-m", "benchmarks.peers.transport_worker"]
    arguments = [name, target, str(concurrency), str(total)]
    out = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if out.returncode != 0:
        return {"error": out.stderr.strip().splitlines()[-1] if out.stderr else "failed"}
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def label(name: str) -> str:
    """`name`, and the version of the peer that it is."""
    package = next((p for p in PACKAGES if name.startswith(p)), "")
    return f"{name} ({named(package)})" if package else name


def table_of(title: str, samples: Samples, key: str, unit: str, ours: str) -> Table:
    """Medians of `key`, beside `ours`; errors are shown, not hidden."""
    values = {n: [s[key] for s in taken if key in s] for n, taken in samples.items()}
    base = statistics.median(values[ours]) if values.get(ours) else float("nan")
    table = Table(f"{title}: {unit}", unit, "less is better")
    for name, found in values.items():
        if not found:
            continue
        middle = statistics.median(found)
        answers = [s["answers"] for s in samples[name] if "answers" in s]
        equal = all(a == answers[0] for a in answers) if answers else None
        table.rows.append(
            Row(label(name), middle, min(found), max(found), middle, middle / base, equal)
        )
    table.show()
    for name, taken in samples.items():
        if errors := {sample["error"] for sample in taken if "error" in sample}:
            print(f"  {name}: {errors}")
    return table


@dataclass
class Run:
    """What was measured so far."""

    tables: list[Table] = field(default_factory=list)
    medians: dict[tuple[str, str, str], float] = field(default_factory=dict)
    goals: Goals = field(default_factory=lambda: Goals("Goals of the transport"))
    aside: Goals = field(
        default_factory=lambda: Goals("The whole client beside the same numbers", note=ASIDE)
    )

    def add(self, section: str, samples: Samples, ours: str, *keys: tuple[str, str]) -> None:
        """Show and keep a section; write everything that there is."""
        for key, unit in keys:
            self.tables.append(table_of(section, samples, key, unit, ours))
        for name, taken in samples.items():
            for key in {key for sample in taken for key in sample} - {"answers", "error"}:
                found = [sample[key] for sample in taken if key in sample]
                self.medians[section, name, key] = statistics.median(found)
        write("transport", [*self.tables, self.goals, self.aside])

    def at(self, section: str, name: str, key: str = "cpu_us") -> float:
        return self.medians.get((section, name, key), float("nan"))

    def goal(self, what: str, value: float, limit: float, *, least: bool = False) -> None:
        """Note one goal: at most `limit`, or at least."""
        note = self.goals.at_least if least else self.goals.at_most
        note(what, value, limit)


def measure(
    run: Run,
    section: str,
    delay_ms: int,
    concurrency: int,
    contenders: dict[str, int],
    *,
    rounds: int,
    floor: int,
) -> None:
    """Rounds of all contenders in turn, each with its number of requests, the floor first."""
    samples: Samples = {name: [] for name in (FLOOR, *contenders)}
    with server(delay_ms) as port:
        for number in range(rounds):
            samples[FLOOR].append(raw(port, concurrency, floor))
            for name, total in contenders.items():
                if number >= 3 and total < 1000:
                    continue  # a slow peer: three rounds are enough
                samples[name].append(client(name, port, concurrency, total))
    keys = (("cpu_us", "CPU us/req"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"))
    run.add(
        section,
        samples,
        next(iter(contenders)),
        *(keys[:1] if delay_ms == 0 and concurrency > 1 else keys),
    )


def throughput(run: Run) -> None:
    section = "C=64"
    contenders = {
        "dure create": 6000,
        "dure create+uvloop": 6000,
        "dure create, engine a": 4000,
        "dure HttpClient json": 6000,
        "dure HttpClient json, engine a": 4000,
        "dure HttpClient bytes": 8000,
        "dure HttpClient bytes+uvloop": 8000,
        "dure HttpClient map_raw": 10000,
        "dure map": 8000,
        "dure map_raw": 10000,
        "pycurl": 3000,
        "aiohttp": 2000,
        "aiohttp+uvloop": 2000,
        "openai on aiohttp": 500,
        "openai": 500,
    }
    measure(run, section, 0, 64, contenders, rounds=5, floor=20000)
    of_transport(run, section)
    of_client(run, section)


def of_transport(run: Run, section: str) -> None:
    """Compare the transport's own face: a dict in and parsed usage out, bytes, a batch."""
    floor = run.at(section, FLOOR)
    for engine, name, over, pycurl, uvloop in (
        ("A", "dure HttpClient json, engine a", 6.4, 1.45, 2.4),
        ("B", "dure HttpClient json", 2.7, 3.4, 5.5),
    ):
        ours = run.at(section, name)
        run.goal(f"engine {engine}, C=64: times the floor", ours / floor, over)
        for peer, shown, limit in (
            ("pycurl", "pycurl", pycurl),
            ("aiohttp+uvloop", "aiohttp on uvloop", uvloop),
        ):
            less = run.at(section, peer) / ours
            run.goal(f"engine {engine}: times less than {shown}", less, limit, least=True)
    ours = run.at(section, "dure HttpClient json")
    for peer, limit in (("openai on aiohttp", 60), ("openai", 85)):
        less = run.at(section, peer) / ours
        run.goal(f"engine B: times less than {peer}", less, limit, least=True)
    single, batch = (
        run.at(section, f"dure HttpClient {name}") / floor for name in ("bytes", "map_raw")
    )
    run.goal("bytes, one future each: times the floor", single, 1.9)
    run.goal("map_raw, limit 256: times the floor", batch, 1.5)


def of_client(run: Run, section: str) -> None:
    """Compare `AsyncClient` with the same numbers: it pays for the account besides."""
    floor = run.at(section, FLOOR)
    for engine, name, over, micros in (
        ("A", "dure create, engine a", 6.4, 60),
        ("B", "dure create", 2.7, 30),
    ):
        ours = run.at(section, name)
        run.aside.at_most(f"create, engine {engine}: us", ours, micros)
        run.aside.at_most(f"create, engine {engine}: times the floor", ours / floor, over)
    create = run.at(section, "dure create")
    for peer, limit in (
        ("pycurl", 3.4),
        ("aiohttp+uvloop", 5.5),
        ("openai on aiohttp", 60.0),
        ("openai", 85.0),
    ):
        less = run.at(section, peer) / create
        run.aside.at_least(f"create, engine B: times less than {peer}", less, limit)
    batch = run.at(section, "dure map_raw") / floor
    run.aside.at_most("AsyncClient.map_raw, limit 256: times the floor", batch, 1.5)


def latency(run: Run) -> None:
    section = "C=1"
    contenders = {
        "dure HttpClient bytes": 1500,
        "dure HttpClient bytes, engine a": 1500,
        "dure create": 1500,
        "aiohttp": 1000,
    }
    measure(run, section, 0, 1, contenders, rounds=5, floor=4000)
    floor = run.at(section, FLOOR, "p50_ms")
    for engine, name, limit in (
        ("B", "dure HttpClient bytes", 30),
        ("A", "dure HttpClient bytes, engine a", 60),
    ):
        more = (run.at(section, name, "p50_ms") - floor) * 1e3
        run.goal(f"C=1, engine {engine}: p50 over the raw client, us", more, limit)


def slow_server(run: Run) -> None:
    for flight, rounds, contenders in (
        (
            1000,
            3,
            {
                "dure HttpClient json": "B",
                "dure HttpClient json, engine a": "A",
                "dure create": "",
                "aiohttp+uvloop": "",
            },
        ),
        (2000, 3, {"dure HttpClient json, engine a": "A"}),
        (4000, 3, {"dure HttpClient json": "B"}),
    ):
        section = f"{flight} in flight, 200 ms server"
        counts = dict.fromkeys(contenders, max(4000, 2 * flight))
        measure(run, section, 200, flight, counts, rounds=rounds, floor=max(6000, 3 * flight))
        raw_p99 = run.at(section, FLOOR, "p99_ms")
        for name, engine in contenders.items():
            if not engine:
                continue
            limits = {("B", 1000): 15, ("A", 1000): 35, ("B", 4000): 20, ("A", 2000): 60}
            more = run.at(section, name, "p99_ms") - raw_p99
            run.goal(
                f"{flight} in flight, engine {engine}: p99 over the raw client, ms",
                more,
                limits[engine, flight],
            )
            if flight == 1000:
                own = run.at(section, name) / run.at("C=64", name)
                grown = run.at(section, FLOOR) / run.at("C=64", FLOOR)
                run.goal(
                    f"1000 in flight, engine {engine}: CPU growth from C=64 over the raw client's",
                    own / grown,
                    1.15,
                )


def memory(run: Run) -> None:
    """RSS growth for each of 2,000 requests in flight, one asyncio task each included."""
    section = "2,000 in flight: memory"
    names = {"dure memory": ("B", 6000), "dure memory, engine a": ("A, plain", 25000)}
    over_tls = "dure memory, engine a over TLS"
    samples: Samples = {name: [] for name in (*names, over_tls)}
    with server(3000) as port:
        for _ in range(2):
            for name in names:
                samples[name].append(client(name, port, 64, 2000))
    with tls_server(2000) as port:
        for _ in range(2):
            samples[over_tls].append(client(over_tls, port, 64, 2000))
    names[over_tls] = ("A, TLS", 80000)
    run.add(section, samples, "dure memory", ("bytes_each", "bytes/req"))
    for name, (engine, limit) in names.items():
        run.goal(
            f"memory for a request, engine {engine}, bytes",
            run.at(section, name, "bytes_each"),
            limit,
        )


def streams(run: Run) -> None:
    for section, concurrency, path, rounds in (
        ("streams, bursts of 64 events", 4, "/sse/64/400/2000", 3),
        ("streams, one event at a time", 16, "/sse/1/400/5000", 3),
    ):
        names = ("dure events", "dure chunks", "aiohttp lines", "openai chunks")
        samples: Samples = {name: [] for name in (FLOOR, *names)}
        with server(0) as port:
            for _ in range(rounds):
                samples[FLOOR].append(raw_stream(port, concurrency, path))
                for name in names:
                    samples[name].append(client(name, port + path, concurrency, 0))
        run.add(section, samples, "dure events", ("cpu_us", "CPU us/event"))
        ours = run.at(section, "dure events")
        if concurrency == 4:
            run.goal("stream bursts: us for an event", ours, 1.5)
            continue
        print(f"  receives for an event, raw: {run.at(section, FLOOR, 'receives'):.2f}")
        run.goal("stream, one by one: times the raw receiver", ours / run.at(section, FLOOR), 2.6)
        peer = run.at(section, "openai chunks")
        run.goal(
            "stream, one by one: times less than openai on aiohttp", peer / ours, 9, least=True
        )


def run() -> list[Table | Goals]:
    done = Run()
    for section in (throughput, latency, streams, memory, slow_server):
        section(done)
        done.goals.show()
        done.aside.show()
    return [*done.tables, done.goals, done.aside]
