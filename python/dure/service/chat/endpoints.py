"""Conversation: `/v1/chat/completions` and the short forms `/chat`, `/chat/stream`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dure.service.kit.bill import bill
from dure.service.kit.sse import event_stream
from dure.service.kit.state import state_of

from . import service
from .schemas import ChatRequest, ChatResponse

router = APIRouter(tags=["chat"])
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
async def create_completion(request: Request) -> Response:
    """Answer as OpenAI does, streamed or whole.

    Every parameter of OpenAI's API, and any other of the provider's, is passed on as it is.
    """
    body = service.parse(await request.body())
    client = state_of(request).client
    if body.get("stream"):
        return event_stream(await service.openai_events(client, body))
    answer = await client.chat.completions.create(**body)
    return JSONResponse(answer.to_dict(), headers=bill(answer.dure))


@router.post("/api/v1/chat")
async def chat(asked: ChatRequest, request: Request, response: Response) -> ChatResponse:
    """Answer whole. Without `model` the service's setting `DURE_CHAT_MODEL` is asked.

    The headers `x-dure-model`, `x-dure-cost-usd` and `x-dure-attempts` say who answered, for what.
    """
    state = state_of(request)
    answer = await service.answer(state.client, asked, state.settings)
    response.headers.update(bill(answer.dure))
    return ChatResponse(response=answer.choices[0].message.content or "")


@router.post("/api/v1/chat/stream")
async def chat_stream(asked: ChatRequest, request: Request) -> Response:
    """Answer in pieces, as server-sent events. Without `model`: `DURE_CHAT_MODEL`, as `/chat`."""
    state = state_of(request)
    found = event_stream(await service.pieces(state.client, asked, state.settings))
    found.headers["x-dure-model"] = service.model_of(asked, state.settings)
    return found
