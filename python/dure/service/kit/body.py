"""A request's body, read."""

from __future__ import annotations

import json
from typing import Any

from dure.errors import InvalidArgumentError

__all__ = ["read_object"]


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        InvalidArgumentError: it is none, or is nested too deep to be read.
    """
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    except RecursionError:
        raise InvalidArgumentError("the body is nested too deep", argument="body") from None
    if not isinstance(value, dict):
        raise InvalidArgumentError("the body is not a JSON object", argument="body")
    return value
