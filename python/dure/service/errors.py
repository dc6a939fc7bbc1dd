"""Errors on the wire: OpenAI's shape everywhere, and the request's id in each."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from dure.errors import (
    BudgetExceededError,
    DureError,
    InvalidArgumentError,
    InvalidModelError,
    NotFoundError,
)
from dure.integrations.fastapi import error_body, reply_of

__all__ = [
    "ConflictError",
    "ForbiddenError",
    "MediaTypeError",
    "NotAuthenticatedError",
    "TooLargeError",
    "answer_of",
    "as_anthropic",
    "body_of",
    "error_body",
    "install",
    "refined",
]

_OPENAI_SHAPED = ("/v1/", "/api/v1/chat/completions", "/api/v1/embeddings")
_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_logger = logging.getLogger("dure.service")


class NotAuthenticatedError(DureError):
    """No credential, or none that is good; which of the two is not told."""

    default_code = "invalid_api_key"
    default_http_status = 401


class ForbiddenError(DureError):
    """The caller is known and may not do this."""

    default_code = "forbidden"
    default_http_status = 403


class ConflictError(DureError):
    """It is there already, or changed meanwhile."""

    default_code = "already_exists"
    default_http_status = 409


class MediaTypeError(DureError):
    """The body is of a type, or in a coding, that this route does not take."""

    default_code = "unsupported_media_type"
    default_http_status = 415


class TooLargeError(DureError):
    """More bytes than may be kept."""

    default_code = "too_large"
    default_http_status = 413


def body_of(error: DureError) -> dict[str, Any]:
    """Return the body for one of our errors."""
    return reply_of(error)[1]


def as_openai(error: DureError) -> DureError:
    """Return the error as OpenAI has it: a model that one cannot have is not found."""
    if error.code != InvalidModelError.default_code:
        return error
    return NotFoundError(str(error), code="model_not_found")


def answer_of(error: DureError, scope: Scope) -> JSONResponse:
    """Return the whole answer for one of our errors; for the frame and for raw routes."""
    if scope["path"].startswith(_OPENAI_SHAPED):
        error = as_openai(error)
    status, body, headers = reply_of(error)
    if isinstance(error, NotAuthenticatedError):
        headers["www-authenticate"] = "Bearer"
    if error.code in {"limit_exceeded", "request_exceeds_limit", "request_exceeds_rate"}:
        headers["x-should-retry"] = "false"
    approval_id = getattr(error, "approval_id", None)
    if approval_id is not None:
        body["error"]["approval_id"] = approval_id
    if scope["path"] == "/v1/messages":
        body = as_anthropic(status, body)
    return JSONResponse(_with_id(body, scope), status, headers)


def as_anthropic(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error with the kinds that Anthropic's clients know."""
    kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {**body["error"], "type": kind}}


async def refined(error: DureError, scope: Scope) -> DureError:
    """Return the error with what the app adds to it: the request that an administrator decides."""
    budgets = getattr(scope["app"].state, "budgets", None) if "app" in scope else None
    if budgets is None or not isinstance(error, BudgetExceededError):
        return error
    found: DureError = await budgets.refused(error, scope.get("state", {}).get("subject"))
    return found


def install(app: FastAPI) -> None:
    """Make the app answer every error in this shape."""
    app.add_exception_handler(DureError, _dure_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(RecursionError, _too_deep)
    app.add_exception_handler(Exception, _unknown_error)


def _with_id(body: dict[str, Any], scope: Scope) -> dict[str, Any]:
    request_id = scope.get("state", {}).get("request_id")
    if request_id is not None:
        body["error"]["request_id"] = request_id
    return body


async def _dure_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DureError)
    if error.http_status >= 500:
        _logger.warning("request failed", extra=_facts(request, error))
    return answer_of(await refined(error, request.scope), request.scope)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message, code = str(error.detail), None
    path = request.scope["path"]
    if error.status_code == 404 and path.startswith("/v1/"):  # no route: ours raise NotFoundError
        message, code = f"{path} is no endpoint of this gateway.", "unsupported_endpoint"
    body = error_body(error.status_code, message, code=code)
    return JSONResponse(_with_id(body, request.scope), error.status_code, error.headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    status = 400 if request.scope["path"].startswith(_OPENAI_SHAPED) else 422
    message = f"{where}: {first['msg']}"
    body = error_body(status, message, code=first["type"], param=where)
    return JSONResponse(_with_id(body, request.scope), status)


async def _too_deep(request: Request, _error: Exception) -> JSONResponse:
    """Answer for a body that could be read and then not be written for the provider."""
    code = InvalidArgumentError.default_code
    body = error_body(400, "the body is nested too deep", code=code, param="body")
    return JSONResponse(_with_id(body, request.scope), 400)


async def _unknown_error(request: Request, error: Exception) -> JSONResponse:
    _logger.error("internal error", exc_info=error, extra=_facts(request, error))
    body = error_body(500, "Internal error; the log has it.", code="internal")
    return JSONResponse(_with_id(body, request.scope), 500)


def _facts(request: Request, error: Exception) -> dict[str, object]:
    found = {"request_id": getattr(request.state, "request_id", None)}
    return found | {"error": type(error).__name__, "path": request.scope["path"]}
