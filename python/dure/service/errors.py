"""Errors on the wire: OpenAI's shape everywhere."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dure.errors import DureError, InvalidArgumentError, InvalidModelError, NotFoundError
from dure.integrations.fastapi import error_body, reply_of

__all__ = ["body_of", "error_body", "install"]

_OPENAI_SHAPED = ("/v1/", "/api/v1/chat/completions", "/api/v1/embeddings")


def body_of(error: DureError) -> dict[str, Any]:
    """Return the body for one of our errors."""
    return reply_of(error)[1]


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
    status, body, headers = reply_of(error)
    return JSONResponse(body, status, headers)


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    body = error_body(error.status_code, str(error.detail))
    return JSONResponse(body, error.status_code, error.headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    status = 400 if request.scope["path"].startswith(_OPENAI_SHAPED) else 422
    message = f"{where}: {first['msg']}"
    return JSONResponse(error_body(status, message, code=first["type"], param=where), status)


async def _too_deep(_request: Request, _error: Exception) -> JSONResponse:
    """Answer for a body that could be read and then not be written for the provider."""
    code = InvalidArgumentError.default_code
    return JSONResponse(
        error_body(400, "the body is nested too deep", code=code, param="body"), 400
    )


async def _unknown_error(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse(error_body(500, "Internal error; the log has it.", code="internal"), 500)
