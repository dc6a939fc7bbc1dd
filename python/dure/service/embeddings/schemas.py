"""Shapes of the short embedding form."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EmbedRequest", "EmbedResponse"]


class EmbedRequest(BaseModel):
    """`{texts}`; optional the model."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"texts": ["Say hello."]}}
    )

    texts: list[str] = Field(min_length=1, max_length=2048)
    model: str | None = None


class EmbedResponse(BaseModel):
    """One vector per text, in order."""

    embeddings: list[list[float]]
