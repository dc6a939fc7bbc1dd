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
_REFUSED = (("401", "Nobody is logged in."), ("403", "Not allowed."))
_ANYWHERE = {
    "400": "What is asked for cannot be done; `param` names what is wrong.",
    "429": "Too often, or a budget is used up; `Retry-After` says when to come back.",
    "503": "The service is busy or its database is away: try again.",
}
_NAMED = {"404": "There is none of that name here."}
_READS = {"413": "The body is too large.", "415": "The body is of a type that is not taken."}
_CHANGES = {"409": "It is there already, or changed meanwhile."}
_CALLED = {"502": "The provider failed.", "504": "The provider did not answer in time."}
_CALLS = ("/v1/", "/api/v1/chat", "/api/v1/embed", "/api/v1/gen-ai", "/api/v1/knowledge")
_ERROR_REF = "#/components/schemas/ErrorBody"
_ERROR = {
    "title": "ErrorBody",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong, and what to do."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The argument at fault."},
                "code": {"type": ["string", "null"], "description": "For programs."},
                "request_id": {"type": "string"},
            },
        }
    },
}


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
        shapes = schema["components"].setdefault("schemas", {})
        shapes["ErrorBody"] = _ERROR
        for unused in ("HTTPValidationError", "ValidationError"):
            shapes.pop(unused, None)
        _declare_errors(paths)
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
            for status, what in _REFUSED:
                operation["responses"].setdefault(status, {"description": what})


def _declare_errors(paths: dict[str, Any]) -> None:
    """Write into each operation the errors that it may answer with, and their shape."""
    for path, operations in paths.items():
        calls = path.startswith(_CALLS)
        shaped = {"content": {"application/json": {"schema": {"$ref": _ERROR_REF}}}}
        if path.startswith("/v1/messages"):
            shaped = {}  # Anthropic's own shape
        for method, operation in operations.items():
            reads = "requestBody" in operation or method in {"post", "put", "patch"}
            statuses = {**_ANYWHERE}
            statuses |= _NAMED if "{" in path or reads else {}
            statuses |= _READS if reads else {}
            statuses |= _CHANGES if method != "get" else {}
            statuses |= _CALLED if calls else {}
            responses = operation["responses"]
            for status, what in statuses.items():
                responses.setdefault(status, {"description": what})
            for status in responses:
                if status == "422" or (status[0] in "45" and "content" not in responses[status]):
                    responses[status] |= shaped  # 422: FastAPI names a shape that is not ours


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
