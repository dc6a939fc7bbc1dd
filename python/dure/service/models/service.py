"""Which models the catalogue has."""

from __future__ import annotations

from collections.abc import Iterable

from dure.errors import InvalidArgumentError, NotFoundError
from dure.models import MODEL_CATALOG, ModelConfig, ModelTier

from .schemas import ModelInfo, ModelListResponse

__all__ = ["catalogue", "describe", "known", "listed"]


def catalogue(tier: str | None = None) -> ModelListResponse:
    """Return the catalogue, or one tier of it.

    Raises:
        InvalidArgumentError: there is no such tier; the message names all.
    """
    names = [str(one.value) for one in ModelTier]
    if tier is not None and tier not in names:
        raise InvalidArgumentError(
            f"tier {tier!r} is unknown: one of {', '.join(names)}", argument="tier"
        )
    return listed(
        config for config in MODEL_CATALOG.values() if tier is None or config.tier == tier
    )


def listed(configs: Iterable[ModelConfig]) -> ModelListResponse:
    """Return models in the response's shape, sorted by id."""
    models = sorted((describe(config) for config in configs), key=lambda model: model.model_id)
    return ModelListResponse(models=models, total=len(models))


def describe(config: ModelConfig) -> ModelInfo:
    """Return what a caller sees of a model."""
    return ModelInfo(
        model_id=config.model_id,
        tier=str(config.tier),
        capabilities=sorted(str(capability) for capability in config.capabilities),
        input_price_per_1m=config.input_price_per_1m,
        output_price_per_1m=config.output_price_per_1m,
        description=config.description,
    )


def known(model_id: str) -> ModelConfig:
    """Return one model.

    Raises:
        NotFoundError: the catalogue does not have it.
    """
    config = MODEL_CATALOG.get(model_id)
    if config is None:
        raise NotFoundError(f"The model `{model_id}` does not exist.", code="model_not_found")
    return config
