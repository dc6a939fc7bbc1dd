"""`dure map FILE.jsonl`: a request body a line in, an answer a line out, in order."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dure._progress import Bar
from dure.errors import DureError, InvalidArgumentError

from .output import complain, counted
from .places import data_folder
from .provider import require_provider

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

AHEAD = 8  # answers that may wait for an earlier one, in units of the limit


def run(options: argparse.Namespace) -> int:
    """Send every line; a line that fails gets its error in its own place.

    Answers are written in input order, each as soon as all before it are there: what was written
    survives Ctrl-C and kill -9. A blank line stays a blank line.
    """
    import asyncio

    with ExitStack() as stack:
        require_provider()
        source = stack.enter_context(_input(options.file))
        _refuse_own_input(source, options.out)
        lines = (line.strip() for line in source)
        work = _Work(stack.enter_context(_output(options.out)), Bar("map"))
        try:
            asyncio.run(_send(options, lines, work))
        except KeyboardInterrupt:
            work.bar.close()
            done = counted(work.written, "line")
            raise KeyboardInterrupt(f"{done} written, in order") from None
    work.bar.close()
    if work.failed:
        of = counted(work.requests, "request")
        complain(f"{work.failed:,} of {of} failed; their lines hold the error")
    return 1 if work.failed else 0


class _Work:
    """What has been written so far, and where to."""

    def __init__(self, out: BinaryIO, bar: Bar) -> None:
        self.out, self.bar = out, bar
        self.written = self.requests = self.failed = 0

    def write(self, answer: bytes | DureError | None) -> None:
        """Write one line and make it last; None is a blank line."""
        self.out.write(b"\n" if answer is None else _line(answer))
        self.out.flush()
        self.written += 1
        if answer is not None:
            self.requests += 1
            self.failed += isinstance(answer, DureError)
            self.bar(self.requests, None, "requests")


async def _send(options: argparse.Namespace, lines: Iterator[bytes], work: _Work) -> None:
    """Keep `--limit` requests in flight; write the finished prefix whenever it grows."""
    import asyncio
    from collections import deque

    from dure.aio import AsyncClient

    waiting: deque[asyncio.Future[bytes | DureError | None]] = deque()
    room = asyncio.Semaphore(options.limit)
    async with AsyncClient(data=data_folder(options)) as client:

        async def ask(line: bytes, number: int) -> bytes | DureError | None:
            body = _checked(line, number) if line else None
            if not isinstance(body, bytes):
                return body
            async with room:
                return (await client.map_raw([body], 1))[0]

        for number, line in enumerate(lines, 1):
            waiting.append(asyncio.ensure_future(ask(line, number)))
            while waiting and (waiting[0].done() or len(waiting) >= options.limit * AHEAD):
                work.write(await waiting.popleft())
            if number % options.limit == 0:
                await asyncio.sleep(0)  # let answers come in while a long file is read
        while waiting:
            work.write(await waiting.popleft())


def _checked(line: bytes, number: int) -> bytes | DureError:
    try:
        body = json.loads(line)
    except ValueError as wrong:
        return InvalidArgumentError(f"line {number}: not JSON: {wrong}", argument="body")
    except RecursionError:
        return InvalidArgumentError(f"line {number}: nested too deep", argument="body")
    if not isinstance(body, dict):
        return InvalidArgumentError(f"line {number}: not a JSON object", argument="body")
    if body.get("stream"):
        return InvalidArgumentError(f"line {number}: stream is not for map", argument="stream")
    return line


def _line(answer: bytes | DureError) -> bytes:
    if isinstance(answer, DureError):
        return (
            json.dumps({"error": answer.to_dict()}, ensure_ascii=False, default=str).encode()
            + b"\n"
        )
    if b"\n" in answer:  # a provider may print its JSON over several lines
        answer = answer.replace(b"\n", b" ")  # in JSON it stands only between values
    return answer + b"\n"


@contextmanager
def _input(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with Path(name).open("rb") as file:
        yield file


def _refuse_own_input(source: BinaryIO, out: str | None) -> None:
    """Do nothing unless the answers would go over the requests, by whatever name or link.

    Raises:
        InvalidArgumentError: they would.
    """
    try:
        read = os.fstat(source.fileno())
        written = os.fstat(sys.stdout.fileno()) if out is None else Path(out).stat()
    except (OSError, ValueError):
        return  # not there yet, or no file at all
    if stat.S_ISREG(read.st_mode) and os.path.samestat(read, written):
        where = "stdout" if out is None else f"--out {out}"
        raise InvalidArgumentError(
            f"{where} is the file that the requests are read from: name another",
            argument="stdout" if out is None else "out",
        )


@contextmanager
def _output(name: str | None) -> Iterator[BinaryIO]:
    if name is None:
        yield sys.stdout.buffer
        return
    with Path(name).open("wb") as file:
        yield file
