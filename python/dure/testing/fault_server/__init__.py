"""A server that misbehaves on purpose and on plan, to test clients against: dure's and yours.

Seed and request id decide what happens to a request, nothing else: run the same ids again, in any
order and at any speed, and the same ones fail in the same way. A client names its request in the
header `x-request-id`; `fault_of` tells beforehand what it will meet.

    with FaultServer(seed=7, faults=0.3) as server:
        name = "request-1"
        reply = await client.request("POST", server.url_of(name) + "/chat/completions",
                                     headers={"x-request-id": name}, body=b"{}")
        assert server.fault_of(name) is None and reply.content == server.body_of(name)
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from dure.testing._child import ChildServer

from .kinds import KINDS, Plan, body_of, events_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["KINDS", "FaultServer"]


class FaultServer(ChildServer):
    """A running server in a process of its own; ends with `close()` or the `with` block.

    It answers every POST like a chat completion (streamed if the body says so), except where a
    fault is planned.

    Args:
        seed: With the id of a request it decides that request's fate.
        faults: Share of requests per kind (`KINDS`), or one share for all kinds together, or None.
        tls: Serve HTTPS. Certificates are made by `trustme` (to be installed beside dure); `ca`
            names the file that a client must trust. F7 to F10 exist only here.

    Attributes:
        url: What a client takes as `base_url`, for requests that reach the server; ends in `/v1`.
        ca: PEM file of the authority to trust, or None without TLS.

    Raises:
        InvalidArgumentError: a kind is unknown or does not fit, or the shares exceed 1.
        MissingExtraError: `tls=True` without `trustme`.
        UnavailableError: the process did not come up.
    """

    url: str
    ca: Path | None

    def __init__(
        self,
        *,
        seed: int = 0,
        faults: Mapping[str, float] | float | None = None,
        tls: bool = False,
    ) -> None:
        self._plan = Plan(faults, seed=seed, tls=tls)  # refuses here, not in the child
        super().__init__("dure.testing.fault_server")
        self.ca = None
        if tls:
            from .certificates import write

            self.ca = write(self.folder)
        self._refusing = socket.socket()  # bound, never listening: whoever connects is refused
        self._refusing.bind(("127.0.0.1", 0))
        settings = {
            "faults": dict(faults) if faults and not isinstance(faults, int | float) else faults,
            "seed": seed,
            "log": str(self.log_path),
            "folder": str(self.folder) if tls else None,
        }
        self._ports: dict[str, int] = self.start([], settings)
        self._scheme = "https" if tls else "http"
        self.url = self._url(self._ports["main"])

    def fault_of(self, request_id: str) -> str | None:
        """Return the kind of fault that a request of this id meets, or None."""
        return self._plan.fault_of(request_id)

    def url_of(self, request_id: str) -> str:
        """Return the base URL to send this request to: some faults happen before HTTP."""
        kind = self.fault_of(request_id)
        if kind == "F1":
            return self._url(self._refusing.getsockname()[1])
        if kind == "F2":
            return f"{self._scheme}://-no-such-host.invalid/v1"  # no server is asked: not a name
        return self._url(self._ports.get(kind or "main", self._ports["main"]))

    @staticmethod
    def body_of(request_id: str) -> bytes:
        """Return the exact bytes of a good answer that is not streamed."""
        return body_of(request_id)

    @staticmethod
    def events_of(request_id: str) -> list[bytes]:
        """Return the exact bytes of each event of a good streamed answer."""
        return list(events_of(request_id))

    @staticmethod
    def text_of(request_id: str) -> str:
        """Return what a good answer says, streamed or not."""
        return text_of(request_id)

    def log(self) -> list[dict[str, Any]]:
        """Return one dict per request that arrived, in order: id, fault, status, bytes.

        A request is logged before the first byte of its answer leaves. `bytes` counts what is sent
        at once; F27 and F28 send more later.
        """
        return super().log()

    def close(self) -> None:
        """End the server; safe to call twice."""
        super().close()
        self._refusing.close()

    def _url(self, port: int) -> str:
        return f"{self._scheme}://127.0.0.1:{port}/v1"
