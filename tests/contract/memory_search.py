"""Searches the writable memory of a child process, and the test that uses it."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from dure.testing import upstream

HOLDER = Path(__file__).parent / "key_holder.py"


def hits(pid: int, needle: bytes) -> int:
    """Return how often `needle` stands in the process's writable memory."""
    found = 0
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            memory.seek(begin)
            try:
                found += memory.read(end - begin).count(needle)
            except OSError:  # of the kernel's own
                continue
    return found


def left_after_close(python: Path, engine: str) -> tuple[int, int]:
    """Return how many copies of a key are there while its client is open, and after its close."""
    key = secrets.token_hex(32).encode()
    with upstream.start() as server:
        command = [str(python), "-I", str(HOLDER), engine, f"{server.url}/models"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(key)
            child.stdin.flush()
            assert child.stdout.readline() == b"sent\n"
            open_ = hits(child.pid, key)
            child.stdin.write(b".")
            child.stdin.flush()
            assert child.stdout.readline() == b"closed\n"
            closed = hits(child.pid, key)
            child.stdin.write(b".")
        assert child.returncode == 0
    return open_, closed
