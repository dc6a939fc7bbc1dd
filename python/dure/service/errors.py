"""Errors on the wire: OpenAI's shape everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dure.errors import (
    DureError,
    InvalidArgumentError,
    InvalidModelError,
    NotFoundError,
    UpstreamError,
)

__all__ = ["body_of", "install", "shape", "status_of"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "requests",
}
_OPENAI_SHAPED = ("/v1/", "/api/v1/chat/completions", "/api/v1/embeddings")
_PASSED = {400, 404, 413, 422, 429}  # a provider's own answers that are the caller's business


def shape(
    status: int, message: str, *, code: str | None = None, param: str | None = None, **more: object
) -> dict[str, Any]:
    """Return the body of an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    fields = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": fields | {name: value for name, value in more.items() if value is not None}}


def status_of(error: DureError) -> int:
    """Return the HTTP status for an error; a provider's 4xx passes where the caller can mend it."""
    if isinstance(error, UpstreamError) and error.status_code in _PASSED:
        return error.status_code
    return error.http_status


def body_of(error: DureError) -> dict[str, Any]:
    """Return the body for one of our errors; a provider's refusal of our key says no more."""
    if isinstance(error, UpstreamError) and error.status_code in {401, 402, 403}:
        return shape(502, "The provider refused this installation's key.", code="upstream_auth")
    resets_at = getattr(error, "resets_at", None)
    return shape(
        status_of(error),
        str(error),
        code=error.code,
        param=param_of(error),
        retry_after=error.retry_after,
        resets_at=resets_at.isoformat() if resets_at else None,
    )


def param_of(error: DureError) -> str | None:
    """Return the parameter that is wrong, where it is known."""
    if isinstance(error, InvalidArgumentError):
        return (error.path if error.argument == "body" else None) or error.argument
    return error.param if isinstance(error, UpstreamError) else None


def as_openai(error: DureError) -> DureError:
    """Return the error as OpenAI has it: a model that one cannot have is not found."""
    if error.code != InvalidModelError.default_code:
        return error
    return NotFoundError(str(error), code="model_not_found")


def install(app: FastAPI) -> None:
    """Make the app answer every error in this shape."""
    app.add_exception_handler(DureError, _dure_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(RecursionError, _too_deep)
    app.add_exception_handler(Exception, _unknown_error)


async def _dure_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DureError)
    if request.scope["path"].startswith(_OPENAI_SHAPED):
        error = as_openai(error)
    return JSONResponse(body_of(error), status_of(error), _retry_headers(error))


def _retry_headers(error: DureError) -> Mapping[str, str]:
    if error.retry_after is None:
        return {}
    return {
        "retry-after": str(max(1, round(error.retry_after))),
        "retry-after-ms": str(max(1, round(error.retry_after * 1000))),
    }


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = shape(error.status_code, str(error.detail))
    return JSONResponse(body, error.status_code, error.headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    status = 400 if request.scope["path"].startswith(_OPENAI_SHAPED) else 422
    message = f"{where}: {first['msg']}"
    return JSONResponse(shape(status, message, code=first["type"], param=where), status)


async def _too_deep(_request: Request, _error: Exception) -> JSONResponse:
    """Answer for a body that could be read and then not be written for the provider."""
    code = InvalidArgumentError.default_code
    return JSONResponse(shape(400, "the body is nested too deep", code=code, param="body"), 400)


async def _unknown_error(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse(shape(500, "Internal error; the log has it.", code="internal"), 500)
