"""What the core takes of a caller's usual call: made once, as it is the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dure.calls import Call
from dure.calls.settings import View

if TYPE_CHECKING:
    from dure._core import client as core

__all__ = ["UsualOptions"]

_MOST = 4096


class UsualOptions:
    """Native limits by call, of one client. One thread at a time."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._made: dict[Call, core.Options] = {}

    def of(self, call: Call) -> core.Options:
        """Return a call's native limits."""
        found = self._made.get(call)
        if found is None:
            if len(self._made) >= _MOST:
                self._made.clear()
            found = self._made[call] = self._view.options(call)
        return found
