"""Shapes of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["AuditList", "AuditRow", "AuditVerified"]


class AuditRow(BaseModel):
    """What was done."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]


class AuditList(BaseModel):
    """A page, newest first."""

    rows: list[AuditRow]
    next: str | None


class AuditVerified(BaseModel):
    """What a check of the chain found."""

    model_config = ConfigDict(from_attributes=True)

    ok: bool
    rows: int
    head: str
    first_difference: int | None
