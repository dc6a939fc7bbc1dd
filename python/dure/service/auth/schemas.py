"""Shapes of logging in."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FirstStartRequest", "LoginRequest", "Me", "RefreshRequest", "Tokens"]


class LoginRequest(BaseModel):
    """Who logs in, into which tenant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"email": "kim@example.com", "password": "correct horse 12"}},
    )

    email: str = Field(min_length=3, max_length=255, description="As given when it was set up.")
    password: str = Field(min_length=1, max_length=256, repr=False)
    org: str | None = Field(default=None, description="A tenant; else the first one joined.")


class FirstStartRequest(BaseModel):
    """Makes the first administrator; the token lies in the file that `dure serve` names."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "token": "the file's content",
                "email": "kim@example.com",
                "password": "correct horse 12",
            }
        },
    )

    token: str = Field(min_length=1, max_length=256, repr=False)
    email: str = Field(pattern=r"^[^@\s]{1,64}@[^@\s]{1,190}$")
    password: str = Field(min_length=12, max_length=256, repr=False)
    name: str = Field(default="", max_length=255)


class RefreshRequest(BaseModel):
    """A refresh token, for a new pair."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"refresh_token": "rt_..."}}
    )

    refresh_token: str = Field(min_length=1, max_length=512, repr=False)


class Tokens(BaseModel):
    """A short access token, and the one to get the next pair with."""

    access_token: str
    token_type: str = "Bearer"
    expires_in: int
    refresh_token: str


class Me(BaseModel):
    """Who the service takes the caller for."""

    org_id: str
    user_id: str | None
    key_id: str | None
    email: str | None
    name: str | None
    role: str
    scopes: list[str]
    operator: bool
    now: datetime
