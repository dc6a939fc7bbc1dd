"""Logging in: `/api/auth/...`."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from .policy import PolicyRoute, public, requires
from .repository import IdentityRepository
from .schemas import FirstStartRequest, LoginRequest, Me, RefreshRequest, Tokens
from .service import Logins
from .subject import Who

router = APIRouter(prefix="/api/v1/auth", tags=["auth"], route_class=PolicyRoute)


def logins_of(request: Request) -> Logins:
    """Return the app's logins."""
    return cast("Logins", request.app.state.logins)


@router.post("/first-start", status_code=201)
@public
async def begin(asked: FirstStartRequest, request: Request) -> Tokens:
    """Make the first administrator with the token that `dure serve` wrote into a file."""
    address = request.scope["state"]["address"]
    return await logins_of(request).first_start(
        asked.token, asked.email, asked.password, asked.name, address
    )


@router.post("/login")
@public
async def login(asked: LoginRequest, request: Request) -> Tokens:
    """Log in with e-mail address and password."""
    address = request.scope["state"]["address"]
    return await logins_of(request).login(asked.email, asked.password, asked.org, address)


@router.post("/refresh")
@public
async def refresh(asked: RefreshRequest, request: Request) -> Tokens:
    """Return the next pair of tokens; each refresh token is good once."""
    return await logins_of(request).refresh(asked.refresh_token)


@router.post("/logout", status_code=204)
@requires(owner="self")
async def logout(who: Who, request: Request) -> Response:
    """End the login that the access token belongs to."""
    await logins_of(request).logout(who)
    return Response(status_code=204)


@router.get("/me")
@requires(owner="self")
async def me(who: Who, work: ReadWork, request: Request) -> Me:
    """Say who the caller is."""
    user = None if who.user_id is None else await IdentityRepository(work).user(who.user_id)
    return Me(
        org_id=who.org_id,
        user_id=who.user_id,
        key_id=who.key_id,
        email=None if user is None else user.email,
        name=None if user is None else user.name,
        role=who.role,
        scopes=sorted(who.scopes),
        operator=who.operator,
        now=state_of(request).clock.now(),
    )
