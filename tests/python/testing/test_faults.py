"""Faults follow from seed and number alone."""

from __future__ import annotations

from collections import Counter

import pytest
from dure.errors import InvalidArgumentError
from dure.testing.upstream.faults import FaultPlan


def picks(plan: FaultPlan, n: int = 20_000) -> list[str | None]:
    return [plan.pick(number) for number in range(1, n + 1)]


def test_equal_seeds_give_equal_plans() -> None:
    rates = {"429": 0.05, "reset": 0.02}
    assert picks(FaultPlan(rates, seed=7)) == picks(FaultPlan(rates, seed=7))
    assert picks(FaultPlan(rates, seed=7)) != picks(FaultPlan(rates, seed=8))


def test_shares_are_met() -> None:
    seen = Counter(picks(FaultPlan({"429": 0.05, "reset": 0.02}, seed=1)))
    assert 800 < seen["429"] < 1200
    assert 300 < seen["reset"] < 500
    assert set(seen) == {None, "429", "reset"}


def test_text_is_the_same_plan() -> None:
    spelled = FaultPlan.parse("429=0.05, reset=0.02", seed=3)
    assert picks(spelled) == picks(FaultPlan({"429": 0.05, "reset": 0.02}, seed=3))


@pytest.mark.parametrize("text", ["418=0.5", "429=2", "429=0.6,500=0.6", "429", "429=x"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="faults"):
        FaultPlan.parse(text, seed=0)
