"""Shapes of logs of contents."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

__all__ = ["ContentDetail", "ContentList", "ContentOut", "Removed"]


class ContentOut(BaseModel):
    """A request to a model: who, what for, how long. Its texts are read one by one."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    at: datetime
    user_id: str
    api_key_id: str
    request_id: str
    path: str
    model: str
    status: int
    milliseconds: int
    input_bytes: int
    output_bytes: int


class ContentDetail(ContentOut):
    """The same with its texts; None: they were not kept. At most 64 KiB of each are."""

    input: str | None
    output: str | None


class ContentList(BaseModel):
    """A page, newest first."""

    contents: list[ContentOut]
    next: str | None


class Removed(BaseModel):
    """How many were removed."""

    removed: int
