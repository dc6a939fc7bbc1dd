"""The law of routes: which rooms are mounted, and which paths are other names for them.

`/api/v1` is canonical. An alias is a rewrite of the path before routing, never a second route.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dure.service.chat.endpoints import router as chat
from dure.service.embeddings.endpoints import router as embeddings
from dure.service.genai.endpoints import router as genai
from dure.service.models.endpoints import router as models

__all__ = ["SHORT_FORMS", "canonical", "mount", "openapi_with_aliases"]

SHORT_FORMS = {
    "/chat": "/api/v1/chat",
    "/chat/stream": "/api/v1/chat/stream",
    "/embed": "/api/v1/embed",
    "/api/v1/chat/completions": "/v1/chat/completions",
    "/api/v1/embeddings": "/v1/embeddings",
}
_ROOMS = (chat, embeddings, models, genai)


def canonical(path: str) -> str:
    """Return the path under which a route is registered."""
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        path = "/api/v1/" + path.removeprefix("/api/")
    return SHORT_FORMS.get(path, path)


def mount(app: FastAPI) -> None:
    """Register every room."""
    for router in _ROOMS:
        app.include_router(router)


def openapi_with_aliases(app: FastAPI) -> dict[str, Any]:
    """Return the schema; aliases are listed under the tag `alias`."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        paths: dict[str, Any] = schema["paths"]
        for path in list(paths):
            for alias in _aliases_of(path):
                paths[alias] = _alias(deepcopy(paths[path]), alias)
        app.openapi_schema = schema
    return app.openapi_schema


def _aliases_of(path: str) -> list[str]:
    found = [alias for alias, target in SHORT_FORMS.items() if target == path]
    return found + [
        "/api/" + name.removeprefix("/api/v1/")
        for name in (path, *found)
        if name.startswith("/api/v1/")
    ]


def _alias(operations: dict[str, Any], path: str) -> dict[str, Any]:
    suffix = path.strip("/").replace("/", "_").replace("{", "").replace("}", "")
    for operation in operations.values():
        operation["tags"] = ["alias"]
        operation["operationId"] = f"{operation['operationId']}_as_{suffix}"
    return operations
