"""Every documented usage body costs what an independent calculator says, to the pico-dollar."""

from __future__ import annotations

import json
import warnings
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from dure.costs import PriceBook

from tests.quality import usage_bodies

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in usage_bodies.GOLDEN.read_text().splitlines()
]
BOOK = PriceBook(
    [
        {
            "id": model,
            "prices": [
                {
                    "rates": {
                        unit: [int(Decimal(dollars) * 10**12), per]
                        for unit, (dollars, per) in rates.items()
                    }
                }
            ],
        }
        for model, rates in usage_bodies.OVERLAY.items()
    ]
)


def cost(case: dict[str, Any], body: object) -> int:
    return BOOK.cost(body, model=case["model"], at=usage_bodies.NOW, service_tier=case["tier"]).pico


def test_the_golden_file_is_large_and_fresh() -> None:
    """The bodies, counts and costs are those of the calculator that wrote them."""
    assert len(CASES) >= 300
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert usage_bodies.GOLDEN.read_text().splitlines() == list(usage_bodies.golden())


def test_every_body_costs_its_golden_price() -> None:
    wrong = [case for case in CASES if cost(case, case["body"]) != case["pico"]]
    assert wrong == []


def test_a_whole_response_and_an_object_cost_the_same() -> None:
    """`usage` may be a response around the body, as a dict or with attributes."""
    for case in CASES:
        assert cost(case, {"id": "x", "usage": case["body"]}) == case["pico"]
        assert cost(case, SimpleNamespace(usage=case["body"])) == case["pico"]


def test_lines_say_the_disjoint_counts() -> None:
    for case in CASES:
        found = BOOK.cost(
            case["body"], model=case["model"], at=usage_bodies.NOW, service_tier=case["tier"]
        )
        assert {line.unit: line.quantity for line in found.lines} == {
            unit: count for unit, count in case["units"].items() if count
        }, case
        assert sum(line.pico for line in found.lines) == found.pico


def test_equal_to_genai_prices_where_it_has_the_unit() -> None:
    """The peer's own sum, not only its rates."""
    genai_prices = pytest.importorskip("genai_prices")
    compared = 0
    for case in CASES:
        units = case["units"]
        if case["model"] in usage_bodies.OVERLAY or units.keys() & {"search.web"}:
            continue
        provider = "anthropic" if case["model"].startswith("claude") else "openai"
        usage = genai_prices.Usage(
            input_tokens=sum(n for unit, n in units.items() if unit.startswith("input")),
            cache_read_tokens=units.get("input.text.cache_read", 0),
            cache_write_tokens=units.get("input.text.cache_write", 0)
            + units.get("input.text.cache_write_1h", 0),
            cache_write_1h_tokens=units.get("input.text.cache_write_1h", 0),
            output_tokens=sum(n for unit, n in units.items() if unit.startswith("output")),
        )
        batch = case["tier"] == "batch"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = genai_prices.calc_price(
                usage,
                case["model"],
                provider_id=provider,
                genai_request_timestamp=usage_bodies.NOW,
                price_context={"processing": "batch"} if batch else {"service_tier": case["tier"]},
            )
        assert Decimal(case["pico"]) / 10**12 == theirs.total_price, case
        compared += 1
    assert compared >= 200
