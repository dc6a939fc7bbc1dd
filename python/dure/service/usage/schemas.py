"""Shapes of usage: tokens as whole numbers, money as decimal text and whole pico-dollars."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

__all__ = [
    "CallList",
    "CallOut",
    "ConversationTotals",
    "ModelTotals",
    "Point",
    "Statistics",
    "Step",
    "Totals",
    "UserDetail",
    "UserTotals",
    "UserUsageList",
    "Windows",
]

Step = Literal["day", "week", "month"]


class Totals(BaseModel):
    """What calls came to."""

    calls: int
    input_tokens: int
    output_tokens: int
    tokens: int
    cost_pico: int
    cost_usd: str


class Point(Totals):
    """One day, week or month, by its first local instant."""

    start: datetime


class ModelTotals(Totals):
    """One model, and its share of all tokens, 0 to 1."""

    model: str
    share: float


class UserTotals(Totals):
    """One person; `user_id` empty: programs without one."""

    user_id: str
    email: str | None
    name: str | None


class ConversationTotals(Totals):
    """One conversation, as `x-dure-conversation` named it."""

    conversation: str
    last_at: datetime


class Windows(BaseModel):
    """The running local day, ISO week and month."""

    day: Totals
    week: Totals
    month: Totals


class Statistics(BaseModel):
    """An organisation's usage; of all organisations `org` is `*`."""

    org: str
    zone: str
    since: datetime
    windows: Windows
    series: list[Point]
    models: list[ModelTotals]
    top_users: list[UserTotals]


class UserUsageList(BaseModel):
    """A page of people with what they used, by id."""

    users: list[UserTotals]
    next: str | None


class UserDetail(BaseModel):
    """One person's usage."""

    user: UserTotals
    zone: str
    since: datetime
    windows: Windows
    series: list[Point]
    models: list[ModelTotals]
    conversations: list[ConversationTotals]


class CallOut(BaseModel):
    """One attempt at a provider."""

    at: datetime
    call_id: str
    attempt: int
    type: str
    model: str
    service: str
    input_tokens: int
    output_tokens: int
    cost_pico: int
    cost_usd: str
    price_version: str
    flags: list[str]


class CallList(BaseModel):
    """A page of calls, newest first."""

    calls: list[CallOut]
    next: str | None
