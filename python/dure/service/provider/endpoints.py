"""`/v1/files` and `/v1/batches`: at the provider, each for those who made it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from dure.calls.replies import RawReply
from dure.errors import InvalidArgumentError, UpstreamError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Subject, subject_of
from dure.service.calling import call_of
from dure.service.kit.body import read_object, require_type
from dure.service.kit.forms import field_of, file_of, read_form, written
from dure.service.kit.state import State, state_of
from dure.service.passing.service import Going, fixed, passed, send, streamed

from . import service

router = APIRouter(tags=["provider objects"], route_class=PolicyRoute)
_AT_ONCE = 8
_MOST = 100

Order = Annotated[Literal["asc", "desc"], Query(description="By age.")]
Length = Annotated[int, Query(ge=0, le=10_000, description="Rows at most; 100 are given.")]
_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string"},
                    },
                    "additionalProperties": True,
                }
            }
        },
    }
}
_BATCH: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["input_file_id", "endpoint", "completion_window"],
                    "properties": {
                        "input_file_id": {"type": "string"},
                        "endpoint": {"type": "string"},
                        "completion_window": {"type": "string"},
                    },
                    "additionalProperties": True,
                }
            }
        },
    }
}


@router.post("/v1/files", openapi_extra=_FILE, summary="Upload a file to the provider")
@requires(role="user", scope="files:write", owner="self")
async def upload_provider_file(request: Request) -> Response:
    """Keep a file at the provider, as OpenAI does. It is the caller's alone."""
    who, state = subject_of(request), state_of(request)
    form = await read_form(request)
    try:
        file_of(form, "file")
        if not field_of(form, "purpose"):
            raise InvalidArgumentError("you must provide a purpose", argument="purpose")
        body, kind = await written(form)
    finally:
        await form.close()
    call = call_of(who, request.scope)
    reply = await send(Going(state.client, call, "POST", "/files", body, kind))
    await service.bind(state, who, [("file", _id_of(reply))])
    return passed(reply, request.scope)


@router.get("/v1/files", summary="List one's files at the provider")
@requires(role="user", scope="files:read", owner="self")
async def list_provider_files(
    request: Request,
    limit: Length = _MOST,
    after: str | None = None,
    order: Order = "desc",
    purpose: str | None = None,
) -> JSONResponse:
    """List the caller's files at the provider; an administrator sees the organisation's."""
    return await _listed(request, "file", "/files", limit, after, order, purpose)


@router.get("/v1/files/{file_id}", summary="Get a file's facts from the provider")
@requires(role="user", scope="files:read", owner="self")
async def get_provider_file(request: Request, file_id: str) -> Response:
    """Return what is known of a file."""
    return await _one(request, "GET", ("file", file_id), f"/files/{quote(file_id, safe='')}")


@router.get("/v1/files/{file_id}/content", summary="Download a file from the provider")
@requires(role="user", scope="files:read", owner="self")
async def get_provider_file_content(request: Request, file_id: str) -> Response:
    """Return a file's bytes while they come."""
    who, state = subject_of(request), state_of(request)
    await service.owned(state, who, [("file", file_id)])
    path = f"/files/{quote(file_id, safe='')}/content"
    call = call_of(who, request.scope)
    return await streamed(Going(state.client, call, "GET", path), request.scope)


@router.delete("/v1/files/{file_id}", summary="Delete a file at the provider")
@requires(role="user", scope="files:write", owner="self")
async def delete_provider_file(request: Request, file_id: str) -> Response:
    """Delete a file."""
    path = f"/files/{quote(file_id, safe='')}"
    answer = await _one(request, "DELETE", ("file", file_id), path)
    await service.forget(state_of(request), subject_of(request), [("file", file_id)])
    return answer


@router.post("/v1/batches", openapi_extra=_BATCH, summary="Start a batch at the provider")
@requires(role="user", scope="batches:write", owner="self")
async def create_batch(request: Request) -> Response:
    """Start a batch over one's own file; its price is that of `batches` in `DURE_CALL_PRICES`."""
    who, state = subject_of(request), state_of(request)
    require_type(request.scope, "application/json")
    body = read_object(await request.body())
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str):
            raise InvalidArgumentError(f"you must provide a {name} parameter", argument=name)
    await service.check_body(state, who, body)
    call = call_of(who, request.scope)
    going = Going(state.client, call, "POST", "/batches", body, price=fixed(state, call, "batches"))
    reply = await send(going)
    await service.bind(state, who, _made_by(reply))
    return passed(reply, request.scope)


@router.get("/v1/batches", summary="List one's batches")
@requires(role="user", scope="batches:read", owner="self")
async def list_batches(
    request: Request, limit: Length = 20, after: str | None = None
) -> JSONResponse:
    """List the caller's batches; an administrator sees the organisation's."""
    return await _listed(request, "batch", "/batches", limit, after, "desc", None)


@router.get("/v1/batches/{batch_id}", summary="Get a batch")
@requires(role="user", scope="batches:read", owner="self")
async def get_batch(request: Request, batch_id: str) -> Response:
    """Return how far a batch is; its files are the caller's as well."""
    path = f"/batches/{quote(batch_id, safe='')}"
    return await _one(request, "GET", ("batch", batch_id), path)


@router.post("/v1/batches/{batch_id}/cancel", summary="Stop a batch")
@requires(role="user", scope="batches:write", owner="self")
async def cancel_batch(request: Request, batch_id: str) -> Response:
    """Stop a batch."""
    path = f"/batches/{quote(batch_id, safe='')}/cancel"
    return await _one(request, "POST", ("batch", batch_id), path)


async def _one(request: Request, method: str, at: service.Reference, path: str) -> Response:
    """Pass on a call about one object of the caller's."""
    who, state = subject_of(request), state_of(request)
    await service.owned(state, who, [at])
    reply = await send(Going(state.client, call_of(who, request.scope), method, path))
    if at[0] == "batch":
        await service.bind(state, who, _made_by(reply))
    return passed(reply, request.scope)


async def _listed(
    request: Request,
    kind: str,
    path: str,
    limit: int,
    after: str | None,
    order: str,
    purpose: str | None,
) -> JSONResponse:
    """Return a page of the caller's own rows, each as the provider has it now."""
    who, state = subject_of(request), state_of(request)
    most = min(limit, _MOST) or _MOST
    ids, more = await service.page(state, who, kind, most, after, rising=order == "asc")
    found = [one for one in await _all(state, who, request, path, ids) if one is not None]
    if purpose is not None:
        found = [one for one in found if one.get("purpose") == purpose]
    page = {
        "object": "list",
        "data": found,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": more,
    }
    return JSONResponse(page)


async def _all(
    state: State, who: Subject, request: Request, path: str, ids: list[str]
) -> list[dict[str, Any] | None]:
    """Return each object as the provider has it; None: it has it no more."""
    few = asyncio.Semaphore(_AT_ONCE)
    call = call_of(who, request.scope)

    async def one(name: str) -> dict[str, Any] | None:
        async with few:
            try:
                reply = await send(
                    Going(state.client, call, "GET", f"{path}/{quote(name, safe='')}")
                )
            except UpstreamError as gone:
                if gone.status_code == 404:
                    return None
                raise
        found: dict[str, Any] = reply.json()
        return found

    return list(await asyncio.gather(*(one(name) for name in ids)))


def _id_of(reply: RawReply) -> str:
    """Return the id of what the provider made.

    Raises:
        UpstreamError: it names none.
    """
    found = reply.json()
    name = found.get("id") if isinstance(found, dict) else None
    if not isinstance(name, str) or not name:
        raise UpstreamError("the provider made something without naming it", code="no_id")
    return name


def _made_by(reply: RawReply) -> list[service.Reference]:
    """Return what a batch's answer names: itself, and the files that came of it."""
    batch = reply.json()
    files = [batch.get(name) for name in ("output_file_id", "error_file_id")]
    return [("batch", _id_of(reply)), *(("file", one) for one in files if isinstance(one, str))]
