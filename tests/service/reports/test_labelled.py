"""Detectors and forecast on the labelled set: their thresholds were chosen here and are frozen."""

from __future__ import annotations

from statistics import mean

from dure.service.reports.anomaly import FLOOR_TOKENS, odd_day, odd_hour
from dure.service.reports.forecast import forecast
from hypothesis import given
from hypothesis import strategies as st

from tests.service.reports.labelled import HOURS, WEEK, months, person, with_anomalies

PEOPLE = range(150)
PICO = 5_000_000  # a token's price, as of a middling model
EIGHT = 8 * WEEK


def hours_told(hours: list[int]) -> set[int]:
    first = len(hours) - 4 * WEEK
    return {
        hour
        for hour in range(first, len(hours))
        if odd_hour([hours[hour - n * WEEK] for n in range(1, 9)], hours[hour])
    }


def days_told(days: list[int]) -> set[int]:
    first = len(days) - 28
    return {
        day
        for day in range(first, len(days))
        if odd_day([one * PICO for one in days[day - 28 : day]], days[day] * PICO)
    }


def test_hours_that_are_odd_are_found_and_few_others() -> None:
    found = missed = false = looked = 0
    for seed in PEOPLE:
        one = with_anomalies(seed)
        told = hours_told(one.hours)
        real = {hour for hour in one.odd_hours if one.hours[hour] >= FLOOR_TOKENS}
        found, missed = found + len(real & told), missed + len(real - told)
        false += len([h for h in told - one.odd_hours if h // HOURS not in one.leaked])
        looked += 4 * WEEK
    recall, alarms = found / (found + missed), false / looked * WEEK
    assert recall >= 0.97, (recall, alarms)
    assert alarms <= 0.05, f"{alarms} false alarms a person and week"


def test_days_that_are_odd_are_found_and_few_others() -> None:
    found = missed = false = looked = 0
    for seed in PEOPLE:
        one = with_anomalies(seed)
        told = days_told(one.days)
        real = {day for day in one.leaked if day >= len(one.days) - 28}
        found, missed = found + len(real & told), missed + len(real - told)
        false += len(told - one.odd_days)
        looked += 4
    recall, alarms = found / (found + missed), false / looked
    assert recall >= 0.9, (recall, alarms)
    assert alarms <= 0.05, f"{alarms} false alarms a person and week"


def test_people_without_anomalies_are_left_in_peace() -> None:
    told = sum(len(hours_told(person(seed).hours)) for seed in range(1000, 1100))
    assert told / (100 * 4) <= 0.05


def test_a_month_is_forecast_better_than_by_its_run_rate() -> None:
    ours, straight = [], []
    for seed in range(120):
        days = months(seed)
        for begun in (80, 95):  # in mid-month: what the next 15 days come to
            truth = sum(days[begun : begun + 15])
            ours.append(abs(forecast(days[:begun], 15).total[0] - truth) / truth)
            rate = mean(days[begun - 15 : begun])
            straight.append(abs(rate * 15 - truth) / truth)
    assert mean(ours) <= 0.065, mean(ours)
    assert mean(ours) < mean(straight), (mean(ours), mean(straight))


def test_most_days_fall_into_the_interval() -> None:
    inside = total = 0
    for seed in range(60):
        days = months(seed)
        found = forecast(days[:90], 7)
        for one, low, high in zip(days[90:97], found.low, found.high, strict=True):
            inside, total = inside + (low <= one <= high), total + 1
    assert 0.65 <= inside / total <= 0.95, inside / total


@given(st.lists(st.integers(0, 2**50), max_size=60), st.integers(1, 40))
def test_a_forecast_is_never_negative_and_its_ends_enclose_it(values: list[int], days: int) -> None:
    found = forecast(values, days)
    assert len(found.days) == len(found.low) == len(found.high) == days
    assert found.method == ("holt-winters" if len(values) >= 14 else "run-rate")
    for low, one, high in zip(found.low, found.days, found.high, strict=True):
        assert 0 <= low <= one <= high
    assert 0 <= found.total[1] <= found.total[0] <= found.total[2]


def test_little_usage_is_no_anomaly_and_neither_is_a_new_person() -> None:
    assert odd_hour([0] * 8, FLOOR_TOKENS - 1) is None
    assert odd_hour([0] * 3, 10**9) is None
    told = odd_hour([0] * 8, 10**6)
    assert told is not None
    assert (told.reason, told.expected, told.seen) == ("hour", 0, 10**6)
    assert odd_day([10**12] * 6, 10**14) is None
    assert odd_day([10**12] * 7, 10**14) is not None
    assert odd_day([0] * 20, 10**12 - 1) is None
