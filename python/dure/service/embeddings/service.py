"""Embeddings: passed to the provider, OpenAI-shaped or in the short form."""

from __future__ import annotations

from typing import Any

from dure.aio import AsyncClient
from dure.calls import Call
from dure.calls.parameters import split_body
from dure.calls.replies import CreateEmbeddingResponse
from dure.errors import InvalidArgumentError
from dure.service.kit.body import read_object
from dure.service.settings import Settings

from .schemas import EmbedRequest

__all__ = ["embed", "parse"]


def parse(body: bytes) -> dict[str, Any]:
    """Read an OpenAI-shaped body into arguments.

    Raises:
        InvalidArgumentError: it is no JSON object with a model and an input, or it names one of our
            own arguments.
    """
    value = read_object(body)
    for name in ("model", "input"):
        if not value.get(name):
            raise InvalidArgumentError(f"you must provide a {name} parameter", argument=name)
    return split_body(value, "embeddings")


async def embed(
    client: AsyncClient, request: EmbedRequest, settings: Settings, call: Call
) -> CreateEmbeddingResponse:
    """Return one vector per text, as numbers."""
    return await client.embeddings.create(
        model=request.model or settings.embed_model,
        input=request.texts,
        encoding_format="float",
        dure=call,
    )
