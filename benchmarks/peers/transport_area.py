"""Client CPU per request over loopback, beside the peers and the raw epoll floor of the same run.

The server has processor 0, the client processor 1. POST of 1.1 kB, answer of 1.1 kB, keep-alive;
each client parses the answer and returns its usage.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Row, Table, named

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = Path(sys.executable).parent  # scripts/bench compiles them there
ROUNDS = 5
# client, package, requests a round at C=64
CLIENTS = (
    ("dure create", "", 6000),
    ("dure create+uvloop", "", 6000),
    ("dure create, engine a", "", 4000),
    ("dure HttpClient bytes", "", 8000),
    ("dure HttpClient json", "", 6000),
    ("dure map", "", 10000),
    ("dure map_raw", "", 10000),
    ("pycurl", "pycurl", 4000),
    ("aiohttp", "aiohttp", 4000),
    ("aiohttp+uvloop", "aiohttp", 4000),
    ("openai", "openai", 600),
    ("httpx", "httpx", 600),
)


@contextmanager
def server(delay_ms: int) -> Iterator[str]:
    command = ["taskset", "-c", "0", str(TOOLS / "dure_stub_server"), "0", str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def raw(port: str, concurrency: int, total: int) -> dict[str, Any]:
    command = ["taskset", "-c", "1", str(TOOLS / "dure_raw_client"), port]
    out = subprocess.check_output([*command, str(concurrency), str(total)], text=True).split()
    return {"cpu_us": float(out[0]), "p50_ms": float(out[1]), "p99_ms": float(out[2])}


def client(name: str, port: str, concurrency: int, total: int) -> dict[str, Any]:
    command = ["taskset", "-c", "1", sys.executable, "-m", "benchmarks.peers.transport_worker"]
    arguments = [name, port, str(concurrency), str(total)]
    out = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if out.returncode != 0:
        return {"error": out.stderr.strip().splitlines()[-1] if out.stderr else "failed"}
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def measure(concurrency: int, delay_ms: int, share: float) -> list[Table]:
    samples: dict[str, list[dict[str, Any]]] = {"raw epoll floor": []}
    samples |= {name: [] for name, _, _ in CLIENTS}
    with server(delay_ms) as port:
        for _ in range(ROUNDS):
            floor = raw(port, concurrency, int(20000 * share))
            samples["raw epoll floor"].append(floor | {"answers": [200]})
            for name, _, total in CLIENTS:
                count = max(int(total * share), concurrency * 2)
                samples[name].append(client(name, port, concurrency, count))
    tables = []
    title = f"C={concurrency}, {delay_ms} ms server"
    for key, unit in (("cpu_us", "CPU us/req"), ("p99_ms", "p99 ms")):
        table = Table(f"{title}: {unit}", unit, "less is better")
        mine = [s[key] for s in samples["dure create"] if key in s]
        base = statistics.median(mine) if mine else float("nan")
        floor = statistics.median(sample[key] for sample in samples["raw epoll floor"])
        table.note += "; over the floor: " + ", ".join(
            f"{name} {statistics.median(values) / floor:.2f}x"
            for name, _, _ in CLIENTS
            if (values := [sample[key] for sample in samples[name] if key in sample])
        )
        for name, package, _ in (("raw epoll floor", "", 0), *CLIENTS):
            values = [sample[key] for sample in samples[name] if key in sample]
            if not values:
                continue
            middle = statistics.median(values)
            label = f"{name} ({named(package)})" if package else name
            equal = all(sample.get("answers") == [200] for sample in samples[name])
            table.rows.append(
                Row(label, middle, min(values), max(values), middle, middle / base, equal)
            )
        table.show()
        tables.append(table)
    for name, taken in samples.items():
        errors = {sample["error"] for sample in taken if "error" in sample}
        if errors:
            print(f"  {name}: {errors}")
    return tables


def memory() -> Table:
    """RSS growth for each of 2,000 requests in flight, one asyncio task each included."""
    table = Table("2,000 in flight: memory", "bytes/req", "less is better")
    with server(3000) as port:
        values = [client("dure memory", port, 64, 2000)["bytes_each"] for _ in range(3)]
    middle = statistics.median(values)
    table.rows.append(Row("dure", middle, min(values), max(values), middle, 1.0, True))
    table.show()
    return table


def run() -> list[Table]:
    return [
        *measure(64, 0, 1.0),
        *measure(1, 0, 0.2),
        *measure(1000, 200, 1.0),
        *measure(4000, 200, 2.0),
        memory(),
    ]
