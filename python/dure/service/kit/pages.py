"""Swagger UI and ReDoc from this machine: no page loads anything from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response

from dure.errors import MissingExtraError

__all__ = ["install"]

_Page = Callable[..., Awaitable[Response]]

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
}
_START = {
    "start-swagger.js": "SwaggerUIBundle({url: '/openapi.json', dom_id: '#page'});\n",
    "start-redoc.js": "Redoc.init('/openapi.json', {}, document.getElementById('page'));\n",
}
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI, declare: Callable[[_Page], _Page]) -> None:
    """Add `/docs`, `/redoc`, their scripts under `/docs/assets`, and `/openapi.json`.

    `declare` says who may see them.
    """

    async def schema() -> JSONResponse:
        return JSONResponse(app.openapi())

    for path, page in (
        ("/docs", _swagger),
        ("/redoc", _redoc),
        ("/docs/assets/{name}", _asset),
        ("/openapi.json", schema),
    ):
        app.add_api_route(path, declare(_fresh(page)), include_in_schema=False)


def _fresh(page: _Page) -> _Page:
    """Return a function of its own, so that two apps may declare differently."""

    @wraps(page)
    async def found(**given: str) -> Response:
        return await page(**given)

    return found


async def _swagger() -> HTMLResponse:
    style = '<link rel="stylesheet" href="/docs/assets/swagger-ui.css">'
    return _page("Swagger UI", "swagger-ui-bundle.js", "start-swagger.js", style)


async def _redoc() -> HTMLResponse:
    return _page("ReDoc", "redoc.standalone.js", "start-redoc.js", "")


def _page(title: str, library: str, start: str, style: str) -> HTMLResponse:
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dure - {title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{style}</head><body>'
        f'<div id="page"></div><script src="/docs/assets/{library}"></script>'
        f'<script src="/docs/assets/{start}"></script></body></html>'
    )
    return HTMLResponse(page, headers={"content-security-policy": _POLICY})


async def _asset(name: str) -> Response:
    if name in _START:
        return Response(_START[name], media_type="text/javascript")
    if name not in _ASSETS:
        return Response(status_code=404)
    try:
        data = files("fastapi_offline").joinpath("static", name).read_bytes()
    except ModuleNotFoundError:
        raise MissingExtraError.of("service", "fastapi-offline") from None
    return Response(data, media_type=_ASSETS[name], headers={"cache-control": "max-age=86400"})
