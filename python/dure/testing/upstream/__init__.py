"""A real OpenAI-shaped HTTP server in its own process, for tests, benchmarks and the demo.

It needs nothing but the standard library and dure: chat answers are quotes that `dure.local`
picks from the sources in the prompt (it says that it is no language model), embeddings come from
the hash embedder, token counts are exact, and faults follow from the seed alone.

    with upstream.start(seed=7, faults={"429": 0.02}) as server:
        client = openai.OpenAI(base_url=server.url, api_key="any")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.testing._child import ChildServer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Upstream", "start"]


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


class Upstream(ChildServer):
    """A running server; ends with `close()`, the `with` block, or its parent's process.

    Attributes:
        url: What a client takes as `base_url`; ends in `/v1`.
        pid: Process id of the server.
    """

    url: str

    def __init__(self, arguments: list[str]) -> None:
        super().__init__("dure.testing.upstream")
        self.url = str(self.start([*arguments, "--child", f"--log={self.log_path}"])["url"])

    def log(self) -> list[dict[str, Any]]:
        """Return one dict per request so far: id, status, fault, model, tokens.

        A request is logged before the first byte of its answer leaves, so what a client has
        received is always in here.
        """
        return super().log()
