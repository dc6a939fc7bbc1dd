"""Moderation: `/v1/moderations`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from dure.calls.parameters import split_body
from dure.errors import InvalidArgumentError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import subject_of
from dure.service.calling import call_of, check_model
from dure.service.kit.bill import JSON, bill
from dure.service.kit.body import read_object
from dure.service.kit.hot import hot
from dure.service.kit.state import state_of

router = APIRouter(tags=["moderations"], route_class=PolicyRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["input"],
                    "properties": {"input": {}, "model": {"type": "string"}},
                    "additionalProperties": True,
                },
                "example": {"input": "Say hello."},
            }
        },
    }
}


@router.post("/v1/moderations", openapi_extra=_BODY)
@requires(role="user", scope="moderations")
@hot
async def create_moderation(request: Request) -> Response:
    """Judge text as OpenAI does; it costs nothing."""
    who = subject_of(request)
    body = read_object(await request.body())
    if not body.get("input"):
        raise InvalidArgumentError("you must provide an input parameter", argument="input")
    if "model" in body:
        check_model(who, body["model"])
    call = call_of(who, request.scope)
    answer = await state_of(request).client.moderations.create(
        **split_body(body, "moderations"), dure=call
    )
    return Response(answer.raw().content, headers=bill(answer.dure, request.scope), media_type=JSON)
