"""Embeddings: `/v1/embeddings` and the short form `/embed`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dure.service.kit.state import state_of

from . import service
from .schemas import EmbedRequest, EmbedResponse

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings")
async def create_embeddings(request: Request) -> Response:
    """Embed as OpenAI does."""
    return JSONResponse(await service.complete(state_of(request).client, await request.body()))


@router.post("/api/v1/embed")
async def embed(asked: EmbedRequest, request: Request) -> EmbedResponse:
    """Return one vector per text."""
    state = state_of(request)
    return EmbedResponse(embeddings=await service.embed(state.client, asked, state.settings))
