"""Which models of this machine the settings name: embedders, as `ModelManager` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dure.local import HashEmbedder
from dure.service.settings import Settings

from .manager import Model, ModelManager, ModelSpec

__all__ = ["LOCAL", "manager_of"]

LOCAL = "dure-hash"


class _Embeds:
    """An embedder as a model: texts in, vectors out."""

    def __init__(self, embedder: Any) -> None:  # noqa: ANN401 - a dure.Embedder
        self._embedder = embedder

    def __call__(self, items: Sequence[Any], /) -> Sequence[Any]:
        """Return one vector per text."""
        return list(self._embedder.embed_documents(list(items)))


def manager_of(settings: Settings) -> ModelManager:
    """Return the manager of the built-in embedder and of those in folders."""
    specs = {LOCAL: ModelSpec(lambda: _Embeds(HashEmbedder()))}
    for name, folder in settings.local_models.items():
        size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
        specs[name] = ModelSpec(_loader(str(folder), settings.model_device),
                                settings.model_device, size)  # fmt: skip
    cap = settings.model_memory_bytes
    return ModelManager(specs, caps={} if cap is None else {settings.model_device: cap})


def _loader(folder: str, device: str) -> Any:  # noqa: ANN401 - a function that loads
    def load() -> Model:
        from dure.integrations.sentence_transformers import SentenceTransformerEmbedder

        return _Embeds(SentenceTransformerEmbedder(folder, device=device))

    return load
