"""What happened: one event for each call that ended, and one for each attempt that failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from dure._core import client as core

__all__ = ["CallEvent", "CallEvents"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """One thing that happened. No prompt, no answer, no key is in it.

    Attributes:
        at: When.
        call_id: Of the call; the ledger and `r.dure.call_id` have the same.
        attempt: Which attempt failed, from 1; 0: the call has ended.
        outcome: `ok`; of an attempt the class of its failure (`rate_limit`, `overloaded`, `reset`,
            `sent_timeout`, `auth`, ...); of a call the `.code` of the error that it raised.
        http_status: Of the reply; 0: there was none.
        latency: Seconds, of the attempt or of the whole call.
        first_event: Seconds to the first event of a stream, or the first byte; 0: none came.
        attempts: Requests that were sent so far.
        cost_pico: Of all attempts so far.
        flags: Of the cost: `possible_spend`, `shrunk`, ...
        cached: No call was made: the answer was kept.
        coalesced: No call was made: another one's answer served.
        hedged: A second copy was sent.
    """

    at: datetime
    call_id: str
    attempt: int
    outcome: str
    http_status: int
    org: str
    service: str
    model: str
    key_id: str
    latency: float
    first_event: float
    attempts: int
    input_tokens: int
    output_tokens: int
    cost_pico: int
    flags: tuple[str, ...]
    cached: bool
    coalesced: bool
    hedged: bool

    def to_dict(self) -> dict[str, object]:
        """Return plain values; `at` as ISO text."""
        return {**asdict(self), "at": self.at.isoformat()}


class CallEvents:
    """The events of the native client that all clients on the data folder share in this process.

    They wait in a ring until somebody takes them. When nobody does, the oldest are dropped and
    counted: a log that stands still costs no memory. Until `keep` none is made.
    """

    def __init__(self, native: core.Client) -> None:
        """Wrap the core's client."""
        self._native = native

    def keep(self, most: int = 10_000) -> None:
        """Keep at most so many that wait, from now on; 0: none any more.

        Raises:
            InvalidArgumentError: the number is out of range.
        """
        if isinstance(most, bool) or not isinstance(most, int) or not 0 <= most <= _MOST:
            raise InvalidArgumentError(f"most must be 0 to {_MOST:,}", argument="most")
        self._native.keep_events(most)

    def take(self) -> list[CallEvent]:
        """Return those that wait, oldest first; each is given once."""
        return [_event_of(found) for found in self._native.take_events()]

    @property
    def dropped(self) -> int:
        """How many were dropped because nobody took them."""
        return self._native.events_dropped()


def _event_of(found: dict[str, object]) -> CallEvent:
    at_us = found.pop("at_us")
    assert isinstance(at_us, int)
    known = {field.name for field in fields(CallEvent)}
    values: dict[str, object] = {name: value for name, value in found.items() if name in known}
    return CallEvent(at=_EPOCH + timedelta(microseconds=at_us), **values)  # type: ignore[arg-type]
