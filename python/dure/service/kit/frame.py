"""The ASGI frame around the router: request id, aliases, who may enter, how large a body may be.

Pure ASGI, so streams pass untouched; all of it is decided before a body byte is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dure.integrations.fastapi import error_body
from dure.service.settings import Settings, is_loopback

__all__ = ["Frame"]

_OPEN = ("/api/v1/health",)
_API_PAGES = ("/docs", "/redoc", "/openapi.json")
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "[::1]", "testserver"}


class _TooLarge(Exception):
    """The body passed its cap while it was read."""


class Frame:
    """Wraps the app. Thread-safe: holds only settings."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, canonical: Callable[[str], str]
    ) -> None:
        self._app, self._settings, self._canonical = app, settings, canonical
        self._hashes = [hashlib.sha256(key.encode()).digest() for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        request_id = f"req_{secrets.token_hex(12)}"
        send = _with_header(send, b"x-request-id", request_id.encode())
        path = self._canonical(scope["path"])
        scope = {**scope, "path": path, "raw_path": path.encode()}
        scope.setdefault("state", {})["request_id"] = request_id
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, message, code = refusal
            await JSONResponse(error_body(status, message, code=code), status)(scope, receive, send)
            return
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        capped = _Capped(receive, self._settings.max_body_bytes)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if capped.exceeded and not started:
                return  # whatever the app makes of the cut body: the answer is 413
            started = True
            await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, capped, watched)
        if capped.exceeded and not started:
            body = error_body(
                413, f"The body is larger than {self._settings.max_body_bytes} bytes."
            )
            await JSONResponse(body, 413)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            return (
                413,
                f"The body is larger than {self._settings.max_body_bytes} bytes.",
                "too_large",
            )
        path = scope["path"]
        if path in _OPEN or (self._settings.dev and path.startswith(_API_PAGES)):
            return None if self._hashes else self._refuse_strangers(scope, headers)
        if not self._hashes:
            return self._refuse_strangers(scope, headers)
        kind, _, key = headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(key.strip().encode()).digest()
        known = [hmac.compare_digest(given, one) for one in self._hashes]
        if kind.lower() != "bearer" or not any(known):
            return 401, "Send a valid key: Authorization: Bearer KEY.", "invalid_api_key"
        return None

    @staticmethod
    def _refuse_strangers(scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        """Without keys only this machine's own programs may enter."""
        server = scope.get("server")
        own = server is None or is_loopback(server[0]) or server[0] == "testserver"
        host = headers.get("host", "localhost")
        name = host if host.endswith("]") else host.rsplit(":", 1)[0]
        forwarded = any(n == "forwarded" or n.startswith("x-forwarded-") for n in headers)
        origin = headers.get("origin", "")
        foreign = bool(origin) and origin.partition("://")[2] != host
        if own and name in _LOCAL_HOSTS and not forwarded and not foreign:
            return None
        return (
            403,
            "Without DURE_API_KEYS only this machine's own programs may enter.",
            "loopback_only",
        )


def _with_header(send: Send, name: bytes, value: bytes) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (name, value)]}
        await send(message)

    return sending


class _Capped:
    """A `receive` that raises once more than `most` body bytes came."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most
        self.exceeded = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.exceeded = True
            raise _TooLarge
        return message
