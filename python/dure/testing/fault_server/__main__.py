"""`python -m dure.testing.fault_server`: run the server until its standard input closes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .kinds import Plan
from .wire import Aborting, Faulty, bomb

if TYPE_CHECKING:
    from collections.abc import Callable

    Log = Callable[[dict[str, object]], None]


def main() -> int:
    """Read the settings from the first line of standard input, serve, return the exit code."""
    settings = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]
    plan = Plan(settings["faults"], seed=settings["seed"], tls=settings["folder"] is not None)
    log = os.open(settings["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(_serve(plan, log, settings["folder"]))
    return 0


async def _serve(plan: Plan, descriptor: int, folder: str | None) -> None:
    loop = asyncio.get_running_loop()
    numbers = count(1)

    def log(line: dict[str, object]) -> None:
        os.write(descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    async def listen(certificate: str | None) -> int:
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(str(folder)) / certificate)
        server = await loop.create_server(
            lambda: Faulty(plan, log, lambda: next(numbers)),
            "127.0.0.1",
            0,
            backlog=4096,
            ssl=context,
        )
        return int(server.sockets[0].getsockname()[1])

    bomb()  # no request waits for it

    ports = {"main": await listen("good.pem" if folder else None)}
    if folder:
        for kind, name in (("F7", "expired"), ("F8", "other"), ("F9", "selfsigned")):
            ports[kind] = await listen(f"{name}.pem")
        server = await loop.create_server(Aborting, "127.0.0.1", 0, backlog=4096)
        ports["F10"] = int(server.sockets[0].getsockname()[1])
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), stop.set)  # readable: the parent is gone
    loop.set_exception_handler(lambda _, __: None)  # clients break off on purpose
    gc.collect()
    gc.freeze()
    await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
