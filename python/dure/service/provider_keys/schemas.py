"""Shapes of provider keys: the secret goes in and never comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["ProviderKeyCreate", "ProviderKeyList", "ProviderKeyOut", "ProviderKeyUpdate"]

Provider = Literal["openai"]


class ProviderKeyCreate(BaseModel):
    """A secret that this installation sends to a provider."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "2026-11", "key": "sk-..."}}
    )

    name: str = Field(min_length=1, max_length=255)
    provider: Provider = "openai"
    key: SecretStr = Field(min_length=8, max_length=512)


class ProviderKeyUpdate(BaseModel):
    """What changes; `draining`: no new call uses it, those under way end with it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"state": "draining"}})

    name: str | None = Field(default=None, min_length=1, max_length=255)
    state: Literal["active", "draining"] | None = None


class ProviderKeyOut(BaseModel):
    """A provider key as it can be shown."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    provider: str
    name: str
    tail: str = Field(description="Its last four characters.")
    state: str
    created_at: datetime
    changed_at: datetime


class ProviderKeyList(BaseModel):
    """A page of provider keys, by id."""

    keys: list[ProviderKeyOut]
    next: str | None
