"""The parent's side of the parsing child: one child serves many files, one at a time.

A child that dies, hangs or breaks the protocol is replaced, and its file is refused. Its
environment carries no keys. Thread-safe: each call takes an idle child or starts one.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dure.errors import MissingExtraError
from dure.files._limits import Limits, refuse

if TYPE_CHECKING:
    from dure.files._kinds import Kind
    from dure.files._render import Parsed

_LENGTHS = struct.Struct("<QQ")  # header, body
_PASSED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "LD_PRELOAD")
_GRACE = 10.0  # seconds to start and to answer beyond the parser's own limit
_MOST_IDLE = 4


class _Lost(Exception):
    """The child is gone, silent or talks nonsense; the text says which."""


class _Child:
    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dure.files._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def ask(self, header: dict[str, Any], body: bytes, seconds: float) -> dict[str, Any]:
        """Send one file and wait for the answer."""
        head = json.dumps(header).encode()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_LENGTHS.pack(len(head), len(body)) + head)
            self._process.stdin.write(body)
            self._process.stdin.flush()
        except OSError as broken:
            raise _Lost(self._death()) from broken
        deadline = time.monotonic() + seconds
        (length,) = struct.unpack("<Q", self._read(8, deadline))
        if length > 12 * header["limits"]["text_chars"] + (1 << 20):
            raise _Lost("the parser's answer is too large")
        answer: dict[str, Any] = json.loads(self._read(length, deadline))
        return answer

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        waiting = select.poll()  # select() knows no descriptor above 1,023
        waiting.register(descriptor, select.POLLIN)
        got = bytearray()
        while len(got) < size:
            left = max(0.0, deadline - time.monotonic())
            if not waiting.poll(left * 1000):
                raise _Lost("the parser took too long")
            block = os.read(descriptor, min(size - len(got), 1 << 20))
            if not block:
                raise _Lost(self._death())
            got += block
        return bytes(got)

    def _death(self) -> str:
        import signal

        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "the parser stopped answering"
        if code == -signal.SIGXCPU:
            return "the parser used too much processor time"
        return f"the parser died (exit {code}): damaged, hostile, or too large for its memory"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # unsent bytes of a dead child


class _Pool:
    """Idle children of this process; a fork starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._owner = os.getpid()

    def take(self) -> _Child:
        with self._lock:
            if self._owner != os.getpid():
                self._idle, self._owner = [], os.getpid()
            if self._idle:
                return self._idle.pop()
        return _Child()

    def give(self, child: _Child) -> None:
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End all idle children; those of a parent process are not ours."""
        with self._lock:
            idle, self._idle = self._idle, []
        if self._owner == os.getpid():
            for child in idle:
                child.close()


_pool: _Pool | None = None
_pool_lock = threading.Lock()


def _children() -> _Pool:
    global _pool  # noqa: PLW0603 - one pool a process, made on first use
    with _pool_lock:
        if _pool is None:
            import atexit

            _pool = _Pool()
            atexit.register(_pool.close)
        return _pool


def parse_in_child(path: str, kind: Kind, raw: bytes, limits: Limits) -> Parsed:
    """Parse in a child with limits; whatever happens there, the caller gets text or a refusal."""
    pool = _children()
    child = pool.take()
    header = {"kind": kind.name, "path": path, "limits": asdict(limits)}
    try:
        answer = child.ask(header, raw, limits.seconds + _GRACE)
    except (_Lost, ValueError) as lost:
        child.close()
        raise refuse(path, str(lost)) from lost
    except BaseException:
        child.close()
        raise
    pool.give(child)
    if "refused" in answer:
        raise refuse(path, answer["refused"])
    if "missing" in answer:
        raise MissingExtraError(answer["missing"])
    text = answer["text"].encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if len(text) != len(answer["text"]):  # a lone surrogate became more than one character
        text = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in answer["text"])
    return {"text": text, "pages": answer["pages"], "metadata": answer["metadata"]}
