"""Shapes of the short chat form; the OpenAI-shaped body is passed on as it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ChatRequest", "ChatResponse"]


class ChatRequest(BaseModel):
    """A conversation; everything but `messages` is optional."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 64}
        },
    )

    messages: list[dict[str, Any]] = Field(
        min_length=1, description="As OpenAI's API takes them: a list of `{role, content}`."
    )
    max_tokens: int | None = Field(default=None, ge=1, description="The longest answer.")
    model: str | None = Field(
        default=None, description="Any model of `/api/models`; else the setting `DURE_CHAT_MODEL`."
    )
    system: str | None = Field(default=None, description="A system message, put first.")
    history: list[dict[str, Any]] = Field(
        default_factory=list, description="Earlier messages, put before `messages`."
    )


class ChatResponse(BaseModel):
    """The whole answer."""

    response: str
