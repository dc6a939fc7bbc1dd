"""Rules of docs/budget-rules.md, through a client and its account on a made-up clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import _core
from dure.errors import BudgetExceededError, UpstreamError

from .conftest import CHAT, HELLO

if TYPE_CHECKING:
    from .conftest import Scripted

ASK: dict[str, Any] = {**HELLO, "max_tokens": 50}


@pytest.fixture
def client(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> dure.Client:
    monkeypatch.setattr(_core.money, "wall_us", scripted.clock.wall_us)
    return scripted.client(max_retries=0)


def tokens(client: dure.Client, scope: str) -> int:
    used = client.budgets.read(scope, unit="tokens").used
    assert isinstance(used, int)
    return used


def spend(client: dure.Client, scopes: list[str], units: int) -> None:
    """Settle a call of so many pico-dollars and tokens."""
    account = client.budgets.account
    hold = account.reserve(
        scopes, input_pico=units, input_tokens=units, output_rate=0, max_output=0
    )
    account.sent(hold)
    account.settle(hold, pico=units, input_tokens=units, output_tokens=0)


def now_of(scripted: Scripted) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=scripted.clock.wall_us())


# What counts --------------------------------------------------------------------------------------


def test_tokens_count_as_billed_cached_and_reasoning_in_full(
    scripted: Scripted, client: dure.Client
) -> None:
    """What the provider cached is cheaper, not fewer; reasoning is output."""
    client.budgets.set("org:acme", limit=1_000, unit="tokens", window="lifetime")
    usage = {
        "prompt_tokens": 8,
        "completion_tokens": 30,
        "total_tokens": 38,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 28},
    }
    scripted.answer({**CHAT, "usage": usage})
    client.chat.completions.create(**ASK, dure=dure.Call(org="acme"))
    assert tokens(client, "org:acme") == 38


def test_embeddings_count_in_full(scripted: Scripted, client: dure.Client) -> None:
    client.budgets.set("org:acme", limit=1_000, unit="tokens", window="lifetime")
    vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
    usage = {"prompt_tokens": 11, "total_tokens": 11}
    scripted.answer({"object": "list", "data": [vector], "model": "m", "usage": usage})
    client.embeddings.create(
        model="text-embedding-3-small", input="hello world", dure=dure.Call(org="acme")
    )
    assert tokens(client, "org:acme") == 11


def test_possible_spend_counts_in_full(scripted: Scripted, client: dure.Client) -> None:
    """A try that may have been billed: its whole hold, input and output bound."""
    client.budgets.set("org:acme", limit=1_000, unit="tokens", window="lifetime")
    client.budgets.set("org:acme", limit=5, unit="requests", window="lifetime")
    scripted.net.reply(['{"error": {"message": "broken"}}'], status=500)
    with pytest.raises(UpstreamError):
        client.chat.completions.create(
            model="o3",  # what it thought before it broke nobody saw
            messages=HELLO["messages"],
            max_completion_tokens=50,
            dure=dure.Call(org="acme", max_attempts=1),
        )
    (settled,) = [r for r in dure.costs.ledger_records(scripted.options["data"])
                  if r["type"] == "SETTLE"]  # fmt: skip
    assert settled["flags"] == ["possible_spend"]
    assert tokens(client, "org:acme") == settled["tokens"]
    assert tokens(client, "org:acme") > 50
    assert client.budgets.read("org:acme", unit="requests").used == 1


# Pools, and who is told ---------------------------------------------------------------------------


def test_a_users_month_and_the_pool_of_the_organisation(client: dure.Client) -> None:
    """A call passes both: one user cannot take the pool, and all together cannot exceed it."""
    for user in ("1", "2", "3"):
        client.budgets.set(f"user:{user}", limit=100, unit="tokens", window="month")
    client.budgets.set("org:acme", limit=250, unit="tokens", window="month")
    spend(client, ["user:1", "org:acme"], 100)
    with pytest.raises(BudgetExceededError) as refused:
        spend(client, ["user:1", "org:acme"], 1)
    assert refused.value.scope == "user:1"
    assert client.budgets.read("org:acme").left == 150
    spend(client, ["user:2", "org:acme"], 100)
    spend(client, ["user:3", "org:acme"], 50)
    with pytest.raises(BudgetExceededError) as refused:
        spend(client, ["user:3", "org:acme"], 1)
    assert refused.value.scope == "org:acme"
    assert client.budgets.read("user:3").left == 50


def test_several_refuse_and_the_nearest_to_the_user_is_told(client: dure.Client) -> None:
    """User before organisation before key before execution, in whatever order they are named."""
    order = ["user:7", "org:acme", "key:k", "execution:e"]
    for scope in reversed(order):
        client.budgets.set(scope, limit=10, unit="tokens", window="lifetime")
    spend(client, order, 10)
    while order:
        with pytest.raises(BudgetExceededError) as refused:
            spend(client, order[::-1], 1)
        assert refused.value.scope == order[0]
        client.budgets.set(order.pop(0), limit=1_000, unit="tokens", window="lifetime")


# Windows and grants -------------------------------------------------------------------------------


def test_a_grant_ends_and_is_no_other_scopes(scripted: Scripted, client: dure.Client) -> None:
    for scope in ("org:acme", "user:7"):
        client.budgets.set(scope, limit=10, unit="tokens", window="lifetime")
    until = now_of(scripted) + timedelta(hours=1)
    client.budgets.grant("org:acme", amount=20, until=until)
    assert client.budgets.read("org:acme").granted == 20
    assert client.budgets.read("user:7").left == 10
    spend(client, ["org:acme"], 12)
    with pytest.raises(BudgetExceededError) as refused:
        spend(client, ["org:acme", "user:7"], 11)
    assert refused.value.scope == "user:7"
    scripted.clock.advance(3_599)
    spend(client, ["org:acme"], 1)
    scripted.clock.advance(1)
    budget = client.budgets.read("org:acme")
    assert (budget.granted, budget.left, budget.used) == (0, 0, 13)
    with pytest.raises(BudgetExceededError):
        spend(client, ["org:acme"], 1)


def test_a_rolling_window_says_when_enough_falls_out(
    scripted: Scripted, client: dure.Client
) -> None:
    """The refused call fits at `resets_at`, and not a bucket (a 96th) before."""
    day = timedelta(days=1)
    client.budgets.set("org:acme", limit=100, unit="tokens", window=day)
    spend(client, ["org:acme"], 30)
    scripted.clock.advance(6 * 3_600)
    spend(client, ["org:acme"], 60)
    scripted.clock.advance(3_600)
    ends = []
    for amount in (20, 41):  # the first spending is enough, or both must fall out
        with pytest.raises(BudgetExceededError) as refused:
            spend(client, ["org:acme"], amount)
        assert refused.value.resets_at is not None
        assert refused.value.retry_after == pytest.approx(
            (refused.value.resets_at - now_of(scripted)).total_seconds()
        )
        ends.append(refused.value.resets_at)
    bucket = timedelta(minutes=15)
    assert ends[1] - ends[0] == timedelta(hours=6)
    assert day - 7 * timedelta(hours=1) <= ends[0] - now_of(scripted)
    assert ends[0] - now_of(scripted) <= day - 7 * timedelta(hours=1) + 2 * bucket
    scripted.clock.advance((ends[0] - now_of(scripted)).total_seconds() - 1)
    with pytest.raises(BudgetExceededError):
        spend(client, ["org:acme"], 20)
    scripted.clock.advance(1)
    spend(client, ["org:acme"], 20)
    with pytest.raises(BudgetExceededError):
        spend(client, ["org:acme"], 41)


def test_a_call_counts_in_the_window_in_which_it_was_held(
    scripted: Scripted, client: dure.Client
) -> None:
    """A call that ends after midnight counts in the day in which it was held."""
    client.budgets.set("org:acme", limit=100, unit="tokens", window="day")
    client.budgets.set("org:acme", limit=1_000, unit="tokens", window="month")
    account = client.budgets.account
    hold = account.reserve(
        ["org:acme"], input_pico=60, input_tokens=60, output_rate=0, max_output=0
    )
    account.sent(hold)
    scripted.clock.advance(86_400)
    account.settle(hold, pico=60, input_tokens=60, output_tokens=0)
    assert client.budgets.read("org:acme", window="day").used == 0
    assert client.budgets.read("org:acme", window="month").used == 60
