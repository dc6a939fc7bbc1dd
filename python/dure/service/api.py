"""The law of routes: which rooms are mounted, and which paths are other names for them.

`/api/v1` is canonical. An alias is a rewrite of the path before routing, never a second route.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from dure.service.audit.endpoints import router as audit
from dure.service.auth.endpoints import router as auth
from dure.service.auth.policy import PolicyRoute, policy_of
from dure.service.channels.endpoints import router as channels
from dure.service.chat.endpoints import router as chat
from dure.service.contents.endpoints import router as contents
from dure.service.embeddings.endpoints import router as embeddings
from dure.service.files.endpoints import router as files
from dure.service.genai.endpoints import router as genai
from dure.service.health.endpoints import router as health
from dure.service.keys.endpoints import router as keys
from dure.service.knowledge.endpoints import router as knowledge
from dure.service.limits.endpoints import router as limits
from dure.service.messages.endpoints import router as messages
from dure.service.models.endpoints import router as models
from dure.service.moderations.endpoints import router as moderations
from dure.service.passing.endpoints import router as passing
from dure.service.prompts.endpoints import router as prompts
from dure.service.provider.endpoints import router as provider
from dure.service.provider_keys.endpoints import router as provider_keys
from dure.service.reports.endpoints import router as reports
from dure.service.responses.endpoints import router as responses
from dure.service.usage.endpoints import router as usage
from dure.service.users.endpoints import router as users

__all__ = ["SHORT_FORMS", "canonical", "mount", "openapi_with_aliases"]

SHORT_FORMS = {
    "/chat": "/api/v1/chat",
    "/chat/stream": "/api/v1/chat/stream",
    "/embed": "/api/v1/embed",
    "/api/v1/chat/completions": "/v1/chat/completions",
    "/api/v1/embeddings": "/v1/embeddings",
}
ROOMS = (
    chat,
    embeddings,
    models,
    genai,
    auth,
    keys,
    users,
    usage,
    limits,
    audit,
    health,
    moderations,
    passing,
    responses,
    messages,
    provider,
    files,
    knowledge,
    prompts,
    channels,
    reports,
    provider_keys,
    contents,
)
_BEARER = {"type": "http", "scheme": "bearer", "description": "An API key or an access token."}


def canonical(path: str) -> str:
    """Return the path under which a route is registered."""
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        path = "/api/v1/" + path.removeprefix("/api/")
    return SHORT_FORMS.get(path, path)


def mount(app: FastAPI, *more: APIRouter) -> None:
    """Register every room; their routes stand in one flat table."""
    for router in (*ROOMS, *more):
        app.router.routes.extend(router.routes)


def openapi_with_aliases(app: FastAPI) -> dict[str, Any]:
    """Return the schema; aliases are listed under the tag `alias`."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        schema.setdefault("components", {})["securitySchemes"] = {"bearer": _BEARER}
        paths: dict[str, Any] = schema["paths"]
        _declare_policies(app, paths)
        for path in list(paths):
            for alias in _aliases_of(path):
                paths[alias] = _alias(deepcopy(paths[path]), alias)
        app.openapi_schema = schema
    return app.openapi_schema


def _declare_policies(app: FastAPI, paths: dict[str, Any]) -> None:
    """Write into each operation who may call it, and that others are refused."""
    for route in app.routes:
        policy = policy_of(route)
        if not isinstance(route, PolicyRoute) or policy is None or not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = paths[route.path_format][method.lower()]
            if policy.role is None:
                continue
            operation["security"] = [{"bearer": []}]
            operation["x-policy"] = {
                "role": policy.role,
                "scope": policy.scope,
                "owner": policy.owner,
                "operator": policy.operator,
            }
            for status, what in (("401", "Nobody is logged in."), ("403", "Not allowed.")):
                operation["responses"].setdefault(status, {"description": what})


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
