"""What an answer must be to pass: a schema, a pattern, or what any function says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from dure.calls.replies import WireObject

__all__ = ["Check", "reason_of"]

# A function of the text: None or True passes, False or a reason does not.
Check = Callable[[str], "bool | str | None"] | re.Pattern[str] | type[Any]


def reason_of(check: Check, answer: WireObject) -> str | None:
    """Return why an answer does not pass; None: it does.

    Raises:
        InvalidArgumentError: `check` is no schema, pattern or function.
    """
    choice = answer.choices[0]
    if choice.finish_reason == "length":
        return "it was cut by its token limit"
    text = choice.message.content or ""
    if isinstance(check, re.Pattern):
        return None if check.search(text) else f"it does not match {check.pattern!r}"
    if hasattr(check, "model_validate_json"):
        try:
            check.model_validate_json(text)
        except ValueError as wrong:
            return f"it is no {check.__name__}: {wrong}"
        return None
    if not callable(check):
        raise InvalidArgumentError(
            "check must be a schema, a pattern or a function", argument="check"
        )
    said = check(text)
    if isinstance(said, str):
        return said or None
    return None if said is None or said else "it did not pass the check"
