"""Vectors of texts: by the provider, paid for by whoever asked, or by the built-in model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dure._core.catalog import canonical
from dure.calls import Call
from dure.service.inference.embedders import LOCAL
from dure.service.inference.manager import ModelManager
from dure.service.kit.state import State
from dure.service.settings import Settings

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["embed", "model_of"]


def model_of(settings: Settings) -> str:
    """Return what embeds documents now.

    Raises:
        InvalidModelError: there is no such model.
    """
    name = settings.knowledge_model or settings.embed_model
    return name if _is_local(settings, name) else canonical(name)


def _is_local(settings: Settings, model: str) -> bool:
    return model == LOCAL or model in settings.local_models


async def embed(
    state: State, models: ModelManager, model: str, texts: Sequence[str], call: Call
) -> tuple[NDArray[float32], int]:
    """Return float32 [n, dim] and the pico-dollars that it cost.

    Raises:
        DureError: as any call.
    """
    if _is_local(state.settings, model):
        import numpy as np

        return np.stack(await models.infer_many(model, texts)), 0
    answer = await state.client.embeddings.create(model=model, input=list(texts), dure=call)
    return answer.vectors, answer.dure.cost_pico
