"""A real OpenAI-shaped HTTP server in its own process, for tests, benchmarks and the demo.

It needs nothing but the standard library and dure: chat answers are quotes that `dure.local`
picks from the sources in the prompt (it says that it is no language model), embeddings come from
the hash embedder, token counts are exact, and faults follow from the seed alone.

    with upstream.start(seed=7, faults={"429": 0.02}) as server:
        client = openai.OpenAI(base_url=server.url, api_key="any")
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["Upstream", "start"]

START_SECONDS = 30.0
STOP_SECONDS = 5.0


def start(
    *,
    port: int = 0,
    seed: int = 0,
    faults: Mapping[str, float] | None = None,
    delay: float = 0.0,
    pace: float = 0.0,
    api_key: str | None = None,
) -> Upstream:
    """Start a server on the loopback interface and wait until it answers.

    Args:
        port: 0 takes a free one.
        seed: With the number of a request it decides whether and how that request fails.
        faults: Share of requests per kind: `429 500 503 reset cut slow`
            (`dure.testing.upstream.faults.KINDS`).
        delay: Seconds before the first byte of each answer.
        pace: Seconds between two events of a stream.
        api_key: The only key that is let in; None lets everybody in.

    Raises:
        InvalidArgumentError: a fault is unknown, or the shares exceed 1.
        UnavailableError: the process did not come up.
    """
    from .faults import FaultPlan

    FaultPlan(faults, seed=seed)  # refuse here, not in the child
    return Upstream(
        [
            f"--port={port}",
            f"--seed={seed}",
            f"--faults={','.join(f'{kind}={share!r}' for kind, share in (faults or {}).items())}",
            f"--delay={delay!r}",
            f"--pace={pace!r}",
            *([f"--api-key={api_key}"] if api_key is not None else []),
        ]
    )


class Upstream:
    """A running server; ends with `close()`, the `with` block, or its parent's process.

    Attributes:
        url: What a client takes as `base_url`; ends in `/v1`.
        pid: Process id of the server.
    """

    url: str
    pid: int

    def __init__(self, arguments: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dure-upstream-")
        self._log = Path(self._folder.name) / "log.jsonl"
        command = [sys.executable, "-m", "dure.testing.upstream", *arguments, "--child"]
        self._process = subprocess.Popen(
            [*command, f"--log={self._log}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's; the child sees its stdin close
        )
        self.pid = self._process.pid
        self.url = self._read_url()

    def log(self) -> list[dict[str, Any]]:
        """Return one dict per request so far: id, status, fault, model, tokens.

        A request is logged before the first byte of its answer leaves, so what a client has
        received is always in here.
        """
        lines = self._log.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def close(self) -> None:
        """End the server; safe to call twice."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read_url(self) -> str:
        import select

        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.close()
            raise UnavailableError(
                "dure.testing.upstream did not start: run `python -m dure.testing.upstream` "
                "to see why",
                host="127.0.0.1",
                stage="start",
            )
        return str(json.loads(line)["url"])
