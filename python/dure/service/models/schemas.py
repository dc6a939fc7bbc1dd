"""Shapes of the model lists."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["ModelInfo", "ModelListResponse", "OpenAIModel", "OpenAIModelList"]


class ModelInfo(BaseModel):
    """One model; prices in dollars per million tokens, for display only."""

    model_id: str
    tier: str
    capabilities: list[str]
    input_price_per_1m: float
    output_price_per_1m: float
    description: str


class ModelListResponse(BaseModel):
    """Models and how many they are."""

    models: list[ModelInfo]
    total: int


class OpenAIModel(BaseModel):
    """One model as OpenAI lists it."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "dure"


class OpenAIModelList(BaseModel):
    """Models as OpenAI lists them."""

    object: str = "list"
    data: list[OpenAIModel]
