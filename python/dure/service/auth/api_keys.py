"""The form of our API keys: `dure_` + id (8) + secret (43) + CRC-32 (6), all base62.

The CRC lets scanners of repositories tell a key from noise, and lets us refuse noise unasked.
"""

from __future__ import annotations

import hmac
import secrets
import zlib
from dataclasses import dataclass

from dure.service.kit.secret import Secret

__all__ = ["PREFIX", "Parts", "mac_of", "make", "parse"]

PREFIX = "dure_"
_SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CRC = 8, 43, 6
_LENGTH = len(PREFIX) + _ID + _SECRET + _CRC


@dataclass(frozen=True, slots=True)
class Parts:
    """A key, taken apart; shows no secret."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Parts(id={self.id!r})"


def make() -> tuple[str, Parts]:
    """Return a new key with 256 random bits, and its parts."""
    key_id = "".join(secrets.choice(_SIGNS) for _ in range(_ID))
    secret = _base62(secrets.randbits(256), _SECRET)
    return f"{PREFIX}{key_id}{secret}{_crc(key_id + secret)}", Parts(key_id, secret)


def parse(key: str) -> Parts | None:
    """Return the parts of a key; None: it is none of ours."""
    if len(key) != _LENGTH or not key.startswith(PREFIX) or not key.isascii():
        return None
    body = key[len(PREFIX) : -_CRC]
    if not body.isalnum() or _crc(body) != key[-_CRC:]:
        return None
    return Parts(body[:_ID], body[_ID:])


def mac_of(parts: Parts, secret: Secret) -> str:
    """Return what is kept of a key: it tells keys apart and cannot be sent."""
    pepper = secret.key("api-keys")
    return hmac.digest(pepper, f"{parts.id}.{parts.secret}".encode(), "sha256").hex()


def _crc(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CRC)


def _base62(number: int, length: int) -> str:
    signs = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        signs.append(_SIGNS[rest])
    return "".join(reversed(signs))
