"""Layer 9: the busiest routes, found by one look-up and called without FastAPI's machinery.

They stand in the same route table as all others, so the API pages, the policies and the tests see
them; only their way is shorter. A client that leaves cancels the call it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dure.errors import DureError, InvalidArgumentError
from dure.service.errors import answer_of, refined

__all__ = ["Hot", "hot"]

Endpoint = Callable[[Request], Awaitable[Response]]
_MARK = "__dure_hot__"


def hot(endpoint: Endpoint) -> Endpoint:
    """Declare an endpoint that takes the request and nothing else as one of the busiest."""
    setattr(endpoint, _MARK, True)
    return endpoint


class Hot:
    """Calls hot endpoints; everything else goes to the router."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Iterable[BaseRoute],
        check: Callable[[BaseRoute, Scope], None],
    ) -> None:
        self._app, self._check = app, check
        self._routes: dict[tuple[str, str], Route] = {
            (method, route.path): route
            for route in routes
            if isinstance(route, Route) and getattr(route.endpoint, _MARK, False)
            for method in route.methods or ()
        }

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
    """Return the endpoint's answer; None: the client left, and what it waited for is cancelled."""
    try:
        await request.body()  # so that all that is left to come is the client's end
    except ClientDisconnect:
        return None
    calling = asyncio.current_task()
    assert calling is not None
    left = asyncio.create_task(_left(request))

    def stop(_task: asyncio.Task[None]) -> None:
        calling.cancel()

    left.add_done_callback(stop)
    try:
        return await endpoint(request)
    except asyncio.CancelledError:
        if not left.done() or calling.uncancel() > 0:  # somebody else ends us
            raise
        return None
    finally:
        left.remove_done_callback(stop)
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
