"""`/v1/responses` and what is done with a stored one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from dure.errors import InvalidArgumentError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import subject_of
from dure.service.calling import call_of, check_model
from dure.service.kit.body import read_object, require_type
from dure.service.kit.hot import hot
from dure.service.kit.state import state_of
from dure.service.passing.service import Going, passed, send, streamed
from dure.service.provider import service as objects

from . import service

router = APIRouter(tags=["responses"], route_class=PolicyRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"model": {"type": "string"}, "input": {}},
                    "additionalProperties": True,
                },
                "example": {"model": "gpt-4o-mini", "input": "Say hello."},
            }
        },
    }
}


@router.post("/v1/responses", openapi_extra=_BODY)
@requires(role="user", scope="responses")
@hot
async def create_response(request: Request) -> Response:
    """Answer as OpenAI's Responses API does, streamed or whole; counted and held like chat.

    Ids in the body (`previous_response_id`, `file_id` and kin) must be the caller's own.
    """
    who, state = subject_of(request), state_of(request)
    require_type(request.scope, "application/json")
    body = read_object(await request.body())
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidArgumentError("you must provide a model parameter", argument="model")
    check_model(who, body["model"])
    await objects.check_body(state, who, body)
    going = Going(
        state.client,
        call_of(who, request.scope),
        "POST",
        "/responses",
        body,
        model=body["model"],
    )
    if body.get("stream"):

        def through(pieces: AsyncGenerator[bytes], _price: object) -> AsyncGenerator[bytes]:
            return service.binding(pieces, state, who)

        return await streamed(going, request.scope, through)
    reply = await send(going)
    await objects.bind(state, who, service.made_by(reply.json()))
    return passed(reply, request.scope)


@router.post("/v1/responses/input_tokens", openapi_extra=_BODY, summary="Count a response's input")
@requires(role="user", scope="responses")
async def count_input_tokens(request: Request) -> Response:
    """Count the input tokens of a request at the provider; it costs nothing."""
    who, state = subject_of(request), state_of(request)
    require_type(request.scope, "application/json")
    body = read_object(await request.body())
    if body.get("model") is not None:
        check_model(who, body["model"])
    await objects.check_body(state, who, body)
    call = call_of(who, request.scope)
    reply = await send(Going(state.client, call, "POST", "/responses/input_tokens", body))
    return passed(reply, request.scope)


@router.get("/v1/responses/{response_id}", summary="Get a stored response")
@requires(role="user", scope="responses", owner="self")
async def get_response(request: Request, response_id: str) -> Response:
    """Return a stored response of the caller; `stream=true` gives its events again."""
    if request.query_params.get("stream") == "true":
        return await streamed(await _about(request, "GET", response_id), request.scope)
    return passed(await send(await _about(request, "GET", response_id)), request.scope)


@router.delete("/v1/responses/{response_id}", summary="Delete a stored response")
@requires(role="user", scope="responses", owner="self")
async def delete_response(request: Request, response_id: str) -> Response:
    """Delete a stored response."""
    answer = passed(await send(await _about(request, "DELETE", response_id)), request.scope)
    await objects.forget(state_of(request), subject_of(request), [("response", response_id)])
    return answer


@router.post("/v1/responses/{response_id}/cancel", summary="Stop a response in the background")
@requires(role="user", scope="responses", owner="self")
async def cancel_response(request: Request, response_id: str) -> Response:
    """Stop a response that runs in the background."""
    going = await _about(request, "POST", response_id, "/cancel")
    return passed(await send(going), request.scope)


@router.get("/v1/responses/{response_id}/input_items", summary="List a response's input")
@requires(role="user", scope="responses", owner="self")
async def list_input_items(request: Request, response_id: str) -> Response:
    """List what a stored response was asked."""
    going = await _about(request, "GET", response_id, "/input_items")
    return passed(await send(going), request.scope)


async def _about(request: Request, method: str, response_id: str, end: str = "") -> Going:
    """Return a call about a response of the caller's.

    Raises:
        NotFoundError: it is not theirs.
    """
    who, state = subject_of(request), state_of(request)
    await objects.owned(state, who, [("response", response_id)])
    query = request.scope["query_string"].decode("latin-1")
    path = f"/responses/{quote(response_id, safe='')}{end}{'?' if query else ''}{query}"
    return Going(state.client, call_of(who, request.scope), method, path)
