"""Usage with seasons, trend, gaps and anomalies that are known: what detectors are judged by."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

HOURS, WEEK = 24, 168


@dataclass
class Person:
    """Tokens of each hour, and which hours are odd, which days a leak's."""

    hours: list[int]
    odd_hours: set[int] = field(default_factory=set)
    leaked: set[int] = field(default_factory=set)

    @property
    def odd_days(self) -> set[int]:
        return self.leaked | {hour // HOURS for hour in self.odd_hours}

    @property
    def days(self) -> list[int]:
        return [sum(self.hours[i : i + HOURS]) for i in range(0, len(self.hours), HOURS)]


def person(seed: int, weeks: int = 12) -> Person:
    """Return somebody who works by day, less on weekends, with holidays, growth and noise."""
    rng = random.Random(seed)
    base = rng.choice([400, 2_000, 8_000, 30_000])
    growth = rng.uniform(-0.01, 0.03)
    begins, ends = rng.randint(7, 10), rng.randint(16, 20)
    away = {rng.randrange(weeks * 7) for _ in range(rng.randint(0, 6))}
    hours = []
    for hour in range(weeks * WEEK):
        day, clock = divmod(hour, HOURS)
        level = base * (1 + growth) ** (day / 7)
        if not begins <= clock < ends:
            level *= 0.01 if rng.random() < 0.1 else 0.0
        if day % 7 >= 5:
            level *= 0.15
        if day in away:
            level = 0.0
        hours.append(int(level * rng.lognormvariate(0, 0.5)))
    return Person(hours)


def with_anomalies(seed: int) -> Person:
    """Return such a person in whose last four weeks a few things are not as they were."""
    found, rng = person(seed), random.Random(seed + 10_000)
    first = len(found.hours) - 4 * WEEK
    peak = max(sorted(found.hours)[-len(found.hours) // 20 :])
    for _ in range(rng.randint(1, 3)):  # a loop that calls for an hour
        hour = rng.randrange(first, len(found.hours))
        found.hours[hour] += int(max(peak, 20_000) * rng.uniform(4, 15))
        found.odd_hours.add(hour)
    if rng.random() < 0.5:  # a key that leaked: a whole day, evenly
        day = rng.randrange(first // HOURS, len(found.hours) // HOURS)
        most = max(max(found.days[max(0, day - 14) : day], default=0), 200_000)
        for hour in range(day * HOURS, (day + 1) * HOURS):
            found.hours[hour] += int(most * rng.uniform(4, 8) / HOURS)
        found.leaked.add(day)
    return found


def months(seed: int, days: int = 120) -> list[float]:
    """Return an organisation's tokens by day: weekdays, growth, noise, a step now and then."""
    rng = random.Random(seed)
    level, growth = rng.uniform(5e5, 5e6), rng.uniform(-0.002, 0.008)
    week = [1.0, 1.1, 1.15, 1.1, 0.95, rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.4)]
    found = []
    for day in range(days):
        if rng.random() < 0.005:
            level *= rng.uniform(0.7, 1.5)
        season = week[day % 7] * (1 + 0.05 * math.sin(day / 20))
        found.append(level * (1 + growth) ** day * season * rng.lognormvariate(0, 0.12))
    return found
