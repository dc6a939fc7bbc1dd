"""Swagger UI and ReDoc from this machine: no page loads anything from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from dure.errors import MissingExtraError

__all__ = ["install"]

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


def install(app: FastAPI) -> None:
    """Add `/docs` and `/redoc` with their scripts under `/docs/assets`."""
    app.add_api_route("/docs", _swagger, include_in_schema=False)
    app.add_api_route("/redoc", _redoc, include_in_schema=False)
    app.add_api_route("/docs/assets/{name}", _asset, include_in_schema=False)


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
