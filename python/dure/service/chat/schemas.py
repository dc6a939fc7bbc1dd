"""Shapes of the short chat form; the OpenAI-shaped body is passed on as it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ChatRequest", "ChatResponse"]


class ChatRequest(BaseModel):
    """`{messages, max_tokens}`, and what the seed lacks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 64}
        },
    )

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    model: str | None = None
    system: str | None = None
    history: list[dict[str, Any]] = Field(default_factory=list)


class ChatResponse(BaseModel):
    """The whole answer."""

    response: str
