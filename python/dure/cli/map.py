"""`dure map FILE.jsonl`: a request body a line in, an answer a line out, in order."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dure._progress import Bar
from dure.errors import DureError, InvalidArgumentError

from .output import complain
from .provider import required_client

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

WINDOW = 4096  # lines in memory at once


def run(options: argparse.Namespace) -> int:
    """Send every line; a line that fails gets its error in its own place."""
    failed = done = 0
    bar = Bar("map")
    with ExitStack() as stack:
        client = stack.enter_context(required_client(options))
        lines = stack.enter_context(_lines(options.file))
        out = stack.enter_context(_output(options.out))
        while window := list(islice(lines, WINDOW)):
            checked = [_checked(line, done + i) for i, line in enumerate(window, 1)]
            bodies = [body for body in checked if isinstance(body, bytes)]
            answers = iter(client.map_raw(bodies, options.limit))
            for body in checked:
                answer = next(answers) if isinstance(body, bytes) else body
                failed += isinstance(answer, DureError)
                out.write(_line(answer))
            done += len(window)
            bar(done, None, "requests")
        out.flush()
    bar.close()
    if failed:
        complain(f"{failed:,} of {done:,} requests failed; their lines hold the error")
    return 1 if failed else 0


def _checked(line: bytes, number: int) -> bytes | DureError:
    try:
        body = json.loads(line)
    except ValueError as wrong:
        return InvalidArgumentError(f"line {number}: not JSON: {wrong}", argument="body")
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
        answer = json.dumps(json.loads(answer), ensure_ascii=False).encode()
    return answer + b"\n"


@contextmanager
def _lines(name: str) -> Iterator[Iterator[bytes]]:
    if name == "-":
        yield filter(None, (line.strip() for line in sys.stdin.buffer))
        return
    with Path(name).open("rb") as file:
        yield filter(None, (line.strip() for line in file))


@contextmanager
def _output(name: str | None) -> Iterator[BinaryIO]:
    if name is None:
        yield sys.stdout.buffer
        return
    with Path(name).open("wb") as file:
        yield file
