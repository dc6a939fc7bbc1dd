"""Conversation: `/v1/chat/completions` and the short forms `/chat`, `/chat/stream`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who, subject_of
from dure.service.calling import call_of, check_model
from dure.service.kit.bill import JSON, bill, warnings
from dure.service.kit.hot import hot
from dure.service.kit.sse import EventStream
from dure.service.kit.state import state_of
from dure.service.provider import service as objects

from . import service
from .schemas import ChatRequest, ChatResponse

router = APIRouter(tags=["chat"], route_class=PolicyRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["role", "content"],
                                "properties": {
                                    "role": {"type": "string"},
                                    "content": {"type": "string"},
                                },
                            },
                        },
                        "stream": {"type": "boolean", "default": False},
                    },
                    "additionalProperties": True,
                },
                "example": {
                    "model": "gpt-4o-mini",
                    "messages": [{"role": "user", "content": "Say hello."}],
                },
            }
        },
    }
}


@router.post("/v1/chat/completions", openapi_extra=_BODY)
@requires(role="user", scope="chat")
@hot
async def create_completion(request: Request) -> Response:
    """Answer as OpenAI does, streamed or whole.

    Every parameter of OpenAI's API, and any other of the provider's, is passed on as it is.
    """
    who = subject_of(request)
    sent = await request.body()
    body, plain = service.parse(sent)
    check_model(who, body["model"])
    state = state_of(request)
    await objects.check_body(state, who, body)
    client = state.client
    call = call_of(who, request.scope)
    if body.get("stream"):
        events = await service.openai_events(client, body, call)
        return EventStream(events, warnings(request.scope))
    if plain:
        answer = await service.whole(client, sent, state.clients.options.of(call))
    else:
        answer = (await client.chat.completions.create(**body, dure=call)).raw()
    return Response(answer.content, headers=bill(answer.dure, request.scope), media_type=JSON)


@router.post("/api/v1/chat")
@requires(role="user", scope="chat")
async def chat(who: Who, asked: ChatRequest, request: Request, response: Response) -> ChatResponse:
    """Answer whole. Without `model` the service's setting `DURE_CHAT_MODEL` is asked.

    The headers `x-dure-model`, `x-dure-cost-usd` and `x-dure-attempts` say who answered, for what.
    """
    state = state_of(request)
    check_model(who, service.model_of(asked, state.settings))
    call = call_of(who, request.scope)
    answer = await service.answer(state.client, asked, state.settings, call)
    response.headers.update(bill(answer.dure, request.scope))
    return ChatResponse(response=answer.choices[0].message.content or "")


@router.post("/api/v1/chat/stream")
@requires(role="user", scope="chat")
async def chat_stream(who: Who, asked: ChatRequest, request: Request) -> Response:
    """Answer in pieces, as server-sent events. Without `model`: `DURE_CHAT_MODEL`, as `/chat`."""
    state = state_of(request)
    model = service.model_of(asked, state.settings)
    check_model(who, model)
    call = call_of(who, request.scope)
    pieces = await service.pieces(state.client, asked, state.settings, call)
    return EventStream(pieces, {"x-dure-model": model, **warnings(request.scope)})
