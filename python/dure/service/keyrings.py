"""Keys of the installation as they are written: `name:BASE64,name:BASE64`."""

from __future__ import annotations

import base64
import binascii

from dure.errors import InvalidArgumentError

__all__ = ["read_ring"]

_KEY = 32


def read_ring(text: str) -> dict[str, bytes]:
    """Return keys by name from `name:BASE64,name:BASE64`; the first one seals.

    Raises:
        InvalidArgumentError: a name is taken or bad, or a key has not 32 bytes. Shows no key.
    """
    ring: dict[str, bytes] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        good = name.isascii() and name.replace("-", "").isalnum() and len(name) <= 32
        if not good or name in ring or len(key) != _KEY:
            raise InvalidArgumentError(
                "DURE_ENCRYPTION_KEYS is a list of NAME:BASE64 with 32 bytes each, names of "
                "letters, digits and -, none twice",
                argument="encryption_keys",
            )
        ring[name] = key
    return ring
