"""Arguments of the wrong type, refused by name before they reach the core."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["integer", "optional_integer", "optional_text", "refuse", "text"]


def integer(value: object, argument: str) -> int:
    """Return an int for an int, or for what stands for one (numpy's); a bool does not.

    Raises:
        TypeError: anything else; the message names the argument.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        refuse(value, argument, "int")
    return int(value.__index__())


def optional_integer(value: object, argument: str) -> int | None:
    """Return `integer(...)`, or None for None."""
    return None if value is None else integer(value, argument)


def text(value: object, argument: str) -> str:
    """Return a str.

    Raises:
        TypeError: anything else; the message names the argument.
    """
    if not isinstance(value, str):
        refuse(value, argument, "str")
    return value


def optional_text(value: object, argument: str) -> str | None:
    """Return `text(...)`, or None for None."""
    return None if value is None else text(value, argument)


def refuse(value: object, argument: str, wanted: str) -> NoReturn:
    """Raise the TypeError that says which argument should have been what."""
    raise TypeError(f"{argument} must be {wanted}, not {type(value).__name__}")
