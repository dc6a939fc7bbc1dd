"""Rates as people write them ("10/minute"), and who is over theirs."""

from __future__ import annotations

import re

from dure._core import flow

__all__ = ["Limiter", "parse_rate"]

_FORM = re.compile(r"\s*([1-9][0-9]{0,8})\s*/\s*(?:([1-9][0-9]{0,4})\s*)?([a-z]+?)s?\s*")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


def parse_rate(text: str) -> tuple[int, int] | None:
    """Return (requests, seconds) of "10/minute" or "100/5 seconds"; None: it is no rate."""
    found = _FORM.fullmatch(text.lower())
    if found is None or found[3] not in _SECONDS:
        return None
    return int(found[1]), int(found[2] or 1) * _SECONDS[found[3]]


class Limiter:
    """Says how long a caller has to wait. Thread-safe; the counting is native, of this process."""

    def __init__(self) -> None:
        self._limiters: dict[str, flow.RateLimiter] = {}

    def wait(self, rate: str, key: str) -> float:
        """Take one request of `key` at `rate` and return 0, or the seconds until there is one."""
        limiter = self._limiters.get(rate)
        if limiter is None:
            parsed = parse_rate(rate)
            assert parsed is not None, "checked where it was set"
            count, seconds = parsed
            limit = flow.RateLimit(count / seconds, float(count))
            limiter = self._limiters.setdefault(rate, flow.RateLimiter(limit))
        return limiter.try_acquire(key)
