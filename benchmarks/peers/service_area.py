"""The gateway beside LiteLLM's proxy and Portkey: same load generator, same provider, same 2 cores.

Nothing is pinned: generator, provider and server share both processors, as they would in life. Ours
runs one worker with login, limits, a budget and the usage rows on. Each width takes turns: straight
to the provider, dure, the peers; the median of the rounds counts. `DURE_BENCH_ROUNDS` (3),
`DURE_BENCH_SECONDS` (3: about what each turn takes), `DURE_BENCH_PEERS` (portkey,litellm).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.goals import Goals
from benchmarks.harness import Row, Table, named

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = Path(sys.executable).parent
LITELLM = Path("build/bench-litellm/bin/litellm")
PORTKEY = "@portkey-ai/gateway@1.15.2"
PEERS = os.environ.get("DURE_BENCH_PEERS", "portkey,litellm").split(",")
ROUNDS = int(os.environ.get("DURE_BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("DURE_BENCH_SECONDS", "3"))
WIDTHS = (1, 16, 64)
FEW = 64  # requests that tell how many fit into a turn
CHUNKS = 64
OURS = "dure serve"


@dataclass
class Server:
    """A gateway that runs; how it is asked."""

    name: str
    port: int
    headers: list[str] = field(default_factory=list)
    pid: int = 0
    start_seconds: float = 0.0

    def resident_mb(self) -> float:
        """Return the memory of the process and its children, in MB."""
        return sum(_resident(pid) for pid in _family(self.pid)) / 1e6


def _family(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(one) for one in path.read_text().split()] if path.exists() else []
    return [pid, *(grand for child in children for grand in _family(child))]


def _resident(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as plug:
        return int(plug.getsockname()[1])


@contextmanager
def _provider() -> Iterator[int]:
    command = [str(TOOLS / "dure_stub_server"), "0", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def _process(
    name: str, command: list[str], port: int, path: str, environment: dict[str, str], log: Path
) -> Iterator[Server]:
    """Start a server and wait until it answers; a group of its own, ended as one."""
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        while not _answers(port, path):
            if process.poll() is not None or time.perf_counter() - begun > 120:
                raise RuntimeError(f"{name} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.005)
        taken = time.perf_counter() - begun
        yield Server(name, port, pid=process.pid, start_seconds=taken)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _post(port: int, path: str, body: dict[str, Any], key: str = "", method: str = "POST") -> Any:  # noqa: ANN401
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _key(port: int, data: Path) -> str:
    """Make a person with a key, a limit of their own, and the organisation's pool."""
    token = (data / "first-start-token").read_text().split()[0]
    person = {"email": "bench@example.com", "password": "correct horse battery"}
    root = _post(port, "/api/auth/first-start", {"token": token, **person})["access_token"]
    made: str = _post(port, "/api/keys", {"name": "bench"}, root)["key"]
    limit = {"max_tokens": 2**50, "policy": "block"}
    _post(port, "/api/admin/usage/limits/pool", limit, root, "PUT")
    _post(port, "/api/admin/usage/limits/users/*", limit, root, "PUT")
    return made


@contextmanager
def _dure(folder: Path, upstream: str, name: str = OURS) -> Iterator[Server]:
    """Start ours as it comes, one worker; the second start counts, the first makes the data."""
    data, port = folder / "data", _free_port()
    command = [sys.executable, "-m", "dure", "serve", f"--port={port}", "--data", str(data)]
    own = {
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_BASE_URL": upstream,
        "XDG_CONFIG_HOME": str(folder / "config"),
        "DURE_ACCESS_LOG": str(folder / "access.log"),
    }
    log = folder / "dure.log"
    with _process(name, command, port, "/health/live", own, log) as first:
        key, on_empty = _key(port, data), first.start_seconds
    with _process(name, command, port, "/health/live", own, log) as server:
        server.headers = [f"Authorization: Bearer {key}"]
        print(f"  {name}: first start {on_empty:.2f} s, then {server.start_seconds:.2f} s")
        yield server


@contextmanager
def _litellm(folder: Path, upstream: str) -> Iterator[Server]:
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n- model_name: gpt-4o-mini\n  litellm_params:\n"
        f"    model: openai/gpt-4o-mini\n    api_base: {upstream}\n    api_key: sk-bench\n"
        "litellm_settings: {telemetry: false, set_verbose: false}\n"
    )
    port = _free_port()
    command = [str(LITELLM), "--config", str(config), "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False"]
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": "sk-master"}
    name = named("litellm", "proxy")
    with _process(name, command, port, "/health/liveliness", own, folder / "litellm.log") as server:
        server.headers = ["Authorization: Bearer sk-master"]
        yield server


@contextmanager
def _portkey(folder: Path, upstream: str) -> Iterator[Server]:
    home = Path("build/bench-portkey")
    name, _, version = PORTKEY.rpartition("@")
    start = home / "node_modules" / name / "build" / "start-server.js"
    if not start.exists():
        home.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(home)]
        subprocess.run([*install, PORTKEY], check=True)
    port = _free_port()
    command = ["node", str(start), f"--port={port}", "--headless"]
    own = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    label = f"Portkey {version}"
    with _process(label, command, port, "/", own, folder / "portkey.log") as server:
        server.headers = [
            "Authorization: Bearer sk-bench",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {upstream}",
        ]
        yield server


def _load(server: Server, width: int, total: int, *, stream: bool = False) -> dict[str, float]:
    command = [str(TOOLS / "dure_load_client"), str(server.port), str(width), str(total)]
    done = subprocess.run(
        [*command, str(int(stream)), *server.headers], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{server.name} broke off at width {width}: {done.stderr[:500]}")
    found: dict[str, float] = json.loads(done.stdout)
    if found["bad"]:
        raise RuntimeError(f"{server.name} refused {found['bad']:.0f}: {done.stderr[:500]}")
    return found


def _turns(
    servers: list[Server], width: int, *, stream: bool = False
) -> dict[str, dict[str, float]]:
    """Let all take turns at one width; return the median of each figure."""
    fits = {}
    for server in servers:  # warm, and how many fit into a turn
        key = "rps"
        rate = _load(server, width, max(FEW, width * 2), stream=stream)[key]
        fits[server.name] = max(FEW, width * 4, int(rate * SECONDS))
    taken: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            taken[server.name].append(_load(server, width, fits[server.name], stream=stream))
    return {
        name: {key: statistics.median(one[key] for one in many) for key in many[0]}
        for name, many in taken.items()
    }


def _table(title: str, unit: str, key: str, found: dict[str, dict[str, float]], note: str) -> Table:
    table = Table(title, unit, note)
    ours = found[OURS][key]
    for name in sorted(found, key=lambda one: one != OURS):
        value, row = found[name][key], found[name]
        table.rows.append(Row(name, value, row["p50_ms"], row["p99_ms"], value, ours / value, None))
    table.show()
    return table


def _whole(goals: Goals, servers: list[Server]) -> list[Table]:
    tables = []
    peers = {"Portkey": 2.0, "litellm": 25.0}
    for width in WIDTHS:
        found = _turns(servers, width)
        note = "min..max: p50 and p99 in ms"
        tables.append(_table(f"1 kB chat, c={width}", "requests/s", "rps", found, note))
        ours = found[OURS]
        if width == 1:
            goals.at_most("c=1 p50 ms", ours["p50_ms"], 0.6)
            goals.at_most("c=1 p99 ms", ours["p99_ms"], 3.0)
            continue
        goals.at_least(f"c={width} requests/s, aimed", ours["rps"], 5000)
        goals.at_least(f"c={width} requests/s, required", ours["rps"], 2900)
        for name, times in peers.items():
            for label, row in found.items():
                if label.startswith(name):
                    goals.at_least(f"c={width} times {name}", ours["rps"] / row["rps"], times)
    return tables


def _streamed(goals: Goals, servers: list[Server]) -> Table:
    found = _turns(servers, 16, stream=True)
    title = f"streams of {CHUNKS} chunks, c=16"
    table = _table(title, "chunks/s", "events_per_second", found, "min..max: p50 and p99 in ms")
    for label, row in found.items():
        if label.startswith("litellm"):
            ratio = found[OURS]["events_per_second"] / row["events_per_second"]
            goals.at_least("streamed chunks/s, times litellm", ratio, 10)
    return table


def _held_back(goals: Goals, folder: Path) -> None:
    """A chunk every 5 ms, one stream: none waits for the next one."""
    with _provider() as port:
        upstream = f"http://127.0.0.1:{port}/sse/1/{CHUNKS}/5000"
        with _dure(folder, upstream, "dure serve, a chunk every 5 ms") as server:
            found = _load(server, 1, 5, stream=True)
    # the provider's last write holds two: what ends the answer, and [DONE]
    goals.at_most("chunks that came together, of 64 sent 5 ms apart", found["largest"], 2)


def _memory(goals: Goals, server: Server) -> None:
    _load(server, 64, 20_000)
    early = server.resident_mb()
    _load(server, 64, 80_000)
    late = server.resident_mb()
    print(f"\nmemory of {server.name}: {early:.0f} MB after 20,000, {late:.0f} MB after 100,000")
    goals.at_most("resident MB after 100,000 requests", late, 160)
    goals.at_most("growth from 20,000 to 100,000 requests, times", late / early, 1.05)


def run() -> list[Table | Goals]:
    goals = Goals("Goals of the service")
    tables: list[Table | Goals] = []
    scratch = Path(tempfile.mkdtemp(prefix="dure-service-"))
    try:
        with ExitStack() as stack:
            port = stack.enter_context(_provider())
            upstream = f"http://127.0.0.1:{port}/v1"
            servers = [Server("straight to the provider", port)]
            servers.append(stack.enter_context(_dure(_made(scratch, "ours"), upstream)))
            servers += [
                stack.enter_context(start(_made(scratch, start.__name__), upstream))
                for name, start in (("portkey", _portkey), ("litellm", _litellm))
                if name in PEERS
            ]
            goals.at_most("start, seconds", servers[1].start_seconds, 2.0)
            tables += _whole(goals, servers)
            table = Table("after the runs", "MB resident", "min..max: seconds to start")
            for server in servers[1:]:
                used, begun = server.resident_mb(), server.start_seconds
                ratio = used / servers[1].resident_mb()
                table.rows.append(Row(server.name, used, begun, begun, used, ratio, None))
            table.show()
            tables.append(table)
            _memory(goals, servers[1])
        with ExitStack() as stack:
            port = stack.enter_context(_provider())
            upstream = f"http://127.0.0.1:{port}/sse/1/{CHUNKS}/0"
            servers = [stack.enter_context(_dure(_made(scratch, "streams"), upstream))]
            if "litellm" in PEERS:
                servers += [stack.enter_context(_litellm(_made(scratch, "lite-streams"), upstream))]
            tables.append(_streamed(goals, servers))
        _held_back(goals, _made(scratch, "held"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    goals.show()
    return [*tables, goals]


def _made(scratch: Path, name: str) -> Path:
    folder = scratch / name.strip("_")
    folder.mkdir()
    return folder
