"""The client's goals: what a governed call costs beside the peers, and what need not be called.

G1 and G3 run against the stub server of the transport's tables, each client in a process of its
own, answers compared. G2, G8 and G10 are the core's alone (`dure_client_bench`). G7, G9, G11 and
G12 count the requests that reached a server. `DURE_BENCH_CALLS`: the length of G6.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.goals import Goals
from benchmarks.harness import Row, Table, named
from benchmarks.peers import import_area
from benchmarks.peers.transport_area import client, server

if TYPE_CHECKING:
    from collections.abc import Callable

BENCH = Path("build/release/benchmarks/cpp/dure_client_bench")
HELLO: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Who keeps the account?"}],
    "max_tokens": 100,
}
ENGINES = {"A": "dure governed, engine a", "B": "dure governed"}


def rows(title: str, unit: str, key: str, contenders: dict[str, int], width: int) -> Table:
    """Run each contender in turn, three rounds; its answers beside the first one's."""
    samples: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    with server(0) as port:
        for _ in range(3):
            for name, total in contenders.items():
                samples[name].append(client(name, port, width, total))
    table = Table(title, unit)
    first = next(iter(contenders))
    ours = statistics.median(s[key] for s in samples[first])
    for name, taken in samples.items():
        values = [s[key] for s in taken if key in s]
        if not values:
            print(f"  {name}: {taken[0].get('error')}")
            continue
        middle = statistics.median(values)
        equal = all(s["answers"] == samples[first][0]["answers"] for s in taken)
        package = next((p for p in ("openai", "litellm") if name.startswith(p)), "")
        label = f"{name} ({named(package)})" if package else name
        ratio = middle / ours if key == "cpu_us" else ours / middle
        table.rows.append(Row(label, middle, min(values), max(values), middle, ratio, equal))
    table.show()
    return table


def at(table: Table, name: str) -> float:
    """Return the median of a contender; not a number if it failed."""
    found = [row.median for row in table.rows if row.contender.split(" (")[0] == name]
    return found[0] if found else float("nan")


def calls(goals: Goals) -> list[Table]:
    """G1 and G3."""
    contenders = {
        "dure governed": 6000,
        "dure governed, engine a": 4000,
        "dure create": 6000,
        "openai": 500,
        "litellm": 300,
    }
    cpu = rows("A call with all limits, C=64, CPU", "us", "cpu_us", contenders, 64)
    for engine, limit in (("A", 60.0), ("B", 30.0)):
        ours = at(cpu, ENGINES[engine])
        goals.at_most(f"G1 us of CPU a call, engine {engine}", ours, limit)
        goals.at_least(f"G1 times less than openai, engine {engine}", at(cpu, "openai") / ours, 20)
        goals.at_least(
            f"G1 times less than litellm, engine {engine}", at(cpu, "litellm") / ours, 45
        )
    burst = {"dure burst": 10_000, "openai burst": 2_000}
    many = rows("10,000 requests, C=512", "requests/s", "rps", burst, 512)
    ratio = at(many, "dure burst") / at(many, "openai burst")
    goals.at_least("G3 throughput of gather over AsyncOpenAI, times", ratio, 10)
    return [cpu, many]


def core(goals: Goals) -> list[Table]:
    """G2, G8 and G10."""
    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.check_output([BENCH, folder], text=True)
    found = {line["what"]: line for line in map(json.loads, out.splitlines())}
    table = Table("The core alone", "us p50", "low and high: p50 and p99")
    for what in ("decision", "hit"):
        p50, p99 = found[what]["p50_us"], found[what]["p99_us"]
        table.rows.append(Row(what, p50, p50, p99, p50, 1.0, None))
    table.show()
    goals.at_most("G2 decision path, p50 us", found["decision"]["p50_us"], 2)
    goals.at_most("G2 decision path, p99 us", found["decision"]["p99_us"], 10)
    goals.at_most("G10 exact cache hit, p50 us", found["hit"]["p50_us"], 10)
    hedged = found["hedging"]
    goals.at_most(
        "G8 hedged p99 over plain p99, virtual time",
        hedged["hedged_p99_ms"] / hedged["p99_ms"],
        0.5,
    )
    goals.at_most("G8 extra calls", hedged["extra"], 0.05)
    return [table]


def imports(goals: Goals) -> list[Table]:
    """G5."""
    table = Table("import, fresh interpreter", "ms CPU", "high: MB added")
    for name in ("dure", "openai", "litellm"):
        taken = [import_area.once(name) for _ in range(5)]
        cpu, memory = (statistics.median(t[column] for t in taken) for column in (0, 1))
        label = name if name == "dure" else named(name)
        table.rows.append(Row(label, cpu, cpu, memory, cpu, 1.0, None))
    table.show()
    ours = table.rows[0]
    goals.at_most("G5 import, ms CPU", ours.median, 40)
    goals.at_most("G5 import, MB", ours.high, 12)
    needed = [line for line in requires("dure") or [] if "extra ==" not in line]
    goals.at_most("G5 run-time dependencies", len(needed), 3)
    code = (
        "import sys; seen = []; "
        "sys.addaudithook(lambda e, a: seen.append(e) if e.startswith('socket.') else None); "
        "import dure; print(len(seen))"
    )
    sockets = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    goals.at_most("G5 sockets touched by the import", sockets, 0)
    return [table]


def resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


async def soak(url: str, data: str, total: int) -> tuple[int, int]:
    """Whole answers, streams, cancels and errors; resident bytes after a tenth, and at the end."""
    import dure

    done = 0
    early = 0
    async with dure.AsyncClient(base_url=url, api_key="k", data=data, max_retries=0) as bench:

        async def one(number: int) -> None:
            kind = number % 10
            if kind == 0:
                stream: Any = await bench.chat.completions.create(**HELLO, stream=True)
                await anext(aiter(stream), None)
                await stream.close()
            elif kind == 1:
                task = asyncio.ensure_future(bench.chat.completions.create(**HELLO))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            elif kind == 2:
                await asyncio.gather(
                    bench.chat.completions.create(**{**HELLO, "model": "no-such-model"}),
                    return_exceptions=True,
                )
            else:
                await asyncio.gather(bench.chat.completions.create(**HELLO), return_exceptions=True)

        while done < total:
            await asyncio.gather(*(one(done + i) for i in range(100)), return_exceptions=True)
            done += 100
            if early == 0 and done >= total // 10:
                early = resident()
        return early, resident()


def memory(goals: Goals) -> list[Table]:
    """G6."""
    total = int(os.environ.get("DURE_BENCH_CALLS", "1000000"))
    with server(0) as port, tempfile.TemporaryDirectory() as data:
        early, late = asyncio.run(soak(f"http://127.0.0.1:{port}/v1", data, total))
    goals.at_most(f"G6 growth of RSS over {total:,} mixed calls", late / early - 1, 0.05)
    return []


async def shared(url: str, data: str, kind: str) -> list[Any]:
    """64 callers at once, of one question or of one embedder."""
    import dure

    async with dure.AsyncClient(base_url=url, api_key="k", data=data) as bench:
        if kind == "chat":
            ask = bench.chat.completions.create
            return list(await asyncio.gather(*(ask(**HELLO, temperature=0) for _ in range(64))))
        embedder = dure.ClientEmbedder("text-embedding-3-small", client=bench)
        texts = [f"hands {number}" for number in range(64)]
        return list(await asyncio.gather(*(embedder.aembed_query(text) for text in texts)))


def saved_calls(goals: Goals) -> list[Table]:
    """G7 and G9: what reached the server."""
    from dure.testing import upstream

    for kind, goal in (("chat", "G7 upstream calls"), ("embeddings", "G9 upstream calls")):
        with upstream.start(delay=0.05) as running, tempfile.TemporaryDirectory() as data:
            answers = asyncio.run(shared(running.url, data, kind))
            sent = len(running.log())
        if kind == "chat":
            assert len({a.model_dump_json() for a in answers}) == 1, "answers differ"
            goals.at_most(f"{goal} of 64 equal ones at once", sent, 1)
        else:
            assert len({a.tobytes() for a in answers}) == 64, "vectors are not those of their texts"
            goals.at_most(f"{goal} for 64 queries at once", sent, 6)
    return []


def outage(goals: Goals) -> list[Table]:
    """G11: everything answers 503 for a minute of virtual time."""
    import dure
    from dure._testing import FakeClock, FakeRandom, FakeTransport

    clock = FakeClock()
    net = FakeTransport(clock)
    total = 600
    with tempfile.TemporaryDirectory() as data:
        bench = dure.Client(
            base_url="http://127.0.0.1/v1", data=data, transport=net, clock=clock,
            random=FakeRandom(1), max_retries=0,
        )  # fmt: skip
        for _ in range(total):
            net.reply(["{}"], status=503)
            try:
                bench.chat.completions.create(**HELLO)
            except dure.errors.UnavailableError:
                clock.advance(0.1)
        sent = len(net.requests)
    goals.at_most("G11 attempts a request in an outage", sent / total, 1.2)
    return []


def accounted(goals: Goals) -> list[Table]:
    """G12: the server's log beside our ledger, under faults."""
    import dure
    from dure.testing import upstream

    async def run(url: str, data: str) -> tuple[int, int]:
        async with dure.AsyncClient(base_url=url, api_key="k", data=data) as bench:
            await bench.map([HELLO] * 300, limit=16)
            return bench.counters["attempts"], bench.counters["ambiguous"]

    faults = {"500": 0.03, "503": 0.03, "reset": 0.02}
    with upstream.start(faults=faults) as running, tempfile.TemporaryDirectory() as data:
        attempts, _ = asyncio.run(run(running.url, data))
        hits = len(running.log())
        report = dure.verify_ledger(data)
    goals.at_most("G12 upstream hits without a record", hits - attempts, 0)
    goals.at_most("G12 holds left open", report.open_holds, 0)
    return []


def seed_figures(goals: Goals) -> list[Table]:
    """G14: overhead of a call, saving by choice of model, share of calls whose tokens are known."""
    import dure

    with server(0) as port, tempfile.TemporaryDirectory() as data:
        bench = dure.Client(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", data=data)
        times, known = [], 0
        for _ in range(100):
            start = time.perf_counter()
            answer = bench.chat.completions.create(**HELLO)
            times.append(time.perf_counter() - start)
            known += answer.usage.prompt_tokens > 0 and not answer.dure.estimated
        usage = answer.usage
    goals.at_most("G14 mean of 100 calls, server included, ms", statistics.mean(times) * 1e3, 10)
    costs = [dure.cost(usage, model=name).pico for name in ("gpt-4", "gpt-4o-mini")]
    goals.at_least("G14 saving over gpt-4, %", 100 * (1 - costs[1] / costs[0]), 30)
    goals.at_least("G14 calls whose tokens are tracked, %", float(known), 100)
    return []


def run() -> list[Any]:
    goals = Goals("Goals of the client")
    tables: list[Any] = []
    sections: tuple[Callable[[Goals], list[Table]], ...] = (
        calls, core, imports, memory, saved_calls, outage, accounted, seed_figures,
    )  # fmt: skip
    for section in sections:
        tables.extend(section(goals))
    goals.show()
    return [*tables, goals]
