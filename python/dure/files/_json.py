"""JSON and JSON lines: checked, and left as they stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dure.files._limits import Limits, refuse

if TYPE_CHECKING:
    from dure.files._render import Parsed


def check_json(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Refuse what is not JSON; the text itself stays with the caller."""
    del limits
    return _checked(path, [raw])


def check_jsonl(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Refuse a file one line of which is not JSON; the text itself stays with the caller."""
    del limits
    return _checked(path, [line for line in raw.split(b"\n") if line.strip()])


def _checked(path: str, values: list[bytes]) -> Parsed:
    try:
        for value in values:
            json.loads(value)
    except (ValueError, RecursionError) as bad:
        raise refuse(path, f"damaged JSON: {bad}") from bad
    return {"text": "", "pages": [], "metadata": {}}
