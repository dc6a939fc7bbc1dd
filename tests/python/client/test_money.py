"""What budgets and prices do to the calls of a client."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import Call
from dure.costs import PriceBook, ledger_records, verify_ledger
from dure.errors import BudgetExceededError, InvalidArgumentError, RequestExceedsLimitError

from .conftest import CHAT, HELLO, STOP, delta, events

if TYPE_CHECKING:
    from .conftest import Scripted

ALL = Call(org="o", team="t", user="u", execution="e", conversation="c", tags=("x",))
SHORT: dict[str, Any] = {**HELLO, "max_tokens": 10}


def book(**rows: dict[str, Any]) -> PriceBook:
    """Return prices of gpt-4o-mini in dollars per million tokens: input, output by condition."""
    return PriceBook(
        [
            {
                "id": "gpt-4o-mini",
                "prices": [
                    {
                        "when": {} if name == "base" else row["when"],
                        "rates": {"input.text": row["input"], "output.text": row["output"]},
                    }
                    for name, row in rows.items()
                ],
            }
        ]
    )


def held(scripted: Scripted) -> list[dict[str, Any]]:
    """Return the RESERVE records."""
    found: list[dict[str, Any]] = [dict(one) for one in ledger_records(scripted.options["data"])]
    return [one for one in found if one["type"] == "RESERVE"]


@pytest.mark.parametrize(
    "scope",
    [
        "org:o", "team:t", "user:u", "execution:e", "conversation:c", "tag:x",
        "model:gpt-4o-mini", "provider:127.0.0.1", "key",
    ],
)  # fmt: skip
def test_a_budget_of_every_kind_of_scope_binds(scripted: Scripted, scope: str) -> None:
    with scripted.client() as client:
        scripted.answer()
        first = client.chat.completions.create(**SHORT, dure=ALL)
        name = f"key:{first.dure.key_id}" if scope == "key" else scope
        client.budgets.set(name, limit="0", window="lifetime")
        with pytest.raises(BudgetExceededError) as refused:
            client.chat.completions.create(**SHORT, dure=ALL)
    assert refused.value.scope == name
    assert len(held(scripted)) == 1


@pytest.mark.parametrize(
    ("url", "dialect", "provider"),
    [
        ("https://api.openai.com/v1", "openai_chat", "openai"),
        ("https://api.example/v1", "openai_chat", "api.example"),
        ("https://api.anthropic.com/v1", "anthropic_messages", "anthropic"),
    ],
)
def test_a_provider_is_named_by_its_endpoint(
    scripted: Scripted, url: str, dialect: str, provider: str
) -> None:
    with scripted.client(base_url=url, dialect=dialect, api_key="k") as client:
        assert client.view.endpoint.provider == provider


def test_a_dearer_tier_than_was_asked_for_overspends_nothing(scripted: Scripted) -> None:
    """Without a tier the provider chooses it: what is held covers the dearest."""
    prices = book(
        base={"input": 100, "output": 100},
        priority={"when": {"service_tier": "priority"}, "input": 200, "output": 200},
    )
    with scripted.client(prices=prices) as client:
        client.budgets.set("org:acme", limit="0.0000000036", window="lifetime")  # 18 tokens at 200
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(**{**SHORT, "max_tokens": 11}, dure=Call(org="acme"))
        scripted.answer({**CHAT, "service_tier": "priority"})
        answer = client.chat.completions.create(**SHORT, dure=Call(org="acme"))
        budget = client.budgets.read("org:acme")
    assert answer.dure.cost_pico == 10 * 200
    assert "overrun" not in answer.dure.flags
    assert budget.used <= budget.limit
    assert verify_ledger(scripted.options["data"]).ok


def test_the_prices_of_the_client_are_held_and_settled(scripted: Scripted) -> None:
    prices = book(
        base={"input": 7, "output": 11},
        eu={"when": {"region": "eu"}, "input": 70, "output": 110},
    )
    with scripted.client(prices=prices) as client:
        scripted.answer()
        anywhere = client.chat.completions.create(**SHORT)
        scripted.answer()
        there = client.with_options(timeout=5).chat.completions.create(
            **SHORT, dure=Call(region="eu")
        )
        scripted.answer()
        elsewhere = client.chat.completions.create(**SHORT, dure=Call(region="us"))
    assert anywhere.dure.cost_pico == elsewhere.dure.cost_pico == 8 * 7 + 2 * 11
    assert there.dure.cost_pico == 8 * 70 + 2 * 110
    # Nobody said where the first is billed: the dearest region is held.
    assert [one["pico"] for one in held(scripted)] == [8 * 70 + 10 * 110] * 2 + [8 * 7 + 10 * 11]
    settled = [one for one in ledger_records(scripted.options["data"]) if one["type"] == "SETTLE"]
    assert {one["price_version"] for one in settled} == {prices.price_version}


async def test_the_prices_of_the_async_client_too(scripted: Scripted) -> None:
    async with scripted.aclient(prices=book(base={"input": 7, "output": 11})) as client:
        scripted.answer()
        answer = await client.chat.completions.create(**SHORT)
    assert answer.dure.cost_pico == 8 * 7 + 2 * 11


def test_prices_are_a_book(scripted: Scripted) -> None:
    with pytest.raises(InvalidArgumentError, match="PriceBook"):
        scripted.client(prices={"gpt-4o-mini": {"input": "1"}})


def test_a_token_budget_shrinks_the_answer_and_says_so(scripted: Scripted) -> None:
    with scripted.client() as client:
        client.budgets.set("org:acme", limit=1000, window=timedelta(days=1), unit="tokens")
        assert client.budgets.read("org:acme").on_limit == "shrink"
        scripted.answer()
        answer = client.chat.completions.create(**HELLO, dure=Call(org="acme"))
        sent = json.loads(scripted.net.requests[-1]["body"])
        assert sent["max_completion_tokens"] == 1000 - 8
        assert "shrunk" in answer.dure.flags
        scripted.answer()
        second = client.chat.completions.create(**SHORT, dure=Call(org="acme"))  # it fits
        assert "shrunk" not in second.dure.flags
        usage = {"prompt_tokens": 8, "completion_tokens": 800, "total_tokens": 808}
        scripted.answer({**CHAT, "usage": usage})
        client.chat.completions.create(**HELLO, dure=Call(org="acme"))
        with pytest.raises(BudgetExceededError) as refused:  # fewer than 256 tokens are left
            client.chat.completions.create(**HELLO, dure=Call(org="acme"))
    assert not isinstance(refused.value, RequestExceedsLimitError)
    assert refused.value.http_status == 429
    assert refused.value.resets_at is not None


def test_a_stream_says_that_it_was_shrunk(scripted: Scripted) -> None:
    with scripted.client() as client:
        client.budgets.set("org:acme", limit=1000, window=timedelta(days=1), unit="tokens")
        scripted.net.reply(
            events(delta("hi"), STOP, {"id": "c", "choices": [], "usage": CHAT["usage"]}, "[DONE]"),
            headers=[("content-type", "text/event-stream")],
        )
        with client.chat.completions.create(**HELLO, stream=True, dure=Call(org="acme")) as stream:
            list(stream)
            assert "shrunk" in stream.dure.flags


def test_a_soft_budget_admits_and_warns(scripted: Scripted) -> None:
    with scripted.client() as client:
        client.budgets.set("org:acme", limit="0", window=timedelta(days=1), on_limit="warn")
        scripted.answer()
        answer = client.chat.completions.create(**SHORT, dure=Call(org="acme", user="7"))
        scripted.answer()
        other = client.chat.completions.create(**SHORT, dure=Call(org="other"))
    assert answer.dure.warnings == ["org:acme"]
    assert answer.dure.to_dict()["warnings"] == ["org:acme"]
    assert other.dure.warnings == []


def test_what_the_provider_adds_is_charged_whole_when_nobody_counts_it(scripted: Scripted) -> None:
    """A server-side tool uses tokens that no answer shows: without usage the hold is spent."""
    answer: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-4o-mini",
        "output": [],
    }
    asked: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 100}
    with scripted.client() as client:
        scripted.answer(answer)
        plain = client.responses.create(**asked)
        scripted.answer(answer)
        searched = client.responses.create(**asked, tools=[{"type": "web_search"}])
    assert "estimated" in plain.dure.flags
    assert "possible_spend" in searched.dure.flags
    assert searched.dure.cost_pico == held(scripted)[-1]["pico"]


def test_searches_of_a_response_cost_what_the_book_says(scripted: Scripted) -> None:
    prices = PriceBook(
        [
            {
                "id": "gpt-4o-mini",
                "prices": [{"rates": {"input.text": 1, "output.text": 1, "search.web": 1000}}],
            }
        ]
    )
    answer: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-4o-mini",
        "output": [
            {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "a"}},
            {"type": "web_search_call", "id": "ws_2", "action": {"type": "open_page"}},
        ],
        "usage": {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
    }
    asked: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 100}
    with scripted.client(prices=prices) as client:
        scripted.answer(answer)
        found = client.responses.create(**asked, tools=[{"type": "web_search"}])
    assert found.dure.cost_pico == 5 + 3 + 1000


def test_the_call_names_who_pays() -> None:
    call = dure.Call(team="t", service="s", execution="e")
    assert call.scopes() == ["team:t", "service:s", "execution:e"]
