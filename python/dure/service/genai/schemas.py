"""Shapes of model selection and of the gen-AI services."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from dure.service.models.schemas import ModelInfo

__all__ = [
    "ChatAnswer",
    "ChatRequest",
    "CompareRequest",
    "Comparison",
    "NarrativeReport",
    "NarrativeReportRequest",
    "ServiceModelPolicyResponse",
    "Strategy",
    "StrategyBuilderRequest",
    "Usage",
]

_MODEL = "A model that the service may use; absent: the service's default."
_Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class ServiceModelPolicyResponse(BaseModel):
    """What one service may use."""

    service_name: str
    allowed_models: list[ModelInfo]
    default_model: str


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_id: str | None = Field(default=None, description=_MODEL)
    max_tokens: int | None = Field(default=None, ge=1, description="The longest answer.")


class StrategyBuilderRequest(_Request):
    """A goal, and what is known about it."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"goal": "Win back customers who left last year."}}
    )

    goal: _Text
    context: str = Field(default="", max_length=100_000)
    constraints: list[_Text] = Field(default_factory=list, max_length=50)


class NarrativeReportRequest(_Request):
    """Figures, to be told as a text."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"title": "October", "data": {"sales": [120, 140], "returns": 3}}
        }
    )

    title: _Text
    data: dict[str, Any] | list[Any] | str
    audience: str = Field(default="", max_length=1000)


class ChatRequest(_Request):
    """A conversation."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"messages": [{"role": "user", "content": "Say hello."}]}}
    )

    messages: list[dict[str, Any]] = Field(min_length=1)


class CompareRequest(_Request):
    """Strategies to be weighed against each other."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"strategies": ["Lower the price.", "Deliver faster."]}}
    )

    strategies: list[_Text] = Field(min_length=2, max_length=20)
    question: str = Field(default="", max_length=10_000)


class Usage(BaseModel):
    """What the answer came to."""

    input_tokens: int
    output_tokens: int
    cost_pico: int
    cost_usd: str


class _Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    usage: Usage


class Strategy(_Answer):
    """A strategy."""

    strategy: str


class NarrativeReport(_Answer):
    """A report."""

    report: str


class ChatAnswer(_Answer):
    """An answer."""

    response: str


class Comparison(_Answer):
    """A comparison."""

    comparison: str
