"""Layer 9: the busiest routes, found by one look-up and called without FastAPI's machinery.

They stand in the same route table as all others, so the API pages, the policies and the tests see
them; only their way is shorter. A client that leaves cancels the call it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dure.errors import DureError, InvalidArgumentError
from dure.service.errors import answer_of, refined

__all__ = ["Gzip", "Hot", "hot", "hot_routes"]

Endpoint = Callable[[Request], Awaitable[Response]]
Routes = dict[tuple[str, str], Route]
_MARK = "__dure_hot__"
PATIENCE = 0.02  # seconds before it is looked whether the client is still there


def hot(endpoint: Endpoint) -> Endpoint:
    """Declare an endpoint that takes the request and nothing else as one of the busiest."""
    setattr(endpoint, _MARK, True)
    return endpoint


def hot_routes(routes: Iterable[BaseRoute]) -> Routes:
    """Return the busiest routes by method and path."""
    return {
        (method, route.path): route
        for route in routes
        if isinstance(route, Route) and getattr(route.endpoint, _MARK, False)
        for method in route.methods or ()
    }


class Gzip:
    """Layer 5: compresses answers, but those of the busiest routes: what models say is short."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], least: int) -> None:
        self._app, self._routes = app, hot_routes(routes)
        self._compressing = GZipMiddleware(app, minimum_size=least, compresslevel=4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (scope["method"], scope["path"]) in self._routes:
            await self._app(scope, receive, send)
        else:
            await self._compressing(scope, receive, send)


class Hot:
    """Calls hot endpoints; everything else goes to the router."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Iterable[BaseRoute],
        check: Callable[[BaseRoute, Scope], None],
    ) -> None:
        self._app, self._check, self._routes = app, check, hot_routes(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = None
        if scope["type"] == "http":
            route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        try:
            self._check(route, scope)
            response = await _answered(route.endpoint, Request(scope, receive, send))
        except DureError as error:
            response = answer_of(await refined(error, scope), scope)
        except RecursionError:  # it could be read, and not be written for the provider
            deep = InvalidArgumentError("the body is nested too deep", argument="body")
            response = answer_of(deep, scope)
        if response is not None:
            await response(scope, receive, send)


async def _answered(endpoint: Endpoint, request: Request) -> Response | None:
    """Return the endpoint's answer; None: the client left, and what it waited for is cancelled.

    Most answers are there before anybody looks whether the client still is.
    """
    try:
        await request.body()  # so that all that is left to come is the client's end
    except ClientDisconnect:
        return None
    calling = asyncio.current_task()
    assert calling is not None
    watch = _Watch(request, calling)
    try:
        return await endpoint(request)
    except asyncio.CancelledError:
        if not watch.client_left or calling.uncancel() > 0:  # somebody else ends us
            raise
        return None
    finally:
        watch.end()


class _Watch:
    """Cancels a task when the client leaves; it begins to look after a while."""

    def __init__(self, request: Request, calling: asyncio.Task[Any]) -> None:
        self._request, self._calling = request, calling
        self._looking: asyncio.Task[None] | None = None
        self._begin = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    @property
    def client_left(self) -> bool:
        """Whether it was the client's leaving that cancelled the task."""
        return self._looking is not None and self._looking.done()

    def end(self) -> None:
        """Look no more."""
        self._begin.cancel()
        if self._looking is not None:
            self._looking.remove_done_callback(self._stop)
            self._looking.cancel()

    def _look(self) -> None:
        self._looking = asyncio.create_task(_left(self._request))
        self._looking.add_done_callback(self._stop)

    def _stop(self, _task: asyncio.Task[None]) -> None:
        self._calling.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
