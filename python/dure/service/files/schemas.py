"""Shapes of files."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FileBegin", "FileList", "FileOut"]


class FileBegin(BaseModel):
    """A file whose bytes follow piece by piece."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "notes.md", "size": 12}},
    )

    name: str = Field(min_length=1, max_length=255, description="With its extension.")
    size: int = Field(ge=1, le=2**40, description="Bytes in all.")
    media_type: str = Field(default="application/octet-stream", max_length=255)
    sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="Of all bytes; checked at the end."
    )


class FileOut(BaseModel):
    """A file: `received` of `size` bytes are here; `ready` once they are all and sound."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    owner_id: str
    name: str
    media_type: str
    kind: str
    size: int
    received: int
    sha256: str | None
    state: str
    reason: str | None
    created_at: datetime


class FileList(BaseModel):
    """A page of files, newest first; `next` is the cursor of what follows."""

    files: list[FileOut]
    next: str | None
