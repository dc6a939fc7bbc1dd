"""A browser's login: tokens in cookies that no script reads, and proof that our page asks.

The CSRF token is a seal of the login's family, so it stays the same while tokens rotate. A page of
ours reads it from its cookie and sends it as `x-csrf-token`; a page elsewhere cannot.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Scope

from dure.service.errors import ForbiddenError
from dure.service.kit.frame import header_of
from dure.service.kit.secret import Secret

from .schemas import Tokens

__all__ = ["REFRESH", "SESSION", "check", "clear", "cookies_of", "put", "seal_of", "token_in"]

SESSION, REFRESH, CSRF = "dure_session", "dure_refresh", "dure_csrf"
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
# How each is made; a cookie is only deleted by what made it.
_MADE: dict[str, dict[str, Any]] = {
    SESSION: {"path": "/", "httponly": True, "samesite": "lax"},
    REFRESH: {"path": "/api", "httponly": True, "samesite": "strict"},
    CSRF: {"path": "/", "httponly": False, "samesite": "lax"},
}

Seal = Callable[[str], str]


def seal_of(secret: Secret) -> Seal:
    """Return what makes the CSRF token of a login's family."""
    key = secret.key("csrf")
    return lambda family: hmac.digest(key, family.encode(), "sha256").hex()


def put(response: Response, tokens: Tokens, seal: Seal, *, secure: bool) -> None:
    """Give a browser its login."""
    family = family_of(tokens.refresh_token)
    for name, value, seconds in (
        (SESSION, tokens.access_token, tokens.expires_in),
        (REFRESH, tokens.refresh_token, None),
        (CSRF, seal(family), None),
    ):
        response.set_cookie(name, value, max_age=seconds, secure=secure, **_MADE[name])


def clear(response: Response, *, secure: bool) -> None:
    """Take a browser's login back."""
    for name, made in _MADE.items():
        response.delete_cookie(name, secure=secure, **made)


def family_of(refresh_token: str) -> str:
    """Return the login that a refresh token names."""
    return refresh_token.removeprefix("rt_").partition(".")[0]


def cookies_of(scope: Scope) -> dict[str, str]:
    """Return a request's cookies; what cannot be read counts as none."""
    found: SimpleCookie = SimpleCookie()
    try:
        found.load(header_of(scope, b"cookie") or "")
    except CookieError:
        return {}
    return {name: one.value for name, one in found.items()}


def token_in(scope: Scope) -> str | None:
    """Return the access token of a browser's login."""
    header = header_of(scope, b"cookie")
    if header is None or SESSION not in header:
        return None
    return cookies_of(scope).get(SESSION) or None


def check(scope: Scope, family: str | None, seal: Seal) -> None:
    """Let a browser's request pass if it changes nothing, or a page of ours sends it.

    Raises:
        ForbiddenError: the token is missing or wrong, or the page is elsewhere.
    """
    websocket = scope["type"] == "websocket"
    if not websocket and scope["method"] in _SAFE:
        return
    if not _is_ours(scope):
        raise ForbiddenError("This page is not of this service.", code="foreign_origin")
    if websocket:
        return  # a script cannot set its headers; the origin is what browsers vouch for
    given = header_of(scope, b"x-csrf-token") or ""
    if family is None or not hmac.compare_digest(
        given.encode("utf-8", "replace"), seal(family).encode()
    ):
        raise ForbiddenError(
            "Send the value of the cookie dure_csrf as x-csrf-token.", code="csrf_token_missing"
        )


def _is_ours(scope: Scope) -> bool:
    """Whether a request names no origin, or this host's; a WebSocket must name it."""
    origin = header_of(scope, b"origin")
    if origin is None:
        return bool(scope["type"] != "websocket")
    return urlsplit(origin).netloc == (header_of(scope, b"host") or "")
