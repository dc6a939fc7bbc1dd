"""Shapes of limits and approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "LABELS",
    "AlertList",
    "AlertOut",
    "ApprovalList",
    "ApprovalOut",
    "Grant",
    "LimitCreate",
    "LimitIn",
    "LimitList",
    "LimitOut",
    "Policy",
]

Policy = Literal["block", "warn", "approval"]
LABELS: dict[str, str] = {"block": "차단", "warn": "경고", "approval": "관리자 승인"}
_NAMES = {label: name for name, label in LABELS.items()}


def _named(value: object) -> object:
    return _NAMES.get(value, value) if isinstance(value, str) else value


def _rising(percents: list[int]) -> list[int]:
    return sorted(set(percents))


class LimitIn(BaseModel):
    """A monthly maximum of tokens, and what happens beyond it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"max_tokens": 1_000_000, "policy": "차단"}}
    )

    max_tokens: int = Field(ge=1, le=2**53)
    policy: Annotated[Policy, BeforeValidator(_named)] = Field(
        default="block", description="block (차단), warn (경고) or approval (관리자 승인)."
    )
    alerts: Annotated[list[Annotated[int, Field(ge=1, le=255)]], AfterValidator(_rising)] = Field(
        default_factory=lambda: [80, 90, 100], max_length=16
    )


class LimitCreate(LimitIn):
    """A limit of one person."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"user_id": "usr_...", "max_tokens": 1_000_000}},
    )

    user_id: str = Field(min_length=1, max_length=64)


class LimitOut(BaseModel):
    """A limit and how far it is used up; `user_id` `*` is everybody's default."""

    user_id: str | None
    max_tokens: int
    policy: str
    policy_label: str
    alerts: list[int]
    used: int | None
    held: int | None
    granted: int | None
    left: int | None
    percent: int | None
    colour: Literal["green", "yellow", "red"] | None
    resets_at: datetime | None


class LimitList(BaseModel):
    """The pool, the default, and a page of people with limits of their own, by id."""

    pool: LimitOut | None
    default: LimitOut | None
    users: list[LimitOut]
    next: str | None


class AlertOut(BaseModel):
    """A threshold that was crossed."""

    id: str
    scope: str
    percent: int
    maximum: int
    at: datetime


class AlertList(BaseModel):
    """A page of alerts, newest first."""

    alerts: list[AlertOut]
    next: str | None


class ApprovalOut(BaseModel):
    """A request beyond a limit, and what was decided."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    user_id: str
    scope: str
    state: str
    amount: int | None
    until: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime
    expires_at: datetime


class ApprovalList(BaseModel):
    """A page of approvals, newest first."""

    approvals: list[ApprovalOut]
    next: str | None


class Grant(BaseModel):
    """So many more tokens, until a moment (at most the end of the month)."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"amount": 50_000}})

    amount: int = Field(ge=1, le=2**53)
    until: datetime | None = None
