"""Usage that is not like a person's own: by hour of the week, and by day against what is usual.

Hours: z = 0.6745 (x - median) / MAD of the same hour of the weeks before. Days: spend against
e = L x + (1-L) e'. Both have a floor: little usage is no anomaly, however unusual it is. The
thresholds were chosen on the labelled set of the tests, and are frozen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["LEAST_DAYS", "LEAST_WEEKS", "Finding", "odd_day", "odd_hour"]

LEAST_WEEKS, LEAST_DAYS = 4, 7
FLOOR_TOKENS = 20_000  # an hour with less is never odd
FLOOR_PICO = 10**12  # a day below a dollar is never odd
_NORMAL = 0.6745
_Z = 10.0
_LEAST_SPREAD = 0.4  # of the median: weeks that are all alike are no rule
_WEIGHT = 0.3
_TIMES = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Why usage is odd: `expected` is what is usual, `seen` what was, `score` how far apart."""

    reason: str
    expected: int
    seen: int
    score: float


def odd_hour(before: Sequence[int], seen: int) -> Finding | None:
    """Judge an hour's tokens by the same hour of the weeks before; None: it is like them."""
    if seen < FLOOR_TOKENS or len(before) < LEAST_WEEKS:
        return None
    usual = median(before)
    spread = median(abs(one - usual) for one in before)
    spread = max(spread, usual * _LEAST_SPREAD, FLOOR_TOKENS / 10)
    score = _NORMAL * (seen - usual) / spread
    if score < _Z:
        return None
    return Finding("hour", round(usual), seen, round(score, 2))


def odd_day(before: Sequence[int], seen: int) -> Finding | None:
    """Judge a day's spend by the days before, oldest first; None: it is like them."""
    if seen < FLOOR_PICO or len(before) < LEAST_DAYS:
        return None
    usual = float(before[0])
    for one in before[1:]:
        usual = _WEIGHT * one + (1 - _WEIGHT) * usual
    usual = max(usual, *before[-7:], FLOOR_PICO / 4)
    score = seen / usual
    if score < _TIMES:
        return None
    return Finding("day", round(usual), seen, round(score, 2))
