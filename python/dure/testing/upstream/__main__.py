"""`python -m dure.testing.upstream`: run the server until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dure.errors import DureError

from .faults import KINDS, FaultPlan
from .replies import OpenAIShaped, Settings
from .wire import Connection

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Parse the command line, serve, return the exit code."""
    options = _parser().parse_args()
    try:
        plan = FaultPlan.parse(options.faults, seed=options.seed)
    except DureError as wrong:
        sys.stderr.write(f"dure.testing.upstream: {wrong}\n")
        return 2
    settings = Settings(plan, options.delay, options.pace, options.api_key)
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if options.log else 2
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings, options.port, _line_writer(log), child=options.child))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dure.testing.upstream",
        description="An OpenAI-shaped server on the loopback interface: no language model.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="decides which requests fail")
    parser.add_argument("--faults", default="", help=f"KIND=SHARE,...; kinds: {', '.join(KINDS)}")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between stream events")
    parser.add_argument("--api-key", help="the only key that is let in")
    parser.add_argument("--log", help="file for one JSON line per request; else stderr")
    parser.add_argument("--child", action="store_true", help="stop when stdin is closed")
    return parser


def _line_writer(descriptor: int) -> Callable[[dict[str, object]], None]:
    def write(line: dict[str, object]) -> None:
        os.write(descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    return write


async def _serve(
    settings: Settings, port: int, log: Callable[[dict[str, object]], None], *, child: bool
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if child:
        loop.add_reader(sys.stdin.fileno(), stop.set)  # readable: the parent is gone
    api = OpenAIShaped(settings, now=loop.time, wall=lambda: time.time_ns() / 1e9, log=log)
    server = await loop.create_server(
        lambda: Connection(api.answer, api.refuse), "127.0.0.1", port, backlog=1024
    )
    host, bound = server.sockets[0].getsockname()
    sys.stdout.write(json.dumps({"url": f"http://{host}:{bound}/v1"}) + "\n")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    await stop.wait()
    server.close()


if __name__ == "__main__":
    sys.exit(main())
