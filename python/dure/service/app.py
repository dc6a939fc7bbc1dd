"""The FastAPI application: everything is built here, opened and closed by the lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import dure
from dure.aio import AsyncClient
from dure.service import api, errors
from dure.service.kit import pages
from dure.service.kit.frame import Frame
from dure.service.kit.state import State
from dure.service.settings import Settings

__all__ = ["create_app"]

_ABOUT = """An OpenAI-shaped gateway: point any OpenAI client at `/v1`.

With `DURE_API_KEYS` set, send one of the keys as `Authorization: Bearer KEY`. Errors have OpenAI's
shape everywhere. The paths under *alias* are other names for those above."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; `settings=None` reads the environment.

    Raises:
        InvalidArgumentError: the settings cannot work; all faults are named.
    """
    known = settings or Settings.from_environment()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        client = AsyncClient(data=known.data)
        app.state.dure = State(known, client)
        try:
            yield
        finally:
            await client.close()

    app = FastAPI(
        title="dure",
        version=dure.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    errors.install(app)
    pages.install(app)
    api.mount(app)
    app.add_api_route("/api/v1/health", _health_of(known), tags=["health"])
    app.openapi = lambda: api.openapi_with_aliases(app)  # type: ignore[method-assign]
    app.add_middleware(Frame, settings=known, canonical=api.canonical)
    return app


def _health_of(settings: Settings):  # type: ignore[no-untyped-def]  # noqa: ANN202
    async def health() -> dict[str, str]:
        """Say that the service answers; no internals."""
        auth = "key" if settings.api_keys else "off (loopback only)"
        return {"status": "ok", "version": dure.__version__, "auth": auth}

    return health


def __getattr__(name: str) -> object:
    if name == "app":  # for uvicorn: dure.service.app:app
        return create_app()
    raise AttributeError(f"module 'dure.service.app' has no attribute {name!r}")
