"""One structured event for each call that ended and each attempt that failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dure
import pytest

from tests.canary import CANARY

from .conftest import HELLO

if TYPE_CHECKING:
    from .conftest import Scripted


def test_a_failed_attempt_and_the_end_of_its_call(scripted: Scripted) -> None:
    client = scripted.client(cache=True)
    scripted.answer()
    client.chat.completions.create(**HELLO, seed=1)
    assert client.events.take() == []  # until they are asked for
    client.events.keep(100)
    scripted.answer({"error": {"message": "slow down"}}, status=429, headers=[("retry-after", "0")])
    scripted.answer()
    call = dure.Call(org="acme", user="7", service="StrategyBuilder")
    answer = client.chat.completions.create(**HELLO, dure=call)
    again = client.chat.completions.create(**HELLO, dure=call)
    failed, ended, kept = client.events.take()
    assert (failed.attempt, failed.outcome, failed.http_status) == (1, "rate_limit", 429)
    assert failed.call_id == ended.call_id == answer.dure.call_id
    assert (ended.attempt, ended.outcome, ended.attempts) == (0, "ok", 2)
    assert (ended.org, ended.service, ended.model) == ("acme", "StrategyBuilder", "gpt-4o-mini")
    assert ended.key_id == answer.dure.key_id
    assert ended.cost_pico == answer.dure.cost_pico > 0
    assert (ended.input_tokens, ended.output_tokens) == (8, 2)
    assert ended.latency >= failed.latency >= 0
    assert kept.cached
    assert kept.cost_pico == 0
    assert again.dure.cached
    assert client.events.take() == []
    text = json.dumps([one.to_dict() for one in (failed, ended, kept)])
    assert CANARY not in text
    assert "hi" not in text.replace("hidden", "")


def test_refusals_are_told_and_a_log_that_stands_still_grows_nothing(scripted: Scripted) -> None:
    client = scripted.client()
    client.events.keep(10)
    for _ in range(15):
        with pytest.raises(dure.errors.InvalidModelError):
            client.chat.completions.create(**{**HELLO, "model": "none"})
    told = client.events.take()
    assert [one.outcome for one in told] == ["denied"] * 10
    assert client.events.dropped == 5
    client.events.keep(0)
    scripted.answer()
    client.chat.completions.create(**HELLO)
    assert client.events.take() == []
    with pytest.raises(dure.errors.InvalidArgumentError):
        client.events.keep(-1)
