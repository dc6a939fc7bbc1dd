"""Embeddings: passed to the provider, OpenAI-shaped or in the short form."""

from __future__ import annotations

from typing import Any

from dure.aio import AsyncClient
from dure.calls.parameters import split_body
from dure.errors import InvalidArgumentError
from dure.service.kit.body import read_object
from dure.service.settings import Settings

from .schemas import EmbedRequest

__all__ = ["complete", "embed"]


async def complete(client: AsyncClient, body: bytes) -> dict[str, Any]:
    """Return the provider's answer to an OpenAI-shaped body.

    Raises:
        InvalidArgumentError: it is no JSON object with a model and an input, or it names one of our
            own arguments.
    """
    value = read_object(body)
    for name in ("model", "input"):
        if not value.get(name):
            raise InvalidArgumentError(f"you must provide a {name} parameter", argument=name)
    answer = await client.embeddings.create(**split_body(value, "embeddings"))
    found: dict[str, Any] = answer.to_dict()
    return found


async def embed(
    client: AsyncClient, request: EmbedRequest, settings: Settings
) -> list[list[float]]:
    """Return one vector per text."""
    answer = await client.embeddings.create(
        model=request.model or settings.embed_model, input=request.texts, encoding_format="float"
    )
    return [[float(x) for x in one.embedding] for one in answer.data]
