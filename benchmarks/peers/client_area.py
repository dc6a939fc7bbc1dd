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
from collections import Counter
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
    """Whole answers, streams, cancels and errors; resident bytes early on, and at the end.

    Early is after 100,000 calls (a tenth of a shorter run): the account's table of settlements,
    which has an end, is full then.
    """
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
            if early == 0 and done >= (100_000 if total >= 400_000 else total // 10):
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
    """64 callers at once, of one question, or with a text each."""
    import dure

    async with dure.AsyncClient(base_url=url, api_key="k", data=data) as bench:
        ask = bench.chat.completions.create
        if kind == "chat":
            answers = await asyncio.gather(*(ask(**HELLO, temperature=0) for _ in range(64)))
            return [answer.choices[0].message.content for answer in answers]
        if kind == "stream":

            async def read() -> str:
                stream: Any = await ask(**HELLO, temperature=0, stream=True)
                pieces = [c.choices[0].delta.content or "" async for c in stream if c.choices]
                return "".join(pieces)

            return list(await asyncio.gather(*(read() for _ in range(64))))
        texts = [f"hands {number}" for number in range(64)]
        if kind == "embedder":
            embedder = dure.ClientEmbedder("text-embedding-3-small", client=bench)
            rows = await asyncio.gather(*(embedder.aembed_query(text) for text in texts))
            return [row.tobytes() for row in rows]
        embed, call = bench.embeddings.create, dure.Call(org="acme", gather=0.01)
        got = await asyncio.gather(
            *(embed(model="text-embedding-3-small", input=text, dure=call) for text in texts)
        )
        billed = sum(answer.dure.cost_pico for answer in got)
        assert billed == bench.counters["cost_pico"], "the parts are not the whole"
        return [answer.vectors.tobytes() for answer in got]


def saved_calls(goals: Goals) -> list[Table]:
    """G7 and G9: what reached the server."""
    from dure.testing import upstream

    asked = {
        "chat": ("G7 upstream calls of 64 equal ones at once", 1, 1),
        "stream": ("G7 upstream calls of 64 equal streams at once", 1, 1),
        "embedder": ("G9 upstream calls for 64 queries of an embedder at once", 6, 64),
        "create": ("G9 upstream calls for 64 embeddings.create at once", 6, 64),
    }
    for kind, (what, most, different) in asked.items():
        with upstream.start(delay=0.05) as running, tempfile.TemporaryDirectory() as data:
            answers = asyncio.run(shared(running.url, data, kind))
            sent = len(running.log())
        assert len(set(answers)) == different, "an answer is not its question's"
        goals.at_most(what, sent, most)
    return []


def outage(goals: Goals) -> list[Table]:
    """G11: everything answers 503 for a minute of virtual time, ten calls a second."""
    import dure
    from dure._testing import FakeClock, FakeRandom, FakeTransport

    clock = FakeClock()
    net = FakeTransport(clock)

    async def run(data: str) -> tuple[int, int, int]:
        bench = dure.AsyncClient(
            base_url="http://127.0.0.1/v1", data=data, transport=net, clock=clock,
            random=FakeRandom(1),
        )  # fmt: skip
        tasks: list[asyncio.Task[Any]] = []
        for _ in range(600):
            tasks.append(asyncio.ensure_future(bench.chat.completions.create(**HELLO)))
            for _ in range(4):
                await asyncio.sleep(0)
                while net.open:
                    net.reply(["{}"], status=503)
                    net.pump()
                clock.advance(0.025)
                net.pump()
        attempts = len(net.requests)
        for _ in range(600):  # the resends that wait
            clock.advance(0.1)
            while net.open:
                net.reply(["{}"], status=503)
                net.pump()
            await asyncio.sleep(0)
        failed = await asyncio.gather(*tasks, return_exceptions=True)
        typed = sum(isinstance(one, dure.errors.UnavailableError) for one in failed)
        clock.advance(120)
        choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        answer = {"choices": [choice], "usage": usage}
        net.reply([json.dumps(answer)])
        after = await bench.chat.completions.create(**HELLO)
        return attempts, typed, after.dure.attempts

    with tempfile.TemporaryDirectory() as data:
        attempts, typed, after = asyncio.run(run(data))
    goals.at_most("G11 attempts a request in an outage of a minute", attempts / 600, 1.2)
    goals.at_least("G11 of 600 calls, those that end in UnavailableError", typed, 600)
    goals.at_most("G11 attempts of the first call after it", after, 1)
    goals.at_most("G11 ticks between the hint's end and the resend", hint_ticks(), 1)
    return []


def hint_ticks() -> float:
    """Return how many ticks of 1 ms the resend comes too early or too late."""
    import dure
    from dure._testing import FakeClock, FakeRandom, FakeTransport

    clock = FakeClock()
    net = FakeTransport(clock)

    async def run(data: str) -> float:
        bench = dure.AsyncClient(
            base_url="http://127.0.0.1/v1", data=data, transport=net, clock=clock,
            random=FakeRandom(1),
        )  # fmt: skip
        task = asyncio.ensure_future(bench.chat.completions.create(**HELLO))
        await asyncio.sleep(0)
        net.reply(["{}"], status=429, headers=[("retry-after", "2")])
        net.pump()
        waited = 0
        while len(net.requests) < 2:
            clock.advance(0.001)
            net.pump()
            waited += 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # A tenth of the hint is jitter: early is before it, late is after both.
        return max(2000 - waited, waited - 2200, 0)

    with tempfile.TemporaryDirectory() as data:
        return asyncio.run(run(data))


KILLED = """
import asyncio, dure, os, sys
async def main():
    async with dure.AsyncClient(base_url=sys.argv[1], api_key="k", data=sys.argv[2]) as bench:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
        asyncio.get_running_loop().call_later(float(sys.argv[3]), os.kill, os.getpid(), 9)
        while True:
            await bench.map([body] * 64, limit=16)
asyncio.run(main())
"""


def accounted(goals: Goals) -> list[Table]:
    """G12: the server's log beside our ledger, under faults and `kill -9`."""
    import dure
    from dure.testing import upstream

    async def run(url: str, data: str) -> dict[str, int]:
        async with dure.AsyncClient(base_url=url, api_key="k", data=data) as bench:
            await bench.map([HELLO] * 300, limit=16)
            return bench.counters

    faults = {"500": 0.03, "503": 0.03, "reset": 0.02}
    with upstream.start(faults=faults) as running, tempfile.TemporaryDirectory() as data:
        counted = asyncio.run(run(running.url, data))
        hits = Counter(call_id(hit) for hit in running.log())
        known = attempts_of(data)
        report = dure.verify_ledger(data)
    goals.at_most("G12 upstream hits without a record", sum((hits - known).values()), 0)
    goals.at_most("G12 hits beyond one that are not counted as ambiguous or proven",
                  sum(hits.values()) - len(hits) - counted["retries"], 0)  # fmt: skip
    goals.at_most("G12 holds left open", report.open_holds, 0)
    with upstream.start(delay=0.02) as running, tempfile.TemporaryDirectory() as data:
        for seconds in (0.3, 0.5, 0.7):
            command = [sys.executable, "-c", KILLED, running.url, data, str(seconds)]
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        with dure.Client(base_url=running.url, api_key="k", data=data) as bench:
            bench.chat.completions.create(**HELLO)  # whoever comes next settles what they left
        hits = Counter(call_id(hit) for hit in running.log())
        known = attempts_of(data)
        report = dure.verify_ledger(data)
    goals.at_least("G12 upstream hits of three processes that were killed", sum(hits.values()), 1)
    goals.at_most("G12 of these, without a record", sum((hits - known).values()), 0)
    goals.at_most("G12 holds left open by them", report.open_holds, 0)
    return []


def call_id(hit: dict[str, Any]) -> str:
    """Return the id of the call that a request belongs to."""
    return str(hit["client_id"]).partition("-")[0]


def attempts_of(data: str) -> Counter[str]:
    """Return how many attempts of each call the ledger knows to have been sent."""
    import dure

    with dure.usage.UsageBook(Path(data) / "usage.db") as book:
        book.post(data)
        return Counter(row.call_id for row in book.rows())


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
