"""Shapes of API keys; the secret is in one answer only, that of its making."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.networks import IPvAnyNetwork

from dure.service.auth.subject import Role
from dure.service.rates import parse_rate

__all__ = ["KeyCreate", "KeyCreated", "KeyList", "KeyOut", "KeyUpdate"]


def _rate(text: str) -> str:
    if parse_rate(text) is None:
        raise ValueError('a rate is written like "60/minute"')
    return text


Scopes = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z-]{1,32}(:[a-z-]{1,32})?$")]],
    Field(max_length=64, description="Empty: all that the role may."),
]
Models = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=255)]],
    Field(max_length=256, description="Empty: all."),
]
Addresses = Annotated[list[IPvAnyNetwork], Field(max_length=64, description="Empty: any.")]
Rate = Annotated[
    Annotated[str, AfterValidator(_rate)] | None, Field(max_length=64, examples=["60/minute"])
]


class KeyCreate(BaseModel):
    """What a new key may do; never more than its maker."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "nightly job", "role": "user"}}
    )

    name: str = Field(min_length=1, max_length=255)
    role: Role = "user"
    service_account: bool = Field(
        default=False, description="A program without a person: it charges key and pool only."
    )
    scopes: Scopes = Field(default_factory=list)
    models: Models = Field(default_factory=list)
    addresses: Addresses = Field(default_factory=list)
    rate: Rate = None
    days: int = Field(default=90, ge=1, le=3650)


class KeyUpdate(BaseModel):
    """What changes of a key; what is not named stays. Its role and its owner never change."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"rate": "60/minute", "days": 30}}
    )

    name: str = Field(default="", min_length=1, max_length=255)
    scopes: Scopes = Field(default_factory=list)
    models: Models = Field(default_factory=list)
    addresses: Addresses = Field(default_factory=list)
    rate: Rate = Field(default=None, description="null: none of its own.")
    days: int = Field(default=90, ge=1, le=3650, description="It ends so many days from now.")


class KeyOut(BaseModel):
    """A key as it can be shown."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    owner_id: str
    service_account: bool
    role: str
    scopes: list[str]
    models: list[str]
    addresses: list[str]
    rate: str | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyCreated(KeyOut):
    """The new key, with its secret: shown this once."""

    key: str


class KeyList(BaseModel):
    """A page of keys, newest first; `next` is the cursor of what follows."""

    keys: list[KeyOut]
    next: str | None
