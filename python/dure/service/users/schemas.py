"""Shapes of people and tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dure.service.auth.subject import Role

__all__ = [
    "Membership",
    "OrgCreate",
    "OrgList",
    "OrgOut",
    "OrgUpdate",
    "PasswordReset",
    "UserCreate",
    "UserList",
    "UserOut",
    "UserUpdate",
]


class UserCreate(BaseModel):
    """A person who logs in here; those of an issuer come by themselves."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"email": "lee@example.com", "password": "a long passphrase", "role": "user"}
        },
    )

    email: str = Field(pattern=r"^[^@\s]{1,64}@[^@\s]{1,190}$")
    password: str = Field(min_length=12, max_length=256, repr=False)
    name: str = Field(default="", max_length=255)
    role: Role = "user"


class UserUpdate(BaseModel):
    """What changes; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "viewer"}})

    role: Role | None = None
    disabled: bool | None = None
    name: str | None = Field(default=None, min_length=1, max_length=255)


class UserOut(BaseModel):
    """A person in the tenant."""

    id: str
    email: str | None
    name: str
    role: str
    operator: bool
    disabled: bool
    created_at: datetime


class UserList(BaseModel):
    """A page of people, by id."""

    users: list[UserOut]
    next: str | None


class OrgCreate(BaseModel):
    """A new tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"id": "acme", "name": "Acme", "zone": "Asia/Seoul"}},
    )

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")
    name: str = Field(min_length=1, max_length=255)
    zone: str = Field(default="UTC", max_length=64)


class OrgUpdate(BaseModel):
    """What changes; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"zone": "Asia/Seoul"}})

    name: str | None = Field(default=None, min_length=1, max_length=255)
    zone: str | None = Field(default=None, max_length=64)
    log_content: Literal["off", "metadata", "full"] | None = None


class OrgOut(BaseModel):
    """A tenant."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    zone: str
    log_content: str
    created_at: datetime


class OrgList(BaseModel):
    """A page of tenants, by id."""

    orgs: list[OrgOut]
    next: str | None


class Membership(BaseModel):
    """A person's role in an organisation."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "user"}})

    role: Role


class PasswordReset(BaseModel):
    """A new password."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"password": "a long passphrase"}}
    )

    password: str = Field(min_length=12, max_length=256, repr=False)
