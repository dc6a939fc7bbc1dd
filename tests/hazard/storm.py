"""R1, the fault storm: what every request may end in, and the run itself.

`python -m tests.hazard.storm REQUESTS` prints the table kind x engine; `--of openai` asks
openai-python with the same seeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
from dure import errors
from dure.costs import ledger_records
from dure.testing import FaultServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

SLOWER = 4 if "DURE_ASAN" in os.environ else 1  # a sanitizer costs that much time
LIMIT = 4.0 * SLOWER  # seconds for a whole request
SLACK = 1.0 * SLOWER  # later than limit + slack is late
AT_ONCE = 256
CONNECT_KINDS = {"F1", "F2", "F7", "F8", "F9", "F10"}

Unavailable, Upstream = errors.UnavailableError, errors.UpstreamError
Truncated, Deadline, RateLimit = (
    errors.TruncatedStreamError,
    errors.DeadlineError,
    errors.RateLimitError,
)

# What HttpClient may raise; a kind that is not here ends in a whole reply.
OF_TRANSPORT: dict[str, tuple[type[BaseException], ...]] = {
    **dict.fromkeys(CONNECT_KINDS, (Unavailable,)),
    "F3": (Upstream,),
    "F4": (Truncated, Upstream),
    "F5": (Truncated, Upstream),
    "F6": (Truncated,),
    "F16": (Upstream, Truncated),  # only if the reset overtakes the reply
    "F19": (Truncated,),
    "F20": (Truncated,),
    "F25": (Truncated,),
    "F26": (Upstream,),
    "F27": (Deadline,),
    "F28": (Deadline,),
    "F29": (Upstream,),
    "F30": (Upstream,),
}


@dataclass
class Result:
    """One storm: what each kind ended in, and everything that must not be."""

    ends: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: list[str] = field(default_factory=list)
    late: int = 0
    starved: int = 0  # late, or out of time, by less than the threads waited for a processor
    requests: int = 0
    seconds: float = 0.0


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def native_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def waits(server: int) -> dict[str, float]:
    """Seconds that each thread of this process and of the server's has been runnable, not run."""
    seconds = {}
    for task in (*Path("/proc/self/task").iterdir(), Path(f"/proc/{server}/task/{server}")):
        with contextlib.suppress(OSError):  # a thread that ends just now
            stat = (task / "schedstat").read_text(encoding="ascii")
            seconds[task.name] = int(stat.split()[1]) * 1e-9
    return seconds


async def sample_waits(samples: list[tuple[float, dict[str, float]]], server: int) -> None:
    """Note how long was waited for processors so far, every half second."""
    while True:
        samples.append((time.monotonic(), waits(server)))
        await asyncio.sleep(0.5)


def is_starved(
    samples: list[tuple[float, dict[str, float]]], server: int, begin: float, over: float
) -> bool:
    """Whether a request begun at `begin` had to wait for processors for longer than `over`.

    It needs three threads, the loop's, the server's and one of the transport's: of the others only
    the one that waited the most can excuse it.
    """
    before = next((waited for at, waited in reversed(samples) if at <= begin), {})
    since = {name: waited - before.get(name, 0.0) for name, waited in waits(server).items()}
    needed = sum(since.pop(str(thread), 0.0) for thread in (os.getpid(), server))
    return needed + max(since.values(), default=0.0) > over


async def left_open(files: int, tasks: int) -> list[str]:
    """Return what is still open 10 s after everything was closed."""
    for _ in range(100):
        if open_files() <= files and native_threads() <= tasks:
            return []
        await asyncio.sleep(0.1)
    return [f"{open_files() - files} descriptors and {native_threads() - tasks} threads are left"]


def is_whole(kind: str, name: str, content: bytes) -> bool:
    """Whether a reply that HTTP cannot know to be faulty holds the bytes that were sent."""
    body, events = FaultServer.body_of(name), FaultServer.events_of(name)
    whole = b"".join(events)
    if kind in ("F18", "F19", "F20"):
        return content == b"".join(events[:-2]) if kind == "F18" else whole.startswith(content)
    if kind == "F21":
        return content.startswith(b"".join(events[:5])) and content.endswith(events[-1])
    known = {"F17": b"{}", "F22": body[:-2], "F24": body[:-10]}
    if kind in known:
        return content == known[kind]
    if kind == "F23":
        return content.startswith(b"<!doctype html>") and content.endswith(b"</h1>")
    return "error" in json.loads(content)


class OutOfTimeError(AssertionError):
    """The deadline ran out where the answer was due at once."""


def ended_in(error: Exception, allowed: tuple[type[BaseException], ...]) -> str:
    if isinstance(error, allowed):
        return type(error).__name__
    kind = OutOfTimeError if isinstance(error, Deadline) else AssertionError
    raise kind(f"{type(error).__name__}: {error}")


async def drive(
    server: FaultServer, prefix: str, count: int, one: Callable[[str], Awaitable[str]]
) -> Result:
    """Run `count` requests; `one` returns how it ended, or raises AssertionError."""
    result = Result(requests=count)
    names = iter([f"{prefix}-{at}" for at in range(count)])

    async def worker() -> None:
        for name in names:
            begin = time.monotonic()
            kind = server.fault_of(name) or "none"
            try:
                result.ends[kind][await one(name)] += 1
            except OutOfTimeError as wrong:  # no more than a busy machine, if all of it was waiting
                if not is_starved(samples, server.pid, begin, LIMIT - SLACK):
                    result.wrong.append(f"{name} ({kind}): {wrong}")
                else:
                    result.ends[kind]["starved"] += 1
                    result.starved += 1
                    continue
            except AssertionError as wrong:
                result.wrong.append(f"{name} ({kind}): {wrong}")
            over = time.monotonic() - begin - LIMIT - SLACK
            if over > 0 and is_starved(samples, server.pid, begin, over):
                result.starved += 1
            elif over > 0:
                result.late += 1

    samples: list[tuple[float, dict[str, float]]] = []
    sampler = asyncio.ensure_future(sample_waits(samples, server.pid))
    begin = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    result.seconds = time.monotonic() - begin
    sampler.cancel()
    return result


def reconcile(server: FaultServer, names: list[str]) -> list[str]:
    """Compare the server's log with the client's requests; returns what does not add up."""
    hits = Counter(line["id"] for line in server.log())
    wrong = [f"{name}: the server saw what nobody sent" for name in set(hits) - set(names)]
    for name in names:
        kind = server.fault_of(name)
        most = 0 if kind in CONNECT_KINDS else 2 if kind == "F3" else 1  # F3: once more, if stale
        least = 0 if kind in CONNECT_KINDS else 1
        if not least <= hits[name] <= most:
            wrong.append(f"{name} ({kind}): the server saw it {hits[name]} times")
    return wrong


async def transport_storm(engine: str, count: int, seed: int) -> Result:
    """HttpClient on one engine: exact bytes or the right error, nothing left open."""
    from dure.aio import HttpClient

    tls = engine == "a"
    with FaultServer(seed=seed, faults=0.3, tls=tls) as server:
        async with HttpClient(transport="b") as first:  # the loop's bridge and threads are there
            with contextlib.suppress(errors.DureError):
                await first.request("GET", "http://127.0.0.1:1/")
        files, tasks = open_files(), native_threads()
        client = HttpClient(transport=engine, ca=server.ca, timeout=LIMIT)

        async def one(name: str) -> str:
            kind = server.fault_of(name)
            url = f"{server.url_of(name)}/chat/completions"
            try:
                reply = await client.request(
                    "POST", url, headers={"x-request-id": name}, body=b'{"model":"m"}'
                )
            except errors.DureError as error:
                allowed = OF_TRANSPORT.get(kind or "", ())
                return ended_in(error, allowed)
            if kind in (None, "F29"):
                assert reply.status == 200, reply.status
                assert reply.content == FaultServer.body_of(name), "not the bytes that were sent"
            else:
                unseen = {"F3", "F4", "F5", "F6", "F25", "F26", "F27", "F28", "F30"}
                assert kind not in unseen | CONNECT_KINDS, f"a whole reply of {kind}"
                assert is_whole(kind, name, reply.content), "not the bytes that were sent"
            return str(reply.status)

        result = await drive(server, f"t{engine}", count, one)
        names = [f"t{engine}-{at}" for at in range(count)]
        result.wrong += reconcile(server, names)
        await client.aclose()
        result.wrong += await left_open(files, tasks)
    return result


# What AsyncClient may raise; all others must end in the exact answer.
OF_CLIENT: dict[str, tuple[type[BaseException], ...]] = {
    **dict.fromkeys(CONNECT_KINDS, (Unavailable,)),
    "F3": (Upstream, Unavailable),
    "F4": (Truncated, Upstream),
    "F5": (Truncated, Upstream),
    "F6": (Truncated, Upstream),
    "F11": (RateLimit,),
    **dict.fromkeys(("F12", "F13", "F15", "F17"), (Upstream, Unavailable)),
    "F14": (Unavailable, Upstream),
    "F16": (Upstream, RateLimit, errors.InvalidArgumentError),
    **dict.fromkeys(("F18", "F19", "F20"), (Truncated, Upstream)),
    "F21": (Upstream, Truncated),
    **dict.fromkeys(("F22", "F23", "F24", "F26"), (Upstream,)),
    "F25": (Truncated, Upstream),
    "F27": (Deadline,),
    "F28": (Deadline,),
    "F29": (Upstream,),
    "F30": (Upstream,),
}


async def client_storm(engine: str, count: int, seed: int, data: Path) -> Result:
    """AsyncClient on one engine: the exact answer or a typed error, and the account adds up."""
    with FaultServer(seed=seed, faults=0.3, tls=engine == "a") as server:
        if server.ca is not None:
            os.environ["SSL_CERT_FILE"] = str(server.ca)
        paid: dict[str, int] = {}  # by request id, in pico-dollars: what the answers say
        clients: dict[str, dure.AsyncClient] = {}
        # F11 parks a key for as long as it says, for ever in half of its forms.
        keys = [f"sk-storm-{at}" for at in range(max(16, count // 20))]

        def client_for(url: str) -> dure.AsyncClient:
            if url not in clients:
                clients[url] = dure.AsyncClient(
                    base_url=url, api_key=keys, data=data, transport=engine, timeout=LIMIT
                )
            return clients[url]

        await client_for(server.url).budgets.set("org:storm", limit="1000", window="lifetime")
        for url in ("http://127.0.0.1:1/v1", "http://-no-such-host.invalid/v1"):
            with contextlib.suppress(errors.UnavailableError):  # all threads are there after it
                await client_for(url).chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": "x"}],
                    max_tokens=1,
                    dure=dure.Call(max_attempts=1),
                )
        before = client_for(server.url).counters
        files, tasks = open_files(), native_threads()

        async def one(name: str) -> str:
            kind = server.fault_of(name)
            client = client_for(server.url_of(name))
            stream = kind in ("F18", "F19", "F20", "F21") or int(name.split("-")[1]) % 4 == 0
            text = ""
            try:
                answer: Any = await client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": name}],
                    max_tokens=50,
                    stream=stream,
                    extra_headers={"x-request-id": name},
                    dure=dure.Call(org="storm", max_attempts=1),
                )
                if stream:
                    async for chunk in answer:
                        if chunk.choices and chunk.choices[0].delta.content:
                            text += chunk.choices[0].delta.content
                else:
                    text = answer.choices[0].message.content or ""
                paid[name] = answer.dure.cost_pico
                if not stream:
                    assert answer.usage.total_tokens == 60, "another usage"
            except errors.DureError as error:
                allowed = OF_CLIENT.get(kind or "", ())
                return ended_in(error, allowed)
            assert kind in (None, "F29"), f"an answer of {kind}"
            assert text == FaultServer.text_of(name), "not the text that was sent"
            return "answer"

        result = await drive(server, f"c{engine}", count, one)
        result.wrong += reconcile(server, [f"c{engine}-{at}" for at in range(count)])
        budget = await client_for(server.url).budgets.read("org:storm")
        after = client_for(server.url).counters  # of all clients of this folder
        counters = {name: after[name] - before[name] for name in after}
        for client in clients.values():
            await client.aclose()
        result.wrong += await left_open(files, tasks)
        os.environ.pop("SSL_CERT_FILE", None)
    return balance(result, budget, counters, paid, data)


def balance(
    result: Result,
    budget: dure.costs.Budget,
    counters: dict[str, int],
    paid: dict[str, int],
    data: Path,
) -> Result:
    """Compare what the answers, the counters, the budget and the ledger say was spent."""
    report = dure.verify_ledger(data)
    if not report.ok:
        result.wrong.append(f"the ledger does not add up: {report}")
    if budget.held != 0 or report.held_pico != 0 or report.open_holds != 0:
        result.wrong.append(f"{budget.held} dollars are still held, {report.open_holds} holds open")
    spent = {
        "ledger": report.spent_pico,
        "counters": counters["cost_pico"],
        "budget": int(budget.used * 10**12),
    }
    if len(set(spent.values())) != 1:
        result.wrong.append(f"they differ on what was spent: {spent}")
    answers = sum(ends["answer"] for ends in result.ends.values())
    if counters["calls"] != result.requests or counters["failures"] != result.requests - answers:
        result.wrong.append(f"{answers} answers of {result.requests} calls, but {counters}")
    costs = sorted(record["pico"] for record in ends_of_holds(data))
    if len(paid) != answers or Counter(paid.values()) - Counter(costs):
        result.wrong.append("an answer says another cost than its record in the ledger")
    return result


def ends_of_holds(data: Path) -> list[dict[str, Any]]:
    """Return the records that say what a call came to."""
    return [record for record in ledger_records(data) if record["type"] == "SETTLE"]


async def ask_openai(client: Any, name: str, *, stream: bool) -> str:  # noqa: ANN401 - AsyncOpenAI
    """Return the text of one answer."""
    text = ""
    answer = await client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": name}],
        max_tokens=50,
        stream=stream,
        extra_headers={"x-request-id": name},
    )
    if not stream:
        return answer.choices[0].message.content or ""
    async for chunk in answer:
        if chunk.choices and chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
    return text


async def openai_storm(count: int, seed: int, *, tls: bool) -> Result:
    """The same requests by openai-python, for comparison: nothing it does counts as wrong here."""
    import openai

    with FaultServer(seed=seed, faults=0.3, tls=tls) as server:
        if server.ca is not None:
            os.environ["SSL_CERT_FILE"] = str(server.ca)
        clients: dict[str, openai.AsyncOpenAI] = {}

        async def one(name: str) -> str:
            kind, url = server.fault_of(name), server.url_of(name)
            if url not in clients:
                clients[url] = openai.AsyncOpenAI(
                    base_url=url, api_key="sk-storm", max_retries=0, timeout=LIMIT
                )
            stream = kind in ("F18", "F19", "F20", "F21") or int(name.split("-")[1]) % 4 == 0
            try:
                async with asyncio.timeout(5 * LIMIT):
                    text = await ask_openai(clients[url], name, stream=stream)
            except openai.OpenAIError as error:
                return type(error).__name__
            except TimeoutError:
                return "**did not end**"
            except Exception as error:  # noqa: BLE001 - whatever leaves it is what is asked here
                return f"**{type(error).__module__.partition('.')[0]}.{type(error).__name__}**"
            if text == FaultServer.text_of(name):
                return "answer" if kind in (None, "F29") else "**answer, the fault unnoticed**"
            return "**other text, no error**"

        result = await drive(server, "ca" if tls else "cb", count, one)
        for client in clients.values():
            await client.close()
        os.environ.pop("SSL_CERT_FILE", None)
    return result


def table(results: dict[str, Result]) -> str:
    """Kind x run: how requests of each kind ended."""
    kinds = {kind for r in results.values() for kind in r.ends}
    in_order = sorted(kinds, key=lambda kind: (kind == "none", len(kind), kind))
    lines = [f"| kind | {' | '.join(results)} |", "|---" * (len(results) + 1) + "|"]
    for kind in in_order:
        cells = [
            ", ".join(f"{end} {count}" for end, count in r.ends[kind].most_common()) or "-"
            for r in results.values()
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def add(total: Result, part: Result) -> None:
    """Count `part` into `total`."""
    for kind, ends in part.ends.items():
        total.ends[kind].update(ends)
    total.wrong += part.wrong
    total.late += part.late
    total.starved += part.starved
    total.requests += part.requests
    total.seconds += part.seconds


PART = 25_000  # requests of one run of one column; a new seed for each


def columns(chosen: str) -> dict[str, Callable[[int, int, Path], Awaitable[Result]]]:
    """Return what a run of each column is: (requests, seed, folder) -> result."""
    ours: dict[str, Callable[[int, int, Path], Awaitable[Result]]] = {
        "HttpClient, A over TLS": lambda n, seed, _: transport_storm("a", n, seed),
        "HttpClient, B": lambda n, seed, _: transport_storm("b", n, seed),
        "AsyncClient, A over TLS": lambda n, seed, data: client_storm("a", n, seed, data),
        "AsyncClient, B": lambda n, seed, data: client_storm("b", n, seed, data),
    }
    theirs: dict[str, Callable[[int, int, Path], Awaitable[Result]]] = {
        "openai, TLS": lambda n, seed, _: openai_storm(n, seed, tls=True),
        "openai, plain": lambda n, seed, _: openai_storm(n, seed, tls=False),
    }
    return theirs if chosen == "openai" else ours


def report(results: dict[str, Result]) -> str:
    """The table, and what must be zero."""
    lines = [table(results), ""]
    for name, result in results.items():
        lines.append(
            f"{name}: {result.requests} requests in {result.seconds:.0f} s, "
            f"{len(result.wrong)} wrong, {result.late} late, {result.starved} late for want of a "
            "processor"
        )
        lines += result.wrong[:20]
    return "\n".join(lines) + "\n"


def load(state: Path | None, names: Iterable[str]) -> dict[str, Result]:
    """Return what earlier runs with this state file came to."""
    results = {name: Result() for name in names}
    if state is not None and state.exists():
        for name, kept in json.loads(state.read_text(encoding="utf-8")).items():
            ends = {kind: Counter(found) for kind, found in kept.pop("ends").items()}
            results[name] = Result(ends=defaultdict(Counter, ends), **kept)
    return results


def main(requests: int, seed: int, chosen: str, state: Path | None) -> int:
    """Run the columns in parts, each with a seed of its own, and print the report.

    With `state` the run goes on where the last one with that file ended, and seeds go on too.
    """
    import tempfile

    runs = columns(chosen)
    results = load(state, runs)
    parts = max(1, requests // (len(runs) * PART))
    size = requests // (len(runs) * parts)
    for _ in range(parts):
        for name, run in runs.items():
            part_seed = seed + results[name].requests // size
            with tempfile.TemporaryDirectory() as data:
                add(results[name], asyncio.run(run(size, part_seed, Path(data))))  # type: ignore[arg-type]
            if state is not None:
                kept = {name: vars(result) for name, result in results.items()}
                state.write_text(json.dumps(kept), encoding="utf-8")
    sys.stdout.write(report(results))
    bad = any(r.wrong or r.late or r.starved > r.requests // 1000 for r in results.values())
    return 1 if bad and chosen != "openai" else 0


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(prog="python -m tests.hazard.storm", description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=20_261_121)
    parser.add_argument("--of", choices=("dure", "openai"), default="dure")
    parser.add_argument("--state", type=Path, help="file that keeps results for the next run")
    given = parser.parse_args()
    sys.exit(main(given.requests, given.seed, given.of, given.state))
