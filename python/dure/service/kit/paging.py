"""Pages by key: what was seen last, sealed against nothing because it reveals and grants nothing.

A cursor is the order key of the last row. It is bound as a parameter of a query that is already
narrowed to the tenant, so another tenant's cursor shows nothing of theirs.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated

from fastapi import Query

from dure.errors import InvalidArgumentError

__all__ = ["Cursor", "Limit", "cursor_of", "read_cursor"]

Limit = Annotated[int, Query(ge=1, le=200, description="Rows at most.")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next` of the page before.")]


def cursor_of(*values: int | str) -> str:
    """Return the cursor that stands for an order key."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, *kinds: type[int] | type[str]) -> list[int | str]:
    """Return the order key that a cursor stands for.

    Raises:
        InvalidArgumentError: it is none of ours.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        found = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        found = None
    good = isinstance(found, list) and len(found) == len(kinds)
    if not good or not all(
        type(one) is kind and (isinstance(one, str) or abs(one) < 2**62)
        for one, kind in zip(found, kinds, strict=True)
    ):
        raise InvalidArgumentError("this is no cursor of this list", argument="cursor")
    return list(found)
