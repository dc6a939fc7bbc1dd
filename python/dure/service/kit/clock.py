"""The time, handed in: tests turn their own hands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from dure._core.money import wall_us

__all__ = ["Clock", "SystemClock", "microseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the aware time, UTC."""


class SystemClock:
    """This machine's wall clock."""

    def now(self) -> datetime:
        """Return the aware time, UTC."""
        return _EPOCH + timedelta(microseconds=wall_us())


def microseconds(at: datetime) -> int:
    """Return microseconds since 1970, UTC."""
    return (at - _EPOCH) // _MICROSECOND
