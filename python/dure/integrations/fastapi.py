"""dure in a FastAPI app: one client for its lifetime, a dependency, errors as answers.

    app = FastAPI(lifespan=lifespan)
    add_exception_handlers(app)

    @app.post("/ask")
    async def ask(text: str, client: Annotated[dure.AsyncClient, Depends(get_client)]) -> str: ...

`app.dependency_overrides[get_client]` replaces the client in tests.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

from dure.aio import AsyncClient
from dure.errors import (
    DureError,
    InvalidArgumentError,
    MissingExtraError,
    UnavailableError,
    UpstreamError,
)

try:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from starlette.requests import HTTPConnection
except ImportError as missing:
    raise MissingExtraError.of("service", "fastapi") from missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["add_exception_handlers", "error_body", "get_client", "lifespan", "reply_of"]

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "requests"}
_OURS = {401, 402, 403}  # a provider's answers that concern this installation's key alone
_CALLERS = {400, 404, 413, 422, 429}  # those that the caller can mend


@asynccontextmanager
async def lifespan(
    app: FastAPI,  # noqa: ARG001 - FastAPI gives it
    **options: Any,  # noqa: ANN401 - the client's own
) -> AsyncIterator[dict[str, AsyncClient]]:
    """Keep one client for the app's lifetime; `get_client` hands it out.

    Give it to `FastAPI(lifespan=)`; settings by `functools.partial(lifespan, base_url=...)`.

    Args:
        app: The app.
        **options: As `dure.AsyncClient` takes them.

    Raises:
        InvalidArgumentError: the settings cannot work, so the app does not start.
    """
    async with AsyncClient(**options) as client:
        yield {"dure_client": client}


def get_client(connection: HTTPConnection) -> AsyncClient:
    """Return the app's client: a dependency of routes and of WebSockets.

    Raises:
        UnavailableError: the app was started without `lifespan`.
    """
    client = getattr(connection.state, "dure_client", None)
    if not isinstance(client, AsyncClient):
        raise UnavailableError(
            "this app has no client: FastAPI(lifespan=dure.integrations.fastapi.lifespan), and in "
            "tests `with TestClient(app)`",
            stage="lifespan",
        )
    return client


def add_exception_handlers(app: FastAPI) -> None:
    """Make the app answer every `DureError` with its status, a body in OpenAI's shape, headers."""
    app.add_exception_handler(DureError, _answer)


async def _answer(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DureError)
    status, body, headers = reply_of(error)
    return JSONResponse(body, status, headers)


def reply_of(error: DureError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, body and headers that tell a caller over HTTP about an error.

    A provider's 400, 404, 413, 422 and 429 pass; its refusal of this installation's key becomes a
    502 that says no more.
    """
    sent = error.status_code if isinstance(error, UpstreamError) else None
    if sent in _OURS:
        message = "The provider refused this installation's key."
        return 502, error_body(502, message, code="upstream_auth"), {}
    status = sent if sent in _CALLERS else error.http_status
    resets_at = getattr(error, "resets_at", None)
    body = error_body(
        status,
        str(error),
        code=error.code,
        param=_param(error),
        retry_after=error.retry_after,
        resets_at=resets_at.isoformat() if resets_at else None,
    )
    return status, body, _headers(error)


def error_body(
    status: int, message: str, *, code: str | None = None, **more: object
) -> dict[str, Any]:
    """Return the body of an error in OpenAI's shape; `more` fields that are None are left out."""
    kind = _KINDS.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    shown = {name: value for name, value in more.items() if value is not None}
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **shown}}


def _param(error: DureError) -> str | None:
    if isinstance(error, InvalidArgumentError):
        return (error.path if error.argument == "body" else None) or error.argument
    return error.param if isinstance(error, UpstreamError) else None


def _headers(error: DureError) -> dict[str, str]:
    if error.retry_after is None:
        return {}
    milliseconds = max(1, round(error.retry_after * 1000))
    return {"retry-after": str(ceil(milliseconds / 1000)), "retry-after-ms": str(milliseconds)}
