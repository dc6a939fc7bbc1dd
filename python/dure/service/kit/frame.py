"""The ASGI frame around the router, outermost layer first.

Pure ASGI, so streams pass untouched; all of it is decided before a body byte is read. The scope is
one dict for all layers: the router writes into it which route was taken.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable
from math import ceil
from time import perf_counter

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dure.integrations.fastapi import error_body
from dure.service.kit.addresses import Addresses
from dure.service.kit.observed import Observer
from dure.service.rates import Limiter

__all__ = ["AddressRate", "CallerRate", "Caps", "Entry", "Hosts", "refuse"]

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "[::1]", "testserver"))


def refuse(
    scope: Scope, status: int, message: str, code: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return a layer's refusal, in the shape of all errors."""
    request_id = scope.get("state", {}).get("request_id")
    body = error_body(status, message, code=code, request_id=request_id)
    return JSONResponse(body, status, headers)


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the first header of a name."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


class Entry:
    """Layer 1: the request's id, its clock, its line in the access log, its figures.

    Its answers carry the id, and what keeps browsers from guessing and framing.
    """

    def __init__(self, app: ASGIApp, *, observer: Observer, addresses: Addresses) -> None:
        self._app, self._observer, self._addresses = app, observer, addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        request_id = f"req_{secrets.token_hex(12)}"
        state = scope.setdefault("state", {})
        state["request_id"], state["asked"] = request_id, scope["path"]
        state["arrived"] = begun
        state["address"] = self._addresses.of(scope)
        status = 500  # what the outermost handler answers if this layer sees no answer

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), own, *_SECURITY]
            await send(message)

        self._observer.began()
        try:
            await self._app(scope, receive, sending)
        finally:
            self._observer.ended(scope, status, perf_counter() - begun)


class Hosts:
    """Layer 2: names by which the service may be asked; other names of a path."""

    def __init__(
        self, app: ASGIApp, *, allowed: frozenset[str] | None, canonical: Callable[[str], str]
    ) -> None:
        self._app, self._allowed, self._canonical = app, allowed, canonical

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            if self._allowed is not None and not self._is_known(scope):
                message = "This service is not asked by that name: DURE_ALLOWED_HOSTS."
                await refuse(scope, 403, message, "unknown_host")(scope, receive, send)
                return
            path = self._canonical(scope["path"])
            scope["path"], scope["raw_path"] = path, path.encode()
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        assert self._allowed is not None
        host = header_of(scope, b"host") or "localhost"
        name = host if host.endswith("]") else host.rsplit(":", 1)[0]
        return name.lower() in self._allowed


class _TooLarge(Exception):
    """The body passed its cap while it was read."""


class Caps:
    """Layer 3: how large headers and body may be, declared and counted."""

    def __init__(self, app: ASGIApp, *, body: int, headers: int) -> None:
        self._app, self._body, self._headers = app, body, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size, length, chunked = 0, None, False
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
        if size > self._headers:
            message = f"The headers are larger than {self._headers} bytes."
            await refuse(scope, 431, message, "too_large")(scope, receive, send)
        elif length is not None and (not length.isdigit() or int(length) > self._body):
            await self._too_large(scope)(scope, receive, send)
        elif length is not None and not chunked:
            await self._app(scope, receive, send)  # the server reads so many bytes and no more
        else:
            await self._counted(scope, receive, send)

    def _too_large(self, scope: Scope) -> JSONResponse:
        return refuse(scope, 413, f"The body is larger than {self._body} bytes.", "too_large")

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        left, started, exceeded = self._body, False, False

        async def capped() -> Message:
            nonlocal left, exceeded
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                exceeded = True
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if exceeded and not started:
                return  # whatever the app makes of the cut body: the answer is 413
            started = True
            await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, capped, watched)
        if exceeded and not started:
            await self._too_large(scope)(scope, receive, send)


class AddressRate:
    """Layer 6: requests of one address."""

    def __init__(self, app: ASGIApp, *, rate: Callable[[], str | None], limiter: Limiter) -> None:
        self._app, self._rate, self._limiter = app, rate, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        rate = self._rate()
        if rate is not None and scope["type"] != "lifespan":
            wait = self._limiter.wait(rate, f"address:{scope['state']['address']}")
            if wait > 0:
                await too_fast(scope, rate, wait)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class CallerRate:
    """Layer 8: requests of one caller; `rates` says which rates a request falls under."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        rates: Callable[[Scope], Iterable[tuple[str, str]]],
        limiter: Limiter,
    ) -> None:
        self._app, self._rates, self._limiter = app, rates, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "lifespan":
            for rate, key in self._rates(scope):
                wait = self._limiter.wait(rate, key)
                if wait > 0:
                    await too_fast(scope, rate, wait)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def too_fast(scope: Scope, rate: str, wait: float) -> JSONResponse:
    """Return the refusal of a request over its rate, which says when to come back."""
    milliseconds = max(1, ceil(wait * 1000))
    headers = {
        "retry-after": str(ceil(milliseconds / 1000)),
        "retry-after-ms": str(milliseconds),
    }
    return refuse(scope, 429, f"More than {rate}: come back later.", "rate_limited", headers)
