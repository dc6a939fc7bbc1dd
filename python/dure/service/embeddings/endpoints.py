"""Embeddings: `/v1/embeddings` and the short form `/embed`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who, subject_of
from dure.service.calling import call_of, check_model
from dure.service.kit.bill import bill
from dure.service.kit.hot import hot
from dure.service.kit.state import state_of

from . import service
from .schemas import EmbedRequest, EmbedResponse

router = APIRouter(tags=["embeddings"], route_class=PolicyRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "input"],
                    "properties": {
                        "model": {"type": "string"},
                        "input": {
                            "anyOf": [
                                {"type": "string"},
                                {"type": "array", "items": {"type": "string"}},
                            ]
                        },
                        "dimensions": {"type": "integer", "minimum": 1},
                    },
                    "additionalProperties": True,
                },
                "example": {"model": "text-embedding-3-small", "input": ["Say hello."]},
            }
        },
    }
}


@router.post("/v1/embeddings", openapi_extra=_BODY)
@requires(role="user", scope="embeddings")
@hot
async def create_embeddings(request: Request) -> Response:
    """Embed as OpenAI does."""
    who = subject_of(request)
    body = service.parse(await request.body())
    check_model(who, body["model"])
    call = call_of(who, request.scope)
    answer = await state_of(request).client.embeddings.create(**body, dure=call)
    return JSONResponse(answer.to_dict(), headers=bill(answer.dure, request.scope))


@router.post("/api/v1/embed")
@requires(role="user", scope="embeddings")
async def embed(
    who: Who, asked: EmbedRequest, request: Request, response: Response
) -> EmbedResponse:
    """Return one vector per text. Without `model` the setting `DURE_EMBED_MODEL` is asked."""
    state = state_of(request)
    check_model(who, asked.model or state.settings.embed_model)
    call = call_of(who, request.scope)
    answer = await service.embed(state.client, asked, state.settings, call)
    response.headers.update(bill(answer.dure, request.scope))
    vectors = [[float(x) for x in one.embedding] for one in answer.data]
    return EmbedResponse(embeddings=vectors)
