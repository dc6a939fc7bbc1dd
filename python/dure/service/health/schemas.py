"""Shapes of health."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["Health", "Readiness"]


class Health(BaseModel):
    """That the service answers; no internals."""

    status: str
    version: str
    auth: str


class Readiness(BaseModel):
    """What the service needs to work: `ok`, or what is wrong with it."""

    status: str
    database: str
    ledger: str
