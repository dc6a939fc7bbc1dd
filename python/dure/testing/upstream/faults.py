"""Which request fails, and how: a pure function of seed and request number."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "FaultPlan"]

KINDS: dict[str, str] = {
    "429": "too many requests, with Retry-After",
    "500": "internal server error",
    "503": "overloaded, nothing accepted",
    "reset": "the connection is reset before the first byte",
    "cut": "the answer breaks off: a stream without [DONE], a body shorter than its length",
    "slow": "the answer comes half a second late",
}


class FaultPlan:
    """Decides the fate of request `number`. Immutable.

    Equal seeds and rates give equal plans, whatever the order in which answers go out.
    """

    def __init__(self, rates: Mapping[str, float] | None, *, seed: int) -> None:
        self._seed = seed
        self._steps: list[tuple[float, str]] = []
        reached = 0.0
        for kind, rate in (rates or {}).items():
            if kind not in KINDS or not 0 <= rate <= 1:
                raise InvalidArgumentError(
                    f"faults: {kind!r}: {rate!r} is not one of {', '.join(KINDS)} with a share "
                    "from 0 to 1",
                    argument="faults",
                )
            reached += rate
            self._steps.append((reached, kind))
        if reached > 1 + 1e-9:
            raise InvalidArgumentError(
                f"faults: the shares add up to {reached}, more than 1", argument="faults"
            )

    @classmethod
    def parse(cls, text: str, *, seed: int) -> FaultPlan:
        """Read `"429=0.02,reset=0.01"`; an empty text plans nothing."""
        rates: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            kind, _, share = part.partition("=")
            try:
                rates[kind.strip()] = float(share)
            except ValueError:
                raise InvalidArgumentError(
                    f"faults: {part!r} is not KIND=SHARE", argument="faults"
                ) from None
        return cls(rates, seed=seed)

    def pick(self, number: int) -> str | None:
        """Return the kind of fault of request `number` (from 1), or None."""
        if not self._steps:
            return None
        chance = self.chance(number)
        return next((kind for limit, kind in self._steps if chance < limit), None)

    def chance(self, number: int) -> float:
        """Return the request's lot in [0, 1), which also varies its Retry-After."""
        digest = hashlib.blake2b(b"%d:%d" % (self._seed, number), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
