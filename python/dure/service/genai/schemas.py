"""Shapes of model selection."""

from __future__ import annotations

from pydantic import BaseModel

from dure.service.models.schemas import ModelInfo

__all__ = ["ServiceModelPolicyResponse"]


class ServiceModelPolicyResponse(BaseModel):
    """What one service may use."""

    service_name: str
    allowed_models: list[ModelInfo]
    default_model: str
