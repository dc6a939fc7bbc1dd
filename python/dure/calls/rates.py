"""Requests and tokens a minute, kept by all processes of one host together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from dure._core import client as core

__all__ = ["Rate", "Rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a scope may ask for a minute; None: no limit.

    Attributes:
        rpm: Requests a minute.
        tpm: Tokens a minute, prompt and largest possible answer; settled on what was used.
        requests_left: What could be sent at once now.
        tokens_left: Likewise in tokens.
    """

    rpm: float | None = None
    tpm: float | None = None
    requests_left: float | None = None
    tokens_left: float | None = None


class Rates:
    """Rates of scopes: `org:NAME`, `user:NAME`, `service:NAME`, `model:ID`, `key:ID`.

    They stand in a file of the data folder that all its processes map: one limit without a server.
    A change counts everywhere at once; what restarts with the machine is set again. A call over a
    rate waits for the exact moment, or fails with `RateLimitError` if its time is shorter.
    """

    def __init__(self, native: core.Client) -> None:
        self._native = native

    def set(
        self,
        scope: str,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        burst_seconds: float = 60.0,
    ) -> None:
        """Set what a scope may ask for a minute; None leaves as it is, 0 takes the limit away.

        Args:
            scope: `kind:name`.
            rpm: Requests a minute.
            tpm: Tokens a minute.
            burst_seconds: The rate of so many seconds may be asked for at once.

        Raises:
            InvalidArgumentError: no scope, a number out of range.
            StorageError: the file cannot be written.
        """
        if ":" not in scope.strip(":"):
            raise InvalidArgumentError("a scope is kind:name, as org:acme", argument="scope")
        if not 0 < burst_seconds <= 86400:
            raise InvalidArgumentError(
                "burst_seconds must be above 0, at most 86,400", argument="burst_seconds"
            )
        for unit, rate in (("rpm", rpm), ("tpm", tpm)):
            if rate is not None:
                burst = max(1.0, rate * burst_seconds / 60.0)
                self._native.set_rate(f"{scope} {unit}", float(rate), burst)

    def read(self, scope: str) -> Rate:
        """Return what a scope may ask for a minute, and what is left of it now."""
        requests, tokens = (self._native.read_rate(f"{scope} {unit}") for unit in ("rpm", "tpm"))
        return Rate(
            rpm=requests and requests[0],
            tpm=tokens and tokens[0],
            requests_left=requests and requests[2],
            tokens_left=tokens and tokens[2],
        )
