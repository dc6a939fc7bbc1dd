"""Secrets at rest: each row has a key of its own, which a key of the installation wraps.

What is sealed names its place (table, column, tenant, row): moved elsewhere it cannot be opened.
A new key of the installation re-wraps the rows' keys; what they seal stays as it is.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import NamedTuple

from dure.errors import StorageError
from dure.service.kit.secret import Secret

__all__ = ["Envelope", "Place"]

_VERSION = "v1"
_NONCE = 12
_KEY = 32


class Place(NamedTuple):
    """Where a sealed value stands."""

    table: str
    column: str
    org_id: str
    row_id: str

    def bound(self, what: str) -> bytes:
        """Return what the seal is bound to; no part can run into the next."""
        return "\0".join((what, *self)).encode()


class Envelope:
    """Seals and opens. Immutable, thread-safe; shows no key."""

    __slots__ = ("_current", "_ring")

    def __init__(self, secret: Secret, ring: Mapping[str, bytes] | None = None) -> None:
        """Take the installation's keys; without any, one that is derived from its secret.

        The derived one can open what it once sealed although other keys seal now.
        """
        own = secret.key("envelope")
        name = "s-" + hashlib.sha256(b"name:" + own).hexdigest()[:8]
        self._ring = {**(ring or {}), name: own}
        self._current = next(iter(self._ring))

    @property
    def current(self) -> str:
        """Name of the key that seals."""
        return self._current

    def seal(self, text: str, place: Place) -> str:
        """Return the text sealed for its place."""
        key = secrets.token_bytes(_KEY)
        wrapped = _sealed(self._ring[self._current], key, place.bound("key"))
        body = _sealed(key, text.encode(), place.bound("value"))
        return ".".join((_VERSION, self._current, _text(wrapped), _text(body)))

    def open(self, sealed: str, place: Place) -> str:
        """Return what was sealed.

        Raises:
            StorageError: its key is not at hand, or it was changed or moved.
        """
        name, wrapped, body = _parts(sealed)
        return _opened(self._unwrapped(name, wrapped, place), body, place.bound("value")).decode()

    def is_current(self, sealed: str) -> bool:
        """Whether the key that seals now wraps it."""
        return _parts(sealed)[0] == self._current

    def rewrap(self, sealed: str, place: Place) -> str:
        """Return it under the key that seals now.

        Raises:
            StorageError: its key is not at hand, or it was changed or moved.
        """
        name, wrapped, body = _parts(sealed)
        key = self._unwrapped(name, wrapped, place)
        fresh = _sealed(self._ring[self._current], key, place.bound("key"))
        return ".".join((_VERSION, self._current, _text(fresh), _text(body)))

    def _unwrapped(self, name: str, wrapped: bytes, place: Place) -> bytes:
        if name not in self._ring:
            raise StorageError(
                f"a secret is sealed with the key {name}, which is not at hand: put it back into "
                "DURE_ENCRYPTION_KEYS (or DURE_SECRET_KEY), then run `dure keys rewrap`"
            )
        return _opened(self._ring[name], wrapped, place.bound("key"))

    def __repr__(self) -> str:
        return f"Envelope(current={self._current!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an Envelope is never written anywhere")


def _sealed(key: bytes, value: bytes, bound: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, value, bound)


def _opened(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
    except (InvalidTag, ValueError):
        raise StorageError("a sealed secret was changed or moved: enter it anew") from None


def _parts(sealed: str) -> tuple[str, bytes, bytes]:
    try:
        version, name, wrapped, body = sealed.split(".")
        if version == _VERSION:
            return name, base64.urlsafe_b64decode(wrapped), base64.urlsafe_b64decode(body)
    except ValueError:
        pass
    raise StorageError("a sealed secret is damaged: enter it anew")


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()
