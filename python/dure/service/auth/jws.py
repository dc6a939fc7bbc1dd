"""Signed tokens, read strictly: what the rules do not name is refused.

The algorithm is the issuer's, never the header's; `kid` is a name in a dictionary and nothing else;
a token has one reading, so the text that was checked is the text that counts.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dure.service.errors import NotAuthenticatedError

__all__ = ["Rules", "header_of", "issuer_of", "sign", "verify"]

MOST_BYTES = 8192
_LEEWAY = 60  # seconds
_HOUR = 3600
_FAR = 253_402_300_800  # the year 10000: no honest time lies beyond
# What would let a token bring its own key, or say how it is to be read.
_FORBIDDEN = frozenset(
    ("crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc", "epk", "p2c", "p2s", "cty")
)
_TYPES = frozenset(("jwt", "at+jwt", "application/at+jwt"))
_DEEPEST = 16

# Returns the key for a `kid`, which may be missing; it raises what it likes of ours.
KeyOf = Callable[[str | None], Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What an issuer's tokens must be.

    Attributes:
        issuer: The `iss`, to the letter.
        algorithm: The one algorithm.
        audience: The `aud`; None: none is looked for (a `legacy` issuer).
        authorized_party: The `azp`, where a token has one.
        legacy: `iss`, `aud`, `iat` may be missing, if they are there they count; an hour at most.
        types: Values of `typ`; a missing one passes for others' tokens only.
    """

    issuer: str
    algorithm: str
    audience: str | None
    authorized_party: str | None = None
    legacy: bool = False
    types: frozenset[str] = _TYPES
    needs_type: bool = False


def verify(token: str, rules: Rules, key_of: KeyOf, now: datetime) -> dict[str, Any]:
    """Return the claims of a good token.

    Raises:
        NotAuthenticatedError: it is not good; why is not told.
    """
    head, body, signature = _segments(token)
    header = _object(head)
    _check_header(header, rules)
    key = key_of(header.get("kid"))
    signed = token.rpartition(".")[0].encode("ascii")
    if not _is_signed(rules.algorithm, signed, key, signature):
        raise _refused()
    claims = _object(body)
    _check_times(claims, rules, now.timestamp())
    _check_parties(claims, rules)
    return claims


def sign(claims: Mapping[str, Any], key: bytes, *, kind: str) -> str:
    """Return a token of our own, signed with HS256."""
    import hmac

    header = {"alg": "HS256", "typ": kind}
    parts = [_encode(json.dumps(one, separators=(",", ":")).encode()) for one in (header, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_encode(hmac.digest(key, signed.encode(), 'sha256'))}"


def header_of(token: str) -> dict[str, Any]:
    """Return the header of a token, of which nothing is proven.

    Raises:
        NotAuthenticatedError: it is no token.
    """
    return _object(_segments(token)[0])


def issuer_of(token: str) -> str | None:
    """Return who a token says it is from, to choose the rules by; nothing is proven.

    Raises:
        NotAuthenticatedError: it is no token.
    """
    found = _object(_segments(token)[1]).get("iss")
    return found if isinstance(found, str) else None


def _segments(token: str) -> list[bytes]:
    if len(token) > MOST_BYTES or not token.isascii():
        raise _refused()
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise _refused()
    return [_decode(part) for part in parts]


def _decode(text: str) -> bytes:
    """Return the bytes of base64url in its one canonical spelling."""
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused() from None
    if _encode(found) != text:
        raise _refused()
    return found


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _object(text: bytes) -> dict[str, Any]:
    """Return a JSON object without doubled names, strange numbers or depth."""
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise _refused() from None
    if not isinstance(value, dict) or _depth(value) > _DEEPEST:
        raise _refused()
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        if depth > _DEEPEST:
            break
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def _check_header(header: dict[str, Any], rules: Rules) -> None:
    if header.get("alg") != rules.algorithm or _FORBIDDEN & set(header):
        raise _refused()
    kid, kind = header.get("kid"), header.get("typ")
    if kid is not None and not isinstance(kid, str):
        raise _refused()
    if kind is None and not rules.needs_type:
        return
    if not isinstance(kind, str) or kind.lower() not in rules.types:
        raise _refused()


def _is_signed(algorithm: str, signed: bytes, key: Any, signature: bytes) -> bool:  # noqa: ANN401
    from jwt.algorithms import get_default_algorithms
    from jwt.exceptions import PyJWTError

    try:
        return bool(get_default_algorithms()[algorithm].verify(signed, key, signature))
    except (PyJWTError, ValueError, TypeError):
        return False


def _check_times(claims: dict[str, Any], rules: Rules, now: float) -> None:
    times = {name: _time(claims, name) for name in ("exp", "nbf", "iat")}
    expires, not_before, issued = times["exp"], times["nbf"], times["iat"]
    if expires is None or expires + _LEEWAY <= now:
        raise _refused()
    if not_before is not None and not_before - _LEEWAY > now:
        raise _refused()
    if issued is None:
        if not rules.legacy:
            raise _refused()
    elif issued - _LEEWAY > now:
        raise _refused()
    if rules.legacy and not _is_young(expires, issued, now):
        raise _refused()


def _is_young(expires: float, issued: float | None, now: float) -> bool:
    """Whether a legacy token is an hour old at most; without `iat` its end must be that near."""
    if issued is None:
        return expires <= now + _HOUR + _LEEWAY
    return now - issued <= _HOUR + _LEEWAY


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _FAR:
        raise _refused()
    return float(value)


def _check_parties(claims: dict[str, Any], rules: Rules) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise _refused()
    if claims.get("iss") != rules.issuer and not (rules.legacy and "iss" not in claims):
        raise _refused()
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if rules.audience is not None and rules.audience not in named:
        raise _refused()
    party = claims.get("azp")
    if party is not None and rules.authorized_party not in (None, party):
        raise _refused()


def _refused() -> NotAuthenticatedError:
    return NotAuthenticatedError("The token is not valid.", code="invalid_token")
