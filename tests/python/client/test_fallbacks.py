"""Other models take over: by what the first one failed of, within the one budget of the call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors

from .conftest import CHAT, HELLO

if TYPE_CHECKING:
    from .conftest import Scripted

DOWN = {"error": {"message": "down", "type": "server_error", "param": None, "code": None}}


def refusal(code: str) -> dict[str, Any]:
    return {
        "error": {"message": code, "type": "invalid_request_error", "param": None, "code": code}
    }


def ask(scripted: Scripted, fallbacks: Any, **options: Any) -> Any:  # noqa: ANN401
    call = dure.Call(fallbacks=fallbacks, **options)
    with scripted.client() as client:
        return client.chat.completions.create(**HELLO, dure=call)


def asked(scripted: Scripted) -> list[str]:
    return [json.loads(request["body"])["model"] for request in scripted.net.requests]


def test_a_model_that_is_not_found_is_replaced(scripted: Scripted) -> None:
    scripted.answer(refusal("model_not_found"), status=404)
    scripted.answer(CHAT)
    answer = ask(scripted, ("no-such-model", "gpt-4o"))
    assert asked(scripted) == ["gpt-4o-mini", "gpt-4o"]
    assert (answer.dure.model, answer.dure.attempts) == ("gpt-4o", 2)
    # what the second model reported, at the second model's price
    assert answer.dure.cost_pico == 8 * 2_500_000 + 2 * 10_000_000


def test_the_attempts_are_those_of_the_whole_call(scripted: Scripted) -> None:
    for _ in range(3):
        scripted.answer(refusal("model_not_found"), status=404)
    with pytest.raises(errors.UpstreamError):
        ask(scripted, ("gpt-4o", "gpt-4-turbo", "gpt-4.1"), max_attempts=3)
    assert asked(scripted) == ["gpt-4o-mini", "gpt-4o", "gpt-4-turbo"]


def test_a_hint_beyond_the_deadline_goes_elsewhere_at_once(scripted: Scripted) -> None:
    scripted.answer(DOWN, status=429, headers=[("retry-after", "60")])
    scripted.answer(CHAT)
    answer = ask(scripted, ("gpt-4o",), deadline=20)
    assert asked(scripted) == ["gpt-4o-mini", "gpt-4o"]
    assert answer.dure.cost_pico == 8 * 2_500_000 + 2 * 10_000_000


def test_each_kind_of_refusal_has_its_list(scripted: Scripted) -> None:
    lists = {
        "general": ["gpt-4.1"],
        "context_window": ["gpt-4o"],
        "content_policy": ["gpt-4-turbo"],
    }
    for code, model in (
        ("context_length_exceeded", "gpt-4o"),
        ("content_filter", "gpt-4-turbo"),
        ("content_policy_violation", "gpt-4-turbo"),
    ):
        scripted.answer(refusal(code), status=400)
        scripted.answer(CHAT)
        assert ask(scripted, lists).dure.model == model
    scripted.answer(refusal("invalid_value"), status=400)
    with pytest.raises(errors.UpstreamError):
        ask(scripted, lists)
    assert asked(scripted)[-1] == "gpt-4o-mini", "a bad request is nobody else's"


def test_a_prompt_that_no_window_holds_goes_to_the_larger_one_unsent(scripted: Scripted) -> None:
    """Trap 14: the smaller window is passed over, and costs no attempt."""
    long = [{"role": "user", "content": "salt " * 130_000}]
    scripted.answer(CHAT)
    with scripted.client() as client:
        answer = client.chat.completions.create(
            model="gpt-4o-mini",
            messages=long,
            dure=dure.Call(fallbacks={"context_window": ["gpt-4-turbo", "gpt-4.1"]}),
        )
    assert asked(scripted) == ["gpt-4.1"]
    assert (answer.dure.model, answer.dure.attempts) == ("gpt-4.1", 1)


def test_a_fallback_passes_the_services_policy_and_the_calls_money(scripted: Scripted) -> None:
    scripted.answer(DOWN, status=404)
    with pytest.raises(errors.UpstreamError):
        ask(scripted, ("o1-preview",), service="StrategyBuilder")
    assert asked(scripted) == ["gpt-4o-mini"], "the service may not use o1-preview"
    scripted.answer(DOWN, status=404)
    with pytest.raises(errors.BudgetExceededError):
        ask(scripted, ("gpt-4-turbo",), max_cost="0.02")


def test_an_ambiguous_failure_is_paid_and_falls_back_only_if_allowed(scripted: Scripted) -> None:
    for _ in range(2):
        scripted.answer(DOWN, status=500)
    with pytest.raises(errors.UpstreamError):
        ask(scripted, ("gpt-4o",), resend="proven")
    assert asked(scripted) == ["gpt-4o-mini"]


@pytest.mark.parametrize("wrong", ["gpt-4o", {"other": ["gpt-4o"]}, {"general": "gpt-4o"}, (7,)])
def test_wrong_lists_are_refused(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(errors.InvalidArgumentError, match="fallbacks"):
        dure.Call(fallbacks=wrong)


def test_no_hold_stays_open(scripted: Scripted) -> None:
    scripted.answer(refusal("model_not_found"), status=404)
    scripted.answer(CHAT)
    ask(scripted, ("gpt-4o",))
    report = dure.verify_ledger(scripted.options["data"])
    assert report.ok
    assert report.open_holds == 0
