"""Logging in: `/api/auth/...`."""

from __future__ import annotations

from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dure.service.errors import NotAuthenticatedError
from dure.service.kit.frame import header_of
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from . import sessions
from .identities import Identities
from .oidc import LOGIN_MINUTES, STATE_COOKIE, BrowserLogins
from .policy import PolicyRoute, public, requires
from .repository import IdentityRepository
from .schemas import FirstStartRequest, LoginRequest, Me, RefreshRequest, Tokens
from .service import Logins
from .subject import Who

IssuerName = Annotated[str, Path(max_length=32, description="A name of `DURE_ISSUERS`.")]
Next = Annotated[str, Query(max_length=1024, description="Where to go then; a path of ours.")]
LogoutToken = Annotated[str, Form(max_length=8192)]
_BROWSER: dict[int | str, dict[str, Any]] = {
    401: {"description": "The login is not valid."},
    404: {"description": "There is no such issuer."},
    502: {"description": "The issuer does not answer."},
}
router = APIRouter(prefix="/api/v1/auth", tags=["auth"], route_class=PolicyRoute)


def logins_of(request: Request) -> Logins:
    """Return the app's logins."""
    return cast("Logins", request.app.state.logins)


def identities_of(request: Request) -> Identities:
    """Return the app's identities."""
    return cast("Identities", request.app.state.identities)


def browser_logins_of(request: Request) -> BrowserLogins:
    """Return the app's logins at issuers."""
    return cast("BrowserLogins", request.app.state.browser_logins)


def _base(request: Request) -> str:
    """Return where browsers find the service: as it is set, else as they asked."""
    named = state_of(request).settings.public_url
    if named is not None:
        return named.rstrip("/")
    host = header_of(request.scope, b"host") or "localhost"
    return f"{request.scope['scheme']}://{host}"


def _is_secure(request: Request) -> bool:
    return urlsplit(_base(request)).scheme == "https"


def _state_cookie(request: Request) -> dict[str, Any]:
    """Return how the cookie of a login under way is made, and deleted."""
    return {
        "path": "/api",
        "httponly": True,
        "samesite": "lax",
        "secure": _is_secure(request),
    }


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
    """End the login that the access token belongs to; a browser's cookies are taken back."""
    await logins_of(request).logout(who)
    response = Response(status_code=204)
    sessions.clear(response, secure=_is_secure(request))
    return response


@router.post("/session/refresh", responses={401: {"description": "There is no good login."}})
@public
async def refresh_session(request: Request) -> Response:
    """Give a browser its next tokens, as cookies; needs `x-csrf-token` as every change does."""
    token = sessions.cookies_of(request.scope).get(sessions.REFRESH)
    if token is None:
        raise NotAuthenticatedError("There is no login to refresh: log in.", code="invalid_token")
    seal = identities_of(request).seal
    sessions.check(request.scope, sessions.family_of(token), seal)
    tokens = await logins_of(request).refresh(token)
    response = JSONResponse({"expires_in": tokens.expires_in})
    sessions.put(response, tokens, seal, secure=_is_secure(request))
    return response


@router.get("/oidc/{issuer}/login", status_code=302, response_class=Response, responses=_BROWSER)
@public
async def oidc_login(issuer: IssuerName, request: Request, next: Next = "/docs") -> Response:
    """Send a browser to the issuer's page; it comes back to `callback`, then goes to `next`."""
    url, cookie = await browser_logins_of(request).begin(issuer, next, _base(request))
    response = RedirectResponse(url, 302)
    seconds = LOGIN_MINUTES * 60
    response.set_cookie(STATE_COOKIE, cookie, max_age=seconds, **_state_cookie(request))
    return response


@router.get("/oidc/{issuer}/callback", status_code=302, response_class=Response, responses=_BROWSER)
@public
async def oidc_callback(issuer: IssuerName, request: Request) -> Response:
    """Take in who comes back from the issuer: the login is in cookies that no script reads."""
    cookie = sessions.cookies_of(request.scope).get(STATE_COOKIE)
    given = dict(request.query_params)
    landed = await browser_logins_of(request).finish(issuer, given, cookie, _base(request))
    response = RedirectResponse(landed.next, 302)
    response.delete_cookie(STATE_COOKIE, **_state_cookie(request))
    sessions.put(response, landed.tokens, identities_of(request).seal, secure=_is_secure(request))
    return response


@router.get("/oidc/{issuer}/logout", status_code=302, response_class=Response, responses=_BROWSER)
@public
async def oidc_logout(issuer: IssuerName, request: Request) -> Response:
    """Send a browser to the issuer's own logout, which asks; ours is `POST /api/auth/logout`."""
    return RedirectResponse(await browser_logins_of(request).leave(issuer, _base(request)), 302)


@router.post("/oidc/{issuer}/backchannel-logout", response_class=Response, responses=_BROWSER)
@public
async def oidc_backchannel_logout(
    issuer: IssuerName, logout_token: LogoutToken, request: Request
) -> Response:
    """End the logins that the issuer's signed logout token names."""
    await browser_logins_of(request).back_channel(issuer, logout_token)
    return Response(status_code=200, headers={"cache-control": "no-store"})


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
