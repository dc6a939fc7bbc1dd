"""Health and figures: `/api/health`, `/health/live`, `/health/ready`, `/metrics`."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

import dure
from dure.service.auth.policy import PolicyRoute, public, requires
from dure.service.kit.observed import Metrics
from dure.service.kit.state import state_of

from . import service
from .schemas import Health, Readiness

router = APIRouter(tags=["health"], route_class=PolicyRoute)
_PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"


@router.get("/api/v1/health")
@public
async def health(request: Request) -> Health:
    """Say that the service answers, and whether login is skipped; no internals."""
    off = state_of(request).settings.auth == "off"
    return Health(
        status="ok", version=dure.__version__, auth="off (loopback only)" if off else "on"
    )


@router.get("/health/live")
@public
async def live() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "live"}


@router.get("/health/ready", responses={503: {"model": Readiness}})
@public
async def ready(request: Request) -> Response:
    """Say whether new requests are welcome: database, ledger, and not told to stop."""
    found = await service.readiness(state_of(request))
    return JSONResponse(found.model_dump(), 200 if found.status == "ready" else 503)


def figures(*, is_open: bool) -> APIRouter:
    """Return the route of the figures: for operators, or open where only this machine asks."""
    found = APIRouter(tags=["health"], route_class=PolicyRoute)
    declare = public if is_open else requires(role="admin", operator=True)

    @found.get("/metrics", response_class=Response)
    @declare
    async def metrics(request: Request) -> Response:
        """Give figures as Prometheus reads them; none names an organisation or a person."""
        known = cast("Metrics", request.app.state.metrics)
        known.of_client(state_of(request).client.counters)
        known.dropped.set(request.app.state.access_log.dropped)
        return Response(known.text(), media_type=_PROMETHEUS)

    return found
