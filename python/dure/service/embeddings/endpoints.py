"""Embeddings: `/v1/embeddings` and the short form `/embed`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dure.service.kit.bill import bill
from dure.service.kit.state import state_of

from . import service
from .schemas import EmbedRequest, EmbedResponse

router = APIRouter(tags=["embeddings"])
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
async def create_embeddings(request: Request) -> Response:
    """Embed as OpenAI does."""
    answer = await service.complete(state_of(request).client, await request.body())
    return JSONResponse(answer.to_dict(), headers=bill(answer.dure))


@router.post("/api/v1/embed")
async def embed(asked: EmbedRequest, request: Request, response: Response) -> EmbedResponse:
    """Return one vector per text. Without `model` the setting `DURE_EMBED_MODEL` is asked."""
    state = state_of(request)
    answer = await service.embed(state.client, asked, state.settings)
    response.headers.update(bill(answer.dure))
    vectors = [[float(x) for x in one.embedding] for one in answer.data]
    return EmbedResponse(embeddings=vectors)
