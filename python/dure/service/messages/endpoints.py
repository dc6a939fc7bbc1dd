"""`/v1/messages`: Anthropic's shape, any model of the catalogue."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import subject_of
from dure.service.calling import call_of, check_model
from dure.service.kit.bill import bill, warnings
from dure.service.kit.body import read_object, require_type
from dure.service.kit.hot import hot
from dure.service.kit.sse import EventStream
from dure.service.kit.state import state_of

from . import service

router = APIRouter(tags=["messages"], route_class=PolicyRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "max_tokens", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "max_tokens": {"type": "integer", "minimum": 1},
                        "messages": {"type": "array", "items": {"type": "object"}},
                        "stream": {"type": "boolean", "default": False},
                    },
                },
                "example": {
                    "model": "gpt-4o-mini",
                    "max_tokens": 64,
                    "messages": [{"role": "user", "content": "Say hello."}],
                },
            }
        },
    }
}


@router.post("/v1/messages", openapi_extra=_BODY)
@requires(role="user", scope="chat")
@hot
async def create_message(request: Request) -> Response:
    """Answer as Anthropic's Messages API does, streamed or whole; errors are in its shape."""
    who, state = subject_of(request), state_of(request)
    require_type(request.scope, "application/json")
    body = service.chat_body(read_object(await request.body()))
    check_model(who, body["model"])
    call = call_of(who, request.scope)
    if body.pop("stream", False):
        body["stream_options"] = {"include_usage": True}
        stream = await state.client.chat.completions.create(**body, stream=True, dure=call)
        return EventStream(service.events(stream), warnings(request.scope))
    answer = await state.client.chat.completions.create(**body, dure=call)
    message = service.message_of(answer.to_dict())
    return JSONResponse(message, headers=bill(answer.dure, request.scope))
