"""Shapes of reports, forecasts, anomalies, pools and exports."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dure.service.usage.schemas import CallOut, Totals

__all__ = [
    "AnomalyList",
    "AnomalyOut",
    "ConversationDetail",
    "DayAhead",
    "ForecastOut",
    "Format",
    "Group",
    "HeatMap",
    "Kind",
    "PoolList",
    "PoolOut",
    "ReportCreate",
    "ReportList",
    "ReportOut",
    "ReportRow",
]

Kind = Literal["weekly", "monthly", "forecast"]
Format = Literal["json", "csv", "html"]
Group = Literal["day", "user", "model", "org"]


class ReportCreate(BaseModel):
    """Which report: of the week or month that a day is in; without a day, of the last whole one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"kind": "monthly", "day": "2026-10-01"}}
    )

    kind: Kind
    day: date | None = None


class ReportRow(BaseModel):
    """A report, without its figures."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str
    start: datetime
    created_by: str
    created_at: datetime


class ReportOut(ReportRow):
    """A report as it was made; it does not change."""

    content: dict[str, Any]


class ReportList(BaseModel):
    """A page of reports, newest window first."""

    reports: list[ReportRow]
    next: str | None


class DayAhead(BaseModel):
    """One day to come: tokens, and between which figures eight in ten days fall."""

    day: date
    tokens: int
    low: int
    high: int


class ForecastOut(BaseModel):
    """What the running month will come to. `method`: `holt-winters`, or `run-rate` while short."""

    zone: str
    method: str
    data_days: int
    month_tokens_so_far: int
    month_tokens: int
    month_tokens_low: int
    month_tokens_high: int
    month_cost_pico: int
    month_cost_usd: str
    pool_tokens: int | None
    pool_reached_on: date | None
    days: list[DayAhead]


class AnomalyOut(BaseModel):
    """Usage that is not like a person's own."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    user_id: str
    start: datetime
    reason: str = Field(description="`hour`: tokens; `day`: spend in pico-dollars.")
    expected: int
    seen: int
    score: float


class AnomalyList(BaseModel):
    """A page of anomalies, newest first."""

    anomalies: list[AnomalyOut]
    next: str | None


class HeatMap(BaseModel):
    """Tokens by weekday (Monday first) and local hour."""

    zone: str
    since: datetime
    tokens: list[list[int]]


class ConversationDetail(BaseModel):
    """What a conversation came to, and a page of its calls, newest first."""

    conversation: str
    totals: Totals
    users: list[str]
    calls: list[CallOut]
    next: str | None


class PoolOut(BaseModel):
    """An organisation's pool and how far it is used up."""

    org_id: str
    max_tokens: int
    policy: str
    policy_label: str
    alerts: list[int]
    used: int | None
    left: int | None
    percent: int | None
    colour: str | None
    resets_at: datetime | None


class PoolList(BaseModel):
    """A page of pools, by organisation."""

    pools: list[PoolOut]
    next: str | None
