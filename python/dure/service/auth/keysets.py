"""Public keys of issuers: fetched once for all who wait, kept while they are good, bounded."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dure.aio import HttpClient
from dure.errors import DureError, UnavailableError
from dure.service.errors import NotAuthenticatedError
from dure.service.settings import Issuer

__all__ = ["KeySet"]

_FAMILY = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384"}
_SHORTEST_LIFE, _LONGEST_LIFE = 60.0, 3600.0
_LOOK_AGAIN = 10.0  # seconds between two fetches for unknown names
_MOST_BYTES, _MOST_KEYS = 256 * 1024, 64
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "end_session_endpoint")
_MAX_AGE = re.compile(r"max-age=(\d{1,9})")


@dataclass(slots=True)
class _Kept:
    keys: dict[str, Any] = field(default_factory=dict)
    unnamed: list[Any] = field(default_factory=list)
    good_until: float = 0.0
    fetched_at: float = float("-inf")


class KeySet:
    """The keys of one issuer. Task-safe within one event loop.

    While the issuer is down the last known keys stay; a name that is not among them makes it ask
    again, once in ten seconds at most.
    """

    def __init__(self, issuer: Issuer, http: HttpClient, monotonic: Callable[[], float]) -> None:
        self._issuer, self._http, self._monotonic = issuer, http, monotonic
        self._kept = _Kept()
        self._lock = asyncio.Lock()
        self._url = issuer.jwks_url
        self._fixed = _fixed_key(issuer)
        self._endpoints: Mapping[str, str] = {}
        self._endpoints_until = float("-inf")

    async def prepare(self, kid: str | None) -> None:
        """Have the keys at hand for a token that names `kid`.

        Raises:
            UnavailableError: there are none yet, and the issuer does not answer.
        """
        if self._fixed is not None or not self._wants(kid):
            return
        async with self._lock:
            if self._wants(kid):
                await self._fetch()

    def key(self, kid: str | None) -> Any:  # noqa: ANN401 - cryptography's
        """Return the key of a name; without a name the only key there is.

        Raises:
            NotAuthenticatedError: there is no such key, or it is not clear which.
        """
        if self._fixed is not None:
            return self._fixed
        if kid is not None:
            found = self._kept.keys.get(kid)
        else:
            every = [*self._kept.keys.values(), *self._kept.unnamed]
            found = every[0] if len(every) == 1 else None
        if found is None:
            raise NotAuthenticatedError("The token is not valid.", code="invalid_token")
        return found

    def _wants(self, kid: str | None) -> bool:
        now, kept = self._monotonic(), self._kept
        if now - kept.fetched_at < _LOOK_AGAIN:
            return False
        return now >= kept.good_until or (kid is not None and kid not in kept.keys)

    async def _fetch(self) -> None:
        now = self._monotonic()
        self._kept.fetched_at = now
        try:
            url = self._url or await self._discover()
            document, life = await self._get(url)
            keys, unnamed = self._read(document)
        except (DureError, ValueError, KeyError, TypeError, AttributeError):
            if not self._kept.keys and not self._kept.unnamed:
                raise UnavailableError(
                    f"the issuer {self._issuer.name} does not give its keys", stage="jwks"
                ) from None
            return  # stale keys are better than none
        self._url = url
        self._kept = _Kept(keys, unnamed, now + life, now)

    async def endpoints(self) -> Mapping[str, str]:
        """Return the issuer's endpoints by their names in its discovery, each on its own host.

        Raises:
            UnavailableError: the issuer does not answer, or what it says cannot be trusted.
        """
        if self._monotonic() >= self._endpoints_until:
            async with self._lock:
                if self._monotonic() >= self._endpoints_until:
                    await self._look_up()
        return self._endpoints

    async def _look_up(self) -> None:
        try:
            document, life = await self._document()
            found = {name: self._own(document[name]) for name in _ENDPOINTS if name in document}
            missing = {"authorization_endpoint", "token_endpoint"} - set(found)
        except (DureError, ValueError, KeyError, TypeError, AttributeError):
            found, missing, life = {}, {"anything"}, 0.0
        if missing:
            raise UnavailableError(
                f"the issuer {self._issuer.name} does not say where people log in",
                stage="discovery",
            )
        self._endpoints, self._endpoints_until = found, self._monotonic() + life

    async def _discover(self) -> str:
        """Return where the keys are, on the issuer's own host."""
        document, _ = await self._document()
        return self._own(document["jwks_uri"])

    async def _document(self) -> tuple[dict[str, Any], float]:
        base = self._issuer.issuer.rstrip("/")
        document, life = await self._get(f"{base}/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer.issuer:
            raise ValueError("the discovery names another issuer")
        return document, life

    def _own(self, url: object) -> str:
        """Return an address, which must be on the issuer's own host."""
        ours, theirs = urlsplit(self._issuer.issuer), urlsplit(str(url))
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise ValueError("this lies on another host")
        return str(url)

    async def _get(self, url: str) -> tuple[dict[str, Any], float]:
        reply = await self._http.request("GET", url, timeout=5.0)
        if reply.status != 200 or len(reply.content) > _MOST_BYTES:
            raise ValueError("no such document")
        document = json.loads(reply.content)
        named = {name.lower(): value for name, value in reply.headers}
        found = _MAX_AGE.search(named.get("cache-control", ""))
        life = float(found[1]) if found else 300.0
        return document, min(max(life, _SHORTEST_LIFE), _LONGEST_LIFE)

    def _read(self, document: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        keys: dict[str, Any] = {}
        unnamed: list[Any] = []
        for one in document["keys"][:_MOST_KEYS]:
            if not self._fits(one):
                continue
            key = _key_of(one)
            if key is None:
                continue
            kid = one.get("kid")
            if isinstance(kid, str):
                keys[kid] = key
            else:
                unnamed.append(key)
        return keys, unnamed

    def _fits(self, jwk: dict[str, Any]) -> bool:
        """Whether a key is for signatures by the issuer's algorithm."""
        algorithm = self._issuer.algorithm
        return (
            jwk.get("kty") == _FAMILY.get(algorithm[:2])
            and jwk.get("use", "sig") == "sig"
            and jwk.get("alg", algorithm) == algorithm
            and jwk.get("crv") in (_CURVES.get(algorithm, jwk.get("crv")), None)
        )


def _key_of(jwk: dict[str, Any]) -> Any:  # noqa: ANN401 - cryptography's
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    public = {name: value for name, value in jwk.items() if name not in {"d", "p", "q", "k"}}
    try:
        return PyJWK(public).key
    except (PyJWTError, ValueError, KeyError):
        return None


def _fixed_key(issuer: Issuer) -> Any:  # noqa: ANN401 - cryptography's, or bytes
    if issuer.secret is not None:
        return issuer.secret.get_secret_value().encode()
    if issuer.public_key is None:
        return None
    from jwt.algorithms import get_default_algorithms

    return get_default_algorithms()[issuer.algorithm].prepare_key(issuer.public_key)
