"""A server in a process of its own: its start, its log and its end."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dure._sync.closing import Closing
from dure.errors import UnavailableError

START_SECONDS = 30.0
STOP_SECONDS = 5.0


class ChildServer(Closing):
    """Runs `python -m MODULE`; ends with `close()`, the `with` block, or its parent's process.

    The child writes one line of JSON to its standard output once it listens, one JSON line per
    request to `log_path`, and stops when its standard input closes.
    """

    folder: Path
    log_path: Path
    pid: int

    def __init__(self, module: str) -> None:
        self._module = module
        self._folder = tempfile.TemporaryDirectory(prefix="dure-testing-")
        self.folder = Path(self._folder.name)
        self.log_path = self.folder / "log.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, arguments: list[str], settings: object = None) -> dict[str, Any]:
        """Start the child; `settings` is its first line of input. Returns what it says.

        Raises:
            UnavailableError: the child did not come up.
        """
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's; the child sees its stdin close
        )
        self.pid = process.pid
        try:
            line = self._first_line(process, settings)
        except BaseException:  # Ctrl-C: the child ends before its folder is gone
            self.close()
            raise
        if not line:
            self.close()
            raise UnavailableError(
                f"{self._module} did not start: its own message is above, if it had one",
                host="127.0.0.1",
                stage="start",
            )
        said: dict[str, Any] = json.loads(line)
        return said

    def _first_line(self, process: subprocess.Popen[bytes], settings: object) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        if settings is not None:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
        ready = select.poll()  # select() takes no descriptor above 1023
        ready.register(process.stdout, select.POLLIN | select.POLLHUP)
        return process.stdout.readline() if ready.poll(START_SECONDS * 1000) else b""

    def log(self) -> list[dict[str, Any]]:
        """Return one dict per request so far, in order.

        A request is logged before the first byte of its answer leaves, so what a client has
        received is always in here.
        """
        if not self.log_path.exists():
            return []
        lines = self.log_path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def close(self) -> None:
        """End the server; safe to call twice."""
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._folder.cleanup()
