"""A request's body, read."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.types import Scope

from dure.errors import InvalidArgumentError
from dure.service.errors import MediaTypeError
from dure.service.kit.frame import header_of

__all__ = ["read_as", "read_object", "read_plain", "require_type"]

Shape = TypeVar("Shape", bound=BaseModel)


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        InvalidArgumentError: it is none, or is nested too deep to be read.
    """
    return read_plain(body)[0]


def read_plain(body: bytes) -> tuple[dict[str, Any], bool]:
    """Return the JSON object of a body, and whether it may go on as it came.

    It may if it has one reading only. Of a name that stands twice two parsers may take different
    values: one would be checked and paid for, and the other one asked.

    Raises:
        InvalidArgumentError: it is no object, or is nested too deep to be read.
    """
    plain = body[:1] == b"{" and body[1:2] != b"\0"  # UTF-8, without a mark of it

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal plain
        found = dict(pairs)
        if len(found) != len(pairs):
            plain = False
        return found

    try:
        value = json.loads(body, object_pairs_hook=object_of)
    except ValueError:
        value = None
    except RecursionError:
        raise InvalidArgumentError("the body is nested too deep", argument="body") from None
    if not isinstance(value, dict):
        raise InvalidArgumentError("the body is not a JSON object", argument="body")
    return value, plain


def require_type(scope: Scope, *kinds: str) -> str:
    """Return which of the media types a request's body has.

    Raises:
        MediaTypeError: it has another, or is compressed.
    """
    if header_of(scope, b"content-encoding") not in {None, "", "identity"}:
        raise MediaTypeError("Send the body as it is: Content-Encoding is not taken.")
    kind = (header_of(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise MediaTypeError(f"This route takes {' or '.join(kinds)}, not {kind or 'nothing'}.")
    return kind


def read_as(shape: type[Shape], value: object) -> Shape:
    """Return a value as one of our shapes.

    Raises:
        RequestValidationError: it is none; answered as FastAPI's own.
    """
    try:
        return shape.model_validate(value)
    except ValidationError as wrong:
        found = [{**one, "loc": ("body", *one["loc"])} for one in wrong.errors(include_url=False)]
        raise RequestValidationError(found) from None
