"""One client, one run: prints CPU per request and latencies as JSON.

`python -m benchmarks.peers.transport_worker CLIENT PORT CONCURRENCY REQUESTS`; the caller pins it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

# Prose, 1,000 characters: a caller that counts tokens exactly pays for real words.
PROSE = (
    "A village that plants rice together shares more than work. In spring the fields are flooded, "
    "and every household sends hands to each field in turn, so that no one is late and nobody is "
    "left alone with a task that ten can finish before noon. The custom has a drum, a flag and a "
    "song for each step; it also has an account book, kept by the eldest, in which hours given "
    "and hours owed are written down to the last half day. "
)
BODY: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": (PROSE * 3)[:1000]}],
    "max_tokens": 100,
}


def cpu_us() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


async def drive(call: Callable[[], Awaitable[int]], concurrency: int, total: int) -> dict[str, Any]:
    """Run `total` calls with `concurrency` workers; each returns the prompt tokens it parsed.

    The first wave, when all workers send at once, is left out of the latencies.
    """
    left, latencies, answers = iter(range(total)), [], set()

    async def worker() -> None:
        for number in left:
            start = time.perf_counter()
            answers.add(await call())
            if number >= concurrency:
                latencies.append(time.perf_counter() - start)

    await asyncio.gather(
        *(call() for _ in range(concurrency))
    )  # connections are open, code is warm
    start = cpu_us()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    spent = cpu_us() - start
    latencies.sort()
    return {
        "cpu_us": spent / total,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
        "answers": sorted(answers),
    }


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


async def dure_http(
    url: str, concurrency: int, total: int, *, parse: bool, engine: str | None = None
) -> dict[str, Any]:
    """The low-level face: bytes in, bytes out; or a dict in and parsed usage out."""
    from dure.aio import HttpClient

    body = json.dumps(BODY).encode()
    headers = {"Content-Type": "application/json"}
    target = f"{url}/v1/chat/completions"
    async with HttpClient(transport=engine) as client:

        async def call() -> int:
            reply = await client.request("POST", target, headers=headers, body=body)
            return len(reply.content) and reply.status

        async def call_json() -> int:
            reply: Any = await client.request("POST", target, json=BODY)
            return int(reply.json()["usage"]["prompt_tokens"])

        return await drive(call_json if parse else call, concurrency, total)


async def dure_memory(
    url: str, concurrency: int, total: int, *, engine: str | None = None
) -> dict[str, Any]:
    """RSS growth for each request in flight, its task included; `total` says how many."""
    from dure.aio import HttpClient

    body = json.dumps(BODY).encode()
    async with HttpClient(transport=engine) as client:

        async def call() -> None:
            await client.request("POST", f"{url}/v1/x", body=body)

        await asyncio.gather(*(call() for _ in range(concurrency)))
        before = resident_bytes()
        tasks = [asyncio.ensure_future(call()) for _ in range(total)]
        await asyncio.sleep(1.0)
        grown = resident_bytes() - before
        assert not any(task.done() for task in tasks), "the server is too quick for this"
        await asyncio.gather(*tasks)
        return {"bytes_each": grown / total, "answers": [200]}


async def dure_memory_tls(url: str, concurrency: int, total: int) -> dict[str, Any]:
    """As `dure_memory`, over TLS: the server says when all have come, and then answers."""
    from dure.aio import HttpClient, Timeout

    url = url.replace("http:", "https:")
    body = json.dumps(BODY).encode()
    patient = Timeout(connect=60.0, total=120.0)
    async with HttpClient(ca=os.environ["DURE_BENCH_CA"], timeout=patient) as client:

        async def call(path: str) -> int:
            reply = await client.request("POST", f"{url}/{path}", body=body)
            return int(reply.content or b"0") if path == "waiting" else reply.status

        await asyncio.gather(*(call("now") for _ in range(concurrency)))
        before = resident_bytes()
        tasks = [asyncio.ensure_future(call("held")) for _ in range(total)]
        while await call("waiting") < total:
            await asyncio.sleep(0.2)
        grown = resident_bytes() - before
        assert not any(task.done() for task in tasks)
        return {"bytes_each": grown / total, "answers": sorted(set(await asyncio.gather(*tasks)))}


async def dure_calls(
    url: str, concurrency: int, total: int, *, engine: str | None = None
) -> dict[str, Any]:
    import dure

    with tempfile.TemporaryDirectory() as data:
        async with dure.AsyncClient(
            base_url=f"{url}/v1", api_key="sk-bench", data=data, transport=engine
        ) as client:

            async def call() -> int:
                reply = await client.chat.completions.create(**BODY)
                return int(reply.usage.prompt_tokens)

            return await drive(call, concurrency, total)


async def dure_governed(
    url: str, concurrency: int, total: int, *, engine: str | None = None
) -> dict[str, Any]:
    """All that a call can be asked to do: policy, budgets, rates, queue, hold, ledger."""
    import dure

    with tempfile.TemporaryDirectory() as data:
        async with dure.AsyncClient(
            base_url=f"{url}/v1", api_key="sk-bench", data=data, transport=engine
        ) as client:
            for scope in ("org:acme", "user:7"):
                await client.budgets.set(scope, limit="1000000", window="month")
                client.rates.set(scope, rpm=1e9, tpm=1e12)
            limits = dure.Call(org="acme", user="7", service="StrategyBuilder")

            async def call() -> int:
                reply = await client.chat.completions.create(**BODY, dure=limits)
                return int(reply.usage.prompt_tokens)

            return await drive(call, concurrency, total)


async def dure_burst(url: str, concurrency: int, total: int) -> dict[str, Any]:
    """Wall time of `total` requests, at most `concurrency` under way."""
    import dure

    with tempfile.TemporaryDirectory() as data:
        async with dure.AsyncClient(base_url=f"{url}/v1", api_key="sk-bench", data=data) as client:
            await client.map([BODY] * concurrency, limit=concurrency)
            start = time.perf_counter()
            replies = await client.map([BODY] * total, limit=concurrency)
            spent = time.perf_counter() - start
            answers = {int(reply.usage.prompt_tokens) for reply in replies}  # type: ignore[union-attr]
            return {"rps": total / spent, "answers": sorted(answers)}


async def openai_burst(url: str, concurrency: int, total: int) -> dict[str, Any]:
    async with openai_client(url, on_aiohttp=False) as client:
        gate = asyncio.Semaphore(concurrency)

        async def call() -> int:
            async with gate:
                reply = await client.chat.completions.create(**BODY)
            return int(reply.usage.prompt_tokens)

        await asyncio.gather(*(call() for _ in range(concurrency)))
        start = time.perf_counter()
        answers = set(await asyncio.gather(*(call() for _ in range(total))))
        return {"rps": total / (time.perf_counter() - start), "answers": sorted(answers)}


async def litellm_calls(url: str, concurrency: int, total: int) -> dict[str, Any]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it asks the network for prices otherwise
    import litellm

    litellm.suppress_debug_info = True

    async def call() -> int:
        reply = await litellm.acompletion(
            **{**BODY, "model": f"openai/{BODY['model']}"}, api_base=f"{url}/v1", api_key="sk-bench"
        )
        return int(reply.usage.prompt_tokens)

    return await drive(call, concurrency, total)


async def dure_map(url: str, concurrency: int, total: int) -> dict[str, Any]:
    import dure

    with tempfile.TemporaryDirectory() as data:
        async with dure.AsyncClient(base_url=f"{url}/v1", api_key="sk-bench", data=data) as client:
            await client.map([BODY] * concurrency, limit=concurrency)
            start = cpu_us()
            replies = await client.map([BODY] * total, limit=concurrency)
            answers = {int(reply.usage.prompt_tokens) for reply in replies}  # type: ignore[union-attr]
            return {"cpu_us": (cpu_us() - start) / total, "answers": sorted(answers)}


async def dure_map_raw(url: str, concurrency: int, total: int) -> dict[str, Any]:
    import dure

    concurrency = max(concurrency, 256)

    body = json.dumps(BODY).encode()
    with tempfile.TemporaryDirectory() as data:
        async with dure.AsyncClient(base_url=f"{url}/v1", api_key="sk-bench", data=data) as client:
            await client.map_raw([body] * concurrency, limit=concurrency)
            start = cpu_us()
            replies = await client.map_raw([body] * total, limit=concurrency)
            spent = cpu_us() - start
            answers = {json.loads(bytes(r))["usage"]["prompt_tokens"] for r in set(replies)}  # type: ignore[arg-type]
            return {"cpu_us": spent / total, "answers": sorted(answers)}


async def dure_http_map_raw(url: str, concurrency: int, total: int) -> dict[str, Any]:
    """The low-level face: a batch of bodies in, replies out, one awaitable."""
    from dure.aio import HttpClient

    concurrency = max(concurrency, 256)
    body = json.dumps(BODY).encode()
    headers = {"Content-Type": "application/json"}
    target = f"{url}/v1/chat/completions"
    async with HttpClient() as client:
        await client.map_raw(target, [body] * concurrency, concurrency, headers=headers)
        start = cpu_us()
        replies: list[Any] = await client.map_raw(
            target, [body] * total, concurrency, headers=headers
        )
        contents = [reply.content for reply in replies]
        spent = cpu_us() - start
        answers = {json.loads(content)["usage"]["prompt_tokens"] for content in set(contents)}
        return {"cpu_us": spent / total, "answers": sorted(answers)}


async def aiohttp_calls(url: str, concurrency: int, total: int) -> dict[str, Any]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call() -> int:
            async with session.post(f"{url}/v1/chat/completions", json=BODY) as reply:
                return int((await reply.json())["usage"]["prompt_tokens"])

        return await drive(call, concurrency, total)


def openai_client(url: str, *, on_aiohttp: bool) -> Any:  # noqa: ANN401 - AsyncOpenAI
    import openai

    transport = openai.DefaultAioHttpClient() if on_aiohttp else None
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-bench", http_client=transport)


async def openai_calls(
    url: str, concurrency: int, total: int, *, on_aiohttp: bool
) -> dict[str, Any]:
    async with openai_client(url, on_aiohttp=on_aiohttp) as client:

        async def call() -> int:
            reply = await client.chat.completions.create(**BODY)
            return int(reply.usage.prompt_tokens)

        return await drive(call, concurrency, total)


async def pycurl_calls(url: str, concurrency: int, total: int) -> dict[str, Any]:
    from io import BytesIO

    import pycurl

    body = json.dumps
    async with pycurl.AsyncCurlMulti() as multi:

        async def call() -> int:
            handle, out = pycurl.Curl(), BytesIO()
            handle.setopt(pycurl.URL, f"{url}/v1/chat/completions")
            handle.setopt(pycurl.POSTFIELDS, body(BODY))
            handle.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json"])
            handle.setopt(pycurl.WRITEDATA, out)
            await multi.perform(handle)
            handle.close()
            return int(json.loads(out.getvalue())["usage"]["prompt_tokens"])

        return await drive(call, concurrency, total)


async def streams(begin: Callable[[], Awaitable[int]], count: int) -> dict[str, Any]:
    """Read `count` streams at once; `begin` reads one and returns how many events it had."""
    start = cpu_us()
    events = sum(await asyncio.gather(*(begin() for _ in range(count))))
    return {"cpu_us": (cpu_us() - start) / events, "answers": [events]}


async def dure_events(url: str, concurrency: int, _: int) -> dict[str, Any]:
    from dure.aio import HttpClient

    body = json.dumps(BODY).encode()
    async with HttpClient() as client:

        async def read() -> int:
            count = 0
            async with client.stream("POST", url, body=body, events=True) as stream:
                async for event in stream:
                    assert event[1]
                    count += 1
            return count - 2  # the last chunk and [DONE]

        return await streams(read, concurrency)


async def dure_chunks(url: str, concurrency: int, _: int) -> dict[str, Any]:
    """The client: each chunk an object shaped like openai's, the answer settled at its end."""
    import dure

    with tempfile.TemporaryDirectory() as data:
        async with dure.AsyncClient(base_url=url, api_key="k", data=data) as client:

            async def read() -> int:
                stream: Any = await client.chat.completions.create(**BODY, stream=True)
                return sum([1 async for chunk in stream if chunk.choices]) - 1

            return await streams(read, concurrency)


async def aiohttp_lines(url: str, concurrency: int, _: int) -> dict[str, Any]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def read() -> int:
            async with session.post(url, json=BODY) as reply:
                return sum([1 async for line in reply.content if line.startswith(b"data: ")]) - 2

        return await streams(read, concurrency)


async def openai_chunks(url: str, concurrency: int, _: int) -> dict[str, Any]:
    async with openai_client(url, on_aiohttp=True) as client:

        async def read() -> int:
            stream = await client.chat.completions.create(**BODY, stream=True)
            return sum([1 async for _ in stream]) - 1

        return await streams(read, concurrency)


CLIENTS: dict[str, Callable[[str, int, int], Coroutine[Any, Any, dict[str, Any]]]] = {
    "dure create": dure_calls,
    "dure create, engine a": partial(dure_calls, engine="a"),
    "dure HttpClient bytes": partial(dure_http, parse=False),
    "dure HttpClient bytes, engine a": partial(dure_http, parse=False, engine="a"),
    "dure HttpClient json": partial(dure_http, parse=True),
    "dure HttpClient json, engine a": partial(dure_http, parse=True, engine="a"),
    "dure governed": dure_governed,
    "dure governed, engine a": partial(dure_governed, engine="a"),
    "dure burst": dure_burst,
    "dure memory": dure_memory,
    "dure memory, engine a": partial(dure_memory, engine="a"),
    "dure memory, engine a over TLS": dure_memory_tls,
    "dure HttpClient map_raw": dure_http_map_raw,
    "dure map": dure_map,
    "dure map_raw": dure_map_raw,
    "dure events": dure_events,
    "dure chunks": dure_chunks,
    "aiohttp": aiohttp_calls,
    "aiohttp lines": aiohttp_lines,
    "litellm": litellm_calls,
    "openai": partial(openai_calls, on_aiohttp=False),
    "openai burst": openai_burst,
    "openai on aiohttp": partial(openai_calls, on_aiohttp=True),
    "openai chunks": openai_chunks,
    "pycurl": pycurl_calls,
}


def main(client: str, target: str, concurrency: str, total: str) -> None:
    """`target`: a port, with a path where streams are read."""
    loop_factory: Any = None
    if client.endswith("+uvloop"):
        import uvloop

        loop_factory = uvloop.new_event_loop
    work = CLIENTS[client.removesuffix("+uvloop")]
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        result = runner.run(work(f"http://127.0.0.1:{target}", int(concurrency), int(total)))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
