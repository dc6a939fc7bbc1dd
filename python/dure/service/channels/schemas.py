"""Shapes of channels, rules and deliveries; what is secret goes in and never comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = [
    "EVENTS",
    "ChannelCreate",
    "ChannelList",
    "ChannelOut",
    "ChannelUpdate",
    "DeliveryList",
    "DeliveryOut",
    "Event",
    "RuleCreate",
    "RuleList",
    "RuleOut",
    "RuleUpdate",
    "Target",
    "Tested",
    "plain",
]

Event = Literal[
    "usage.alert",
    "usage.anomaly",
    "usage.forecast",
    "usage.report.weekly",
    "usage.report.monthly",
    "approval.requested",
    "execution.ended",
]
EVENTS: tuple[str, ...] = get_args(Event)
_FORBID = ConfigDict(extra="forbid")
_Address = Annotated[str, Field(pattern=r"^[^@\s<>,;]{1,64}@[^@\s<>,;]{1,190}$")]
_Url = Annotated[SecretStr, Field(min_length=8, max_length=2000)]


class Email(BaseModel):
    """Mail, by the server that the installation names (`DURE_SMTP_URL`)."""

    model_config = _FORBID

    kind: Literal["email"]
    to: list[_Address] = Field(min_length=1, max_length=50)


class Webhook(BaseModel):
    """A signed POST; without `secret` one is made and shown in this answer only."""

    model_config = _FORBID

    kind: Literal["webhook"]
    url: _Url
    secret: SecretStr | None = Field(default=None, min_length=24, max_length=256)


class Discord(BaseModel):
    """A webhook of Discord's."""

    model_config = _FORBID

    kind: Literal["discord"]
    url: _Url


class Apprise(BaseModel):
    """A service that Apprise knows, for example `slack://...`; needs the extra `notify`."""

    model_config = _FORBID

    kind: Literal["apprise"]
    url: _Url


Target = Annotated[Email | Webhook | Discord | Apprise, Field(discriminator="kind")]


class ChannelCreate(BaseModel):
    """A channel."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"name": "ops", "target": {"kind": "email", "to": ["ops@example.com"]}}
        },
    )

    name: str = Field(min_length=1, max_length=255)
    target: Target


class ChannelUpdate(BaseModel):
    """What changes; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"enabled": False}})

    name: str | None = Field(default=None, min_length=1, max_length=255)
    enabled: bool | None = None
    target: Target | None = None


class ChannelOut(BaseModel):
    """A channel; `target` shows where it leads and no secret."""

    id: str
    name: str
    kind: str
    target: str
    enabled: bool
    created_at: datetime
    secret: str | None = Field(default=None, description="Of a new webhook, this once.")


class ChannelList(BaseModel):
    """A page of channels, by id."""

    channels: list[ChannelOut]
    next: str | None


class RuleCreate(BaseModel):
    """What is told where; `percent`: alerts from this threshold on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"event": "usage.alert", "channel_id": "chn_..."}},
    )

    event: Event
    channel_id: str = Field(min_length=1, max_length=64)
    percent: int = Field(default=0, ge=0, le=255)


class RuleUpdate(BaseModel):
    """What changes; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"percent": 100}})

    percent: int | None = Field(default=None, ge=0, le=255)
    enabled: bool | None = None


class RuleOut(BaseModel):
    """A rule."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    event: str
    channel_id: str
    percent: int
    enabled: bool
    created_at: datetime


class RuleList(BaseModel):
    """A page of rules, by id."""

    rules: list[RuleOut]
    next: str | None


class DeliveryOut(BaseModel):
    """One message to one channel: pending, sent or failed."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    channel_id: str
    event: str
    title: str
    state: str
    attempts: int
    error: str | None
    created_at: datetime
    next_at: datetime
    sent_at: datetime | None


class DeliveryList(BaseModel):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryOut]
    next: str | None


class Tested(BaseModel):
    """What a test message met; `error` None: it arrived."""

    ok: bool
    error: str | None


def plain(target: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the four
    """Return a target with its secrets, to be sealed."""
    found: dict[str, Any] = {}
    for name, value in target:
        found[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return found
