"""Layer 8a of the frame: copies what models are asked and answer, where a tenant wants it kept.

Pieces pass as they come; a copy of the first 64 KiB each way is kept beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Capture", "Captured"]

MOST = 64 * 1024
_PATHS = (
    "/v1/",
    "/api/v1/chat",
    "/api/v1/embed",
    "/api/v1/gen-ai/",
    "/api/v1/knowledge/query",
    "/api/v1/knowledge/search",
)
_TEXTS = ("application/json", "text/")


@dataclass(slots=True)
class Captured:
    """One request as it ended; `full`: its texts are kept, too."""

    org_id: str
    user_id: str
    api_key_id: str
    at: datetime
    request_id: str
    path: str
    full: bool
    model: str = ""
    status: int = 0
    seconds: float = 0.0
    input: bytes = b""
    output: bytes = b""
    input_bytes: int = 0
    output_bytes: int = 0


class _Contents(Protocol):
    """What is kept of a tenant (`off`, `metadata`, `full`), and where it goes without waiting."""

    def level(self, org_id: str, /) -> str: ...
    def keep(self, one: Captured, /) -> None: ...


class Capture:
    """Copies; where nothing is to be kept it only looks up one name.

    Args:
        app: What is behind it.
        contents: Gives who knows what is kept of a tenant, and keeps it.
        now: Tells the time.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        contents: Callable[[], _Contents],
        now: Callable[[], datetime],
    ) -> None:
        self._app, self._contents, self._now = app, contents, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        who = scope["state"].get("subject") if scope["type"] == "http" else None
        if who is None or scope["method"] != "POST" or not scope["path"].startswith(_PATHS):
            await self._app(scope, receive, send)
            return
        level = self._contents().level(who.org_id)
        if level == "off":
            await self._app(scope, receive, send)
            return
        one = Captured(
            who.org_id,
            who.user_id or "",
            who.key_id or "",
            self._now(),
            scope["state"]["request_id"],
            scope["path"],
            level == "full",
        )
        await self._copied(one, scope, receive, send)

    async def _copied(self, one: Captured, scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        asked, answered = bytearray(), bytearray()
        is_text, answer_is_text = _is_text(scope["headers"]), False

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                body = message.get("body", b"")
                one.input_bytes += len(body)
                if is_text:
                    asked.extend(body[: MOST - len(asked)])
            return message

        async def sending(message: Message) -> None:
            nonlocal answer_is_text
            if message["type"] == "http.response.start":
                one.status = message["status"]
                headers = message.get("headers", ())
                answer_is_text = _is_text(headers)
                one.model = _header(headers, b"x-dure-model")
            elif message["type"] == "http.response.body":
                body = message.get("body", b"")
                one.output_bytes += len(body)
                if answer_is_text:
                    answered.extend(body[: MOST - len(answered)])
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        finally:
            one.seconds = perf_counter() - begun
            one.input, one.output = bytes(asked), bytes(answered)
            self._contents().keep(one)


def _is_text(headers: object) -> bool:
    return _header(headers, b"content-type").startswith(_TEXTS)


def _header(headers: object, name: bytes) -> str:
    for key, value in headers:  # type: ignore[attr-defined]
        if key.lower() == name:
            return str(value.decode("latin-1"))
    return ""
