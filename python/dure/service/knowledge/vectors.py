"""Vectors of texts: by the provider, paid for by whoever asked, or by the built-in model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dure._core.catalog import canonical
from dure.calls import Call
from dure.local import HashEmbedder
from dure.service.kit.state import State
from dure.service.settings import Settings

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["LOCAL", "embed", "model_of"]

LOCAL = "dure-hash"


def model_of(settings: Settings) -> str:
    """Return what embeds documents now.

    Raises:
        InvalidModelError: there is no such model.
    """
    name = settings.knowledge_model or settings.embed_model
    return LOCAL if name == LOCAL else canonical(name)


async def embed(
    state: State, model: str, texts: Sequence[str], call: Call
) -> tuple[NDArray[float32], int]:
    """Return float32 [n, dim] and the pico-dollars that it cost.

    Raises:
        DureError: as any call.
    """
    if model == LOCAL:
        return await asyncio.to_thread(HashEmbedder().embed_documents, list(texts)), 0
    answer = await state.client.embeddings.create(model=model, input=list(texts), dure=call)
    return answer.vectors, answer.dure.cost_pico
