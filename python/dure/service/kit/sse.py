"""Server-sent events: framing that no line break can break, sent as they come."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["EventStream", "Parts", "frame"]

_BREAKS = re.compile(r"\r\n|\r|\n")
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
_PING = b": ping\n\n"
PING_SECONDS = 15.0


def frame(data: str, *, event: str | None = None) -> bytes:
    """Return one event; LF, CR and CRLF in `data` each begin a new `data:` line."""
    head = f"event: {event}\n" if event else ""
    return (head + "".join(f"data: {line}\n" for line in _BREAKS.split(data)) + "\n").encode()


class Parts(Protocol):
    """What is sent, and how it is ended: an async generator, or a class like one."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """End it. Idempotent."""


class EventStream(Response):
    """Sends each part of an iterator as it comes, and a comment when nothing has for a while.

    A client that leaves ends the iterator at once, whose own `finally` settles what was used.
    """

    def __init__(
        self,
        events: Parts,
        headers: dict[str, str] | None = None,
        *,
        ping: float = PING_SECONDS,
    ) -> None:
        self._events, self._ping = events, ping
        self.status_code, self.background = 200, None
        self.init_headers({**_HEADERS, **(headers or {})})

    def init_headers(self, headers: dict[str, str] | None = None) -> None:  # type: ignore[override]
        """Keep the headers; there is no length to add."""
        self.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end of the iterator, or of the client."""
        del scope
        sending = asyncio.current_task()
        assert sending is not None
        left = asyncio.create_task(_left(receive))

        def stop(_task: asyncio.Task[None]) -> None:
            sending.cancel()

        left.add_done_callback(stop)
        pinging = asyncio.create_task(self._pings(send))
        try:
            await self._send(send, pinging)
        except asyncio.CancelledError:
            if not left.done() or sending.uncancel() > 0:  # somebody else ends us
                raise
        finally:
            left.remove_done_callback(stop)
            left.cancel()
            pinging.cancel()

    async def _send(self, send: Send, pinging: asyncio.Task[None]) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": list(self.raw_headers)}
        )
        try:
            async with contextlib.aclosing(self._events) as events:
                async for part in events:
                    self._quiet = False
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        finally:
            pinging.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pings(self, send: Send) -> None:
        self._quiet = True
        while True:
            await asyncio.sleep(self._ping)
            if self._quiet:
                await send({"type": "http.response.body", "body": _PING, "more_body": True})
            self._quiet = True


async def _left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
