"""Plain templates: `{name}` stands for a value, and nothing else has a meaning.

The form is the one crews use. A value is never looked through again, so text that holds `{name}`
stays what it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render", "variables_of"]

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]{0,63})\}")


def variables_of(text: str) -> list[str]:
    """Return the names of a template's variables, in the order of their first use."""
    return list(dict.fromkeys(_PLACE.findall(text)))


def render(text: str, variables: Mapping[str, object]) -> str:
    """Return the text with every `{name}` replaced by its value.

    Args:
        text: The template.
        variables: Texts, whole numbers, floats or booleans by name; every variable of the
            template and no other.

    Raises:
        InvalidArgumentError: a variable is missing, unknown, or of another kind; `.argument`
            names it.
    """
    names = variables_of(text)
    missing = [name for name in names if name not in variables]
    if missing:
        raise _wrong(missing[0], "is missing")
    unknown = sorted(set(variables) - set(names))
    if unknown:
        raise _wrong(unknown[0], "is no variable of this template")
    values = {name: _text_of(name, variables[name]) for name in names}
    return _PLACE.sub(lambda place: values[place[1]], text)


def _text_of(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise _wrong(name, f"must be text, a number or a boolean, not {type(value).__name__}")


def _wrong(name: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"variable {name} {what}", argument=f"variables.{name}")
