"""Pages by key: what was seen last, sealed against nothing because it reveals and grants nothing.

A cursor is the order key of the last row. It is bound as a parameter of a query that is already
narrowed to the tenant, so another tenant's cursor shows nothing of theirs.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, TypeVar, overload

from fastapi import Query

from dure.errors import InvalidArgumentError

__all__ = ["Cursor", "Limit", "cursor_of", "read_cursor"]

A = TypeVar("A", int, str)
B = TypeVar("B", int, str)
C = TypeVar("C", int, str)

Limit = Annotated[int, Query(ge=1, le=200, description="Rows at most.")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next` of the page before.")]


def cursor_of(*values: int | str) -> str:
    """Return the cursor that stands for an order key."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


@overload
def read_cursor(cursor: str | None, kind: type[A], /) -> A | None: ...
@overload
def read_cursor(cursor: str | None, first: type[A], second: type[B], /) -> tuple[A, B] | None: ...
@overload
def read_cursor(
    cursor: str | None, first: type[A], second: type[B], third: type[C], /
) -> tuple[A, B, C] | None: ...
def read_cursor(cursor: str | None, /, *kinds: type[object]) -> object:
    """Return the order key that a cursor stands for: a value, or a tuple of several.

    None stands for no cursor.

    Raises:
        InvalidArgumentError: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        found = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        found = None
    good = isinstance(found, list) and len(found) == len(kinds)
    if not good or not all(
        type(one) is kind and (not isinstance(one, int) or abs(one) < 2**62)
        for one, kind in zip(found, kinds, strict=True)
    ):
        raise InvalidArgumentError("this is no cursor of this list", argument="cursor")
    return found[0] if len(kinds) == 1 else tuple(found)
