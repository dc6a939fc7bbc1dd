"""Logging in at an issuer's own page: code flow with PKCE, state and nonce.

What a login needs until the browser comes back stands in one sealed cookie; verifier and nonce are
derived from its state, so they are kept nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from dure.aio import HttpClient
from dure.errors import DureError, InvalidArgumentError
from dure.service.errors import NotAuthenticatedError
from dure.service.kit.clock import microseconds
from dure.service.kit.state import State
from dure.service.settings import Issuer

from . import jws
from .identities import Identities, rules_of
from .schemas import Tokens
from .service import Logins

__all__ = ["STATE_COOKIE", "BrowserLogins", "Landed"]

STATE_COOKIE = "dure_login"
LOGIN_MINUTES = 10
_MOST_BYTES = 64 * 1024
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_HALF_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Landed:
    """Who came back from their issuer, and where they wanted to go."""

    tokens: Tokens
    next: str


class BrowserLogins:
    """Sends people to their issuer and takes them in when they come back. Task-safe."""

    def __init__(
        self, state: State, http: HttpClient, identities: Identities, logins: Logins
    ) -> None:
        self._state, self._http = state, http
        self._identities, self._logins = identities, logins
        self._key = state.secret.key("oidc-login")

    async def begin(self, name: str, wanted: str, base: str) -> tuple[str, str]:
        """Return where the browser goes, and the cookie it brings back.

        Raises:
            NotFoundError: there is no such issuer.
            InvalidArgumentError: `wanted` is no path of this service.
            UnavailableError: the issuer does not answer.
        """
        issuer, keys = self._identities.issuer(name)
        if not _is_own_path(wanted):
            raise InvalidArgumentError("next is a path of this service: /...", argument="next")
        endpoints = await keys.endpoints()
        state = secrets.token_urlsafe(24)
        challenge = _b64(hashlib.sha256(self._derived("verifier", state).encode()).digest())
        query = {
            "response_type": "code",
            "client_id": issuer.client_id,
            "redirect_uri": _callback(base, name),
            "scope": issuer.scopes,
            "state": state,
            "nonce": self._derived("nonce", state),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        made = microseconds(self._state.clock.now())
        cookie = self._sealed({"s": state, "i": name, "n": wanted, "t": made})
        return _with_query(endpoints["authorization_endpoint"], query), cookie

    async def finish(
        self, name: str, given: Mapping[str, str], cookie: str | None, base: str
    ) -> Landed:
        """Exchange the code that the browser brings; return the login.

        Raises:
            NotFoundError: there is no such issuer.
            NotAuthenticatedError: the browser is not the one that was sent, or the issuer refused.
            ForbiddenError: the issuer gives them no role here.
            UnavailableError: the issuer does not answer.
        """
        issuer, _ = self._identities.issuer(name)
        begun = self._opened(cookie, name)
        if not hmac.compare_digest(given.get("state", "").encode(), begun["s"].encode()):
            raise _refused()
        if given.get("iss", issuer.issuer) != issuer.issuer or not given.get("code"):
            raise _refused()
        answer = await self._exchange(issuer, given["code"], begun["s"], _callback(base, name))
        own = await self._id_claims(issuer, answer, begun["s"])
        subject = await self._identities.known(issuer, await self._claims(issuer, answer, own))
        assert subject.user_id is not None  # issuers vouch for people
        session = own.get("sid")
        tokens = await self._logins.vouched(
            subject.user_id,
            subject.org_id,
            issuer.issuer,
            session if isinstance(session, str) else None,
        )
        return Landed(tokens, begun["n"])

    async def leave(self, name: str, base: str) -> str:
        """Return where a browser ends its session at the issuer, which asks whether it is meant."""
        issuer, keys = self._identities.issuer(name)
        endpoint = (await keys.endpoints()).get("end_session_endpoint")
        if endpoint is None:
            return "/"
        query = {"client_id": issuer.client_id, "post_logout_redirect_uri": f"{base}/"}
        return _with_query(endpoint, query)

    async def back_channel(self, name: str, token: str) -> None:
        """End the logins that an issuer says are over.

        Raises:
            NotFoundError: there is no such issuer.
            NotAuthenticatedError: the token is no good logout token.
        """
        issuer, _ = self._identities.issuer(name)
        rules = jws.Rules(
            issuer.issuer,
            issuer.algorithm,
            issuer.client_id,
            types=frozenset(("logout+jwt", "jwt")),
        )
        claims = await self._identities.claims_of(name, token, rules)
        events = claims.get("events")
        session = claims.get("sid")
        if not isinstance(events, dict) or _LOGOUT_EVENT not in events or "nonce" in claims:
            raise _refused()
        if session is not None and not isinstance(session, str):
            raise _refused()
        await self._logins.ended_elsewhere(issuer.issuer, claims["sub"], session)

    async def _exchange(
        self, issuer: Issuer, code: str, state: str, redirect: str
    ) -> dict[str, Any]:
        """Return what the issuer gives for a code, which it does once."""
        assert issuer.client_id is not None
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": issuer.client_id,
            "code_verifier": self._derived("verifier", state),
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        if issuer.client_secret is not None:
            pair = f"{quote(issuer.client_id)}:{quote(issuer.client_secret.get_secret_value())}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        url = (await self._identities.issuer(issuer.name)[1].endpoints())["token_endpoint"]
        reply = await self._http.request(
            "POST", url, headers=headers, body=urlencode(form).encode(), timeout=10.0
        )
        if reply.status != 200 or len(reply.content) > _MOST_BYTES:
            raise _refused()
        try:
            found = json.loads(reply.content)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("id_token"), str):
            raise _refused()
        return found

    async def _id_claims(
        self, issuer: Issuer, answer: dict[str, Any], state: str
    ) -> dict[str, Any]:
        """Return who logged in: for our client, in this login, with this access token."""
        rules = jws.Rules(
            issuer.issuer,
            issuer.algorithm,
            issuer.client_id,
            authorized_party=issuer.client_id,
            types=frozenset(("jwt",)),
        )
        claims = await self._identities.claims_of(issuer.name, answer["id_token"], rules)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), self._derived("nonce", state).encode()
        ):
            raise _refused()
        if len(_audiences(claims)) > 1 and claims.get("azp") != issuer.client_id:
            raise _refused()
        named, access = claims.get("at_hash"), answer.get("access_token")
        if named is not None and isinstance(access, str):
            digest = _HALF_HASHES.get(issuer.algorithm[-3:], hashlib.sha512)(
                access.encode()
            ).digest()
            if named != _b64(digest[: len(digest) // 2]):
                raise _refused()
        return claims

    async def _claims(
        self, issuer: Issuer, answer: dict[str, Any], own: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what says which roles they have: the access token, where it can be read."""
        access = answer.get("access_token")
        if not isinstance(access, str) or access.count(".") != 2:
            return own
        claims = await self._identities.claims_of(issuer.name, access, rules_of(issuer))
        if claims["sub"] != own["sub"]:
            raise _refused()
        return claims

    def _derived(self, purpose: str, state: str) -> str:
        return _b64(hmac.digest(self._key, f"{purpose}:{state}".encode(), "sha256"))

    def _sealed(self, content: Mapping[str, object]) -> str:
        text = _b64(json.dumps(content, separators=(",", ":")).encode())
        return f"{text}.{_b64(hmac.digest(self._key, f'cookie:{text}'.encode(), 'sha256'))}"

    def _opened(self, cookie: str | None, name: str) -> dict[str, Any]:
        """Return what the cookie holds, if we made it for this issuer a moment ago."""
        text, _, seal = (cookie or "").partition(".")
        good = _b64(hmac.digest(self._key, f"cookie:{text}".encode(), "sha256"))
        if not hmac.compare_digest(seal.encode("utf-8", "replace"), good.encode()):
            raise _refused()
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        age = microseconds(self._state.clock.now()) - found["t"]
        if (
            found["i"] != name
            or not 0 <= age <= timedelta(minutes=LOGIN_MINUTES).total_seconds() * 1e6
        ):
            raise _refused()
        return found


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _callback(base: str, name: str) -> str:
    return f"{base}/api/auth/oidc/{name}/callback"


def _with_query(url: str, query: Mapping[str, str | None]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _audiences(claims: Mapping[str, Any]) -> list[Any]:
    found = claims.get("aud")
    return found if isinstance(found, list) else [found]


def _is_own_path(path: str) -> bool:
    """Whether a browser that follows it stays here: one with two slashes leaves."""
    plain = path.isascii() and path.isprintable() and len(path) <= 1024
    return plain and path.startswith("/") and path[1:2] not in {"/", "\\"}


def _refused() -> DureError:
    return NotAuthenticatedError("This login is not valid: begin it anew.", code="login_refused")
