"""Answers that are kept, calls that several share, copies of late calls: who pays and hears."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors
from dure.aio import Cache

from .conftest import CHAT, HELLO, SSE, STOP, USAGE, delta, events

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Scripted

COST = 8 * 150_000 + 2 * 600_000  # of CHAT's usage at gpt-4o-mini's prices
SURE = {**HELLO, "temperature": 0}
PARTS = events(delta("one "), delta("voice"), STOP, USAGE, "[DONE]")


def spent(data: Path) -> int:
    report = dure.verify_ledger(data)
    assert report.ok
    assert report.open_holds == 0
    return report.spent_pico


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def begun(*tasks: asyncio.Task[Any]) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


# The exact cache


def test_an_answer_is_given_again_and_says_what_it_saved(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted.answer()
    client = scripted.client(cache=True)
    first = client.chat.completions.create(**HELLO)
    again = client.chat.completions.create(**HELLO)
    assert len(scripted.net.requests) == 1
    assert not first.dure.cached
    assert (first.dure.cost_pico, first.dure.saved_pico) == (COST, 0)
    assert again.dure.cached
    assert (again.dure.cost_pico, again.dure.saved_pico, again.dure.attempts) == (0, COST, 0)
    assert again.model_dump() == CHAT
    assert (client.counters["cache_hits"], client.counters["saved_pico"]) == (1, COST)
    assert spent(tmp_path) == COST


def test_order_of_keys_and_streaming_are_no_part_of_the_question(scripted: Scripted) -> None:
    scripted.answer()
    client = scripted.client(cache=True)
    client.chat.completions.create(**HELLO, seed=4, top_p=0.5)
    turned = {"top_p": 0.5, "seed": 4, **dict(reversed(HELLO.items()))}
    assert client.chat.completions.create(**turned).dure.cached
    with client.chat.completions.create(**turned, stream=True) as stream:
        chunks = list(stream)
    assert text_of(chunks) == "안녕 hello"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert stream.dure is not None
    assert stream.dure.cached
    asked = {"include_usage": True}
    with client.chat.completions.create(**turned, stream=True, stream_options=asked) as stream:
        assert list(stream)[-1].usage.to_dict() == CHAT["usage"]
    assert len(scripted.net.requests) == 1


def test_a_streamed_answer_is_kept_whole(scripted: Scripted) -> None:
    scripted.net.reply(PARTS, headers=SSE)
    client = scripted.client(cache=True)
    with client.chat.completions.create(**HELLO, stream=True) as stream:
        assert text_of(list(stream)) == "one voice"
    whole = client.chat.completions.create(**HELLO)
    assert whole.dure.cached
    assert whole.choices[0].message.content == "one voice"
    assert whole.usage.to_dict() == CHAT["usage"]


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": [{"role": "user", "content": "hi "}]},
        {"messages": [{"role": "system", "content": "hi"}]},
        {"model": "gpt-4o"},
        {"model": "gpt-4o-mini-2024-07-18"},
        {"temperature": 0.5},
        {"temperature": 0},
        {"top_p": 1},
        {"max_tokens": 5},
        {"n": 1},
        {"seed": 1},
        {"stop": ["x"]},
        {"user": "u"},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"response_format": {"type": "json_object"}},
        {"extra_headers": {"x-team": "a"}},
        {"extra_query": {"v": "2"}},
        {"extra_body": {"new_one": None}},
        {"dure": dure.Call(org="other")},
    ],
)
def test_any_changed_parameter_is_another_question(
    scripted: Scripted, changed: dict[str, Any]
) -> None:
    for _ in range(2):
        scripted.answer()
    client = scripted.client(cache=True)
    client.chat.completions.create(**HELLO)
    assert not client.chat.completions.create(**{**HELLO, **changed}).dure.cached
    assert client.chat.completions.create(**{**HELLO, **changed}).dure.cached
    assert len(scripted.net.requests) == 2


def test_the_client_decides_and_the_call_overrules(scripted: Scripted) -> None:
    for _ in range(4):
        scripted.answer()
    plain, keeping = scripted.client(), scripted.client(cache=Cache(ttl=60))
    for client, call in (
        (plain, dure.Call()),
        (plain, dure.Call(cache=True)),
        (keeping, dure.Call(cache=False)),
    ):
        assert not client.chat.completions.create(**HELLO, dure=call).dure.cached
    assert plain.chat.completions.create(**HELLO, dure=dure.Call(cache=True)).dure.cached
    keeping.clear_cache()
    assert not keeping.chat.completions.create(**HELLO).dure.cached
    scripted.clock.advance(61)
    scripted.answer()
    assert not keeping.chat.completions.create(**HELLO).dure.cached, "a minute has passed"


def test_what_is_refused_cut_or_not_allowed_is_not_kept(scripted: Scripted) -> None:
    client = scripted.client(cache=True)
    scripted.answer({"error": {"message": "no"}}, status=400)
    with pytest.raises(errors.UpstreamError):
        client.chat.completions.create(**HELLO)
    scripted.net.reply(PARTS[:2], headers=SSE)
    with (
        client.chat.completions.create(**HELLO, stream=True) as stream,
        pytest.raises(errors.TruncatedStreamError),
    ):
        list(stream)
    scripted.answer()
    assert not client.chat.completions.create(**HELLO).dure.cached
    asked = {**HELLO, "model": "o1-preview"}
    scripted.answer()
    client.chat.completions.create(**asked)
    with pytest.raises(errors.InvalidModelError):  # the policy is asked before what is kept
        client.chat.completions.create(**asked, dure=dure.Call(service="StrategyBuilder"))


def test_the_disk_keeps_for_another_client(scripted: Scripted, tmp_path: Path) -> None:
    scripted.answer()
    kept = Cache(disk=True)
    scripted.client(cache=kept).chat.completions.create(**HELLO)
    assert (tmp_path / "answers.db").stat().st_mode & 0o777 == 0o600
    other = type(scripted)(tmp_path)
    found = other.client(cache=kept).chat.completions.create(**HELLO)
    assert found.dure.cached
    assert found.model_dump() == CHAT
    assert other.net.requests == []
    other.clock.advance(86400 * 2)
    other.answer()
    assert not other.client(cache=kept).chat.completions.create(**HELLO).dure.cached


def test_a_damaged_file_is_no_cache(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "answers.db").write_bytes(b"no database at all" * 100)
    client = scripted.client(cache=Cache(disk=True))
    scripted.answer()
    assert client.chat.completions.create(**HELLO).choices
    assert client.chat.completions.create(**HELLO).dure.cached, "memory keeps it"


async def test_a_batch_of_hits(scripted: Scripted) -> None:
    client = scripted.aclient(cache=True)
    scripted.answer()
    await client.chat.completions.create(**HELLO)
    answers = await client.map([HELLO] * 20_000, limit=4)
    assert all(not isinstance(a, errors.DureError) and a.dure.cached for a in answers)
    assert len(scripted.net.requests) == 1


def test_what_decides_the_answer_or_its_cost_is_part_of_the_question(scripted: Scripted) -> None:
    """Headers and query of the client, its other addresses, its prices, the region."""
    overlay = {"gpt-4o-mini": {"input": "1", "output": "2"}}
    clients = [
        scripted.client(cache=True),
        scripted.client(cache=True, default_headers={"x-beta": "1"}),
        scripted.client(cache=True, default_query={"version": "2"}),
        scripted.client(cache=True, base_url=["http://127.0.0.1/v1", "http://127.0.0.2/v1"]),
        scripted.client(cache=True, prices=dure.PriceBook(overlay)),
        scripted.client(cache=True, organization="org-2"),
    ]
    call = dure.Call(org="acme")
    for number, client in enumerate(clients):
        scripted.answer({**CHAT, "id": str(number)})
        assert not client.chat.completions.create(**HELLO, dure=call).dure.cached
    for number, client in enumerate(clients):
        kept = client.chat.completions.create(**HELLO, dure=call)
        assert (kept.id, kept.dure.cached) == (str(number), True)
    dear = clients[4].chat.completions.create(**HELLO, dure=call)
    assert dear.dure.saved_pico == 8 * 1_000_000 + 2 * 2_000_000, "at the client's own prices"
    scripted.answer()
    there = dure.Call(org="acme", region="eu")
    assert not clients[0].chat.completions.create(**HELLO, dure=there).dure.cached


async def test_calls_at_other_prices_are_not_one(scripted: Scripted) -> None:
    overlay = {"gpt-4o-mini": {"input": "1", "output": "2"}}
    clients = [scripted.aclient(), scripted.aclient(prices=dure.PriceBook(overlay))]
    tasks = [asyncio.create_task(c.chat.completions.create(**SURE)) for c in clients]
    await begun(*tasks)
    assert len(scripted.net.requests) == 2
    for _ in tasks:
        scripted.answer()
    scripted.net.pump()
    costs = [(await task).dure.cost_pico for task in tasks]
    assert costs == [COST, 8 * 1_000_000 + 2 * 2_000_000]


# Calls that several share


async def test_callers_at_the_same_time_share_one_call(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    tasks = [asyncio.create_task(create(**SURE)) for _ in range(50)]
    await begun(*tasks)
    assert len(scripted.net.requests) == 1
    scripted.answer()
    scripted.net.pump()
    answers = await asyncio.gather(*tasks)
    assert all(answer.model_dump() == CHAT for answer in answers)
    assert [a.dure.cost_pico for a in answers] == [COST] + [0] * 49
    assert [a.dure.coalesced for a in answers] == [False] + [True] * 49
    assert answers[-1].dure.saved_pico == COST
    assert client.counters["coalesced"] == 49
    assert spent(tmp_path) == COST


async def test_calls_that_may_differ_are_not_shared(scripted: Scripted) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    asked = [
        (HELLO, None),
        (HELLO, None),
        (SURE, dure.Call(coalesce=False)),
        (SURE, dure.Call(coalesce=False)),
        (HELLO, dure.Call(coalesce=True)),
        (HELLO, dure.Call(coalesce=True)),
    ]
    tasks = [asyncio.create_task(create(**body, dure=call)) for body, call in asked]
    await begun(*tasks)
    assert len(scripted.net.requests) == 5
    for _ in range(5):
        scripted.answer()
    scripted.net.pump()
    await asyncio.gather(*tasks)


async def test_two_organisations_never_share(scripted: Scripted) -> None:
    client, other = scripted.aclient(cache=True), scripted.aclient(cache=True, api_key="sk-other")
    calls = [dure.Call(org="a"), dure.Call(org="b"), dure.Call(), None]
    tasks = [
        asyncio.create_task(c.chat.completions.create(**SURE, dure=call))
        for c, call in ((client, calls[0]), (client, calls[1]), (client, None), (other, None))
    ]
    await begun(*tasks)
    assert len(scripted.net.requests) == 4, "an organisation, or a key, each has its own"
    for number in range(4):
        scripted.answer({**CHAT, "id": str(number)})
    scripted.net.pump()
    assert [a.id for a in await asyncio.gather(*tasks)] == ["0", "1", "2", "3"]
    for number, call in enumerate(calls[:3]):
        kept = await client.chat.completions.create(**SURE, dure=call)
        assert (kept.id, kept.dure.cached) == (str(number), True)


async def test_a_stream_is_replayed_from_its_beginning(scripted: Scripted) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    scripted.net.reply(PARTS[:1], headers=SSE, end="hang")
    early = await create(**SURE, stream=True)
    assert text_of([await anext(early)]) == "one "
    late = await create(**SURE, stream=True)
    assert text_of([await anext(late)]) == "one "
    whole = asyncio.create_task(create(**SURE))
    await begun(whole)
    assert len(scripted.net.requests) == 1
    await early.close()
    await asyncio.sleep(0)
    assert scripted.net.open == 1, "the call lives while somebody waits"
    await late.close()
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert scripted.net.open == 0


async def test_streamed_and_whole_hear_the_same(scripted: Scripted) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    whole = asyncio.create_task(create(**SURE))
    asked = {"include_usage": True}
    opening = asyncio.create_task(create(**SURE, stream=True, stream_options=asked))
    await begun(whole, opening)
    scripted.answer()
    scripted.net.pump()
    assert (await whole).model_dump() == CHAT
    chunks = [chunk async for chunk in await opening]
    assert text_of(chunks) == "안녕 hello"
    assert chunks[-1].usage.to_dict() == CHAT["usage"]
    assert len(scripted.net.requests) == 1


async def test_a_leader_who_leaves_harms_nobody(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    leader = asyncio.create_task(create(**SURE))
    followers = [asyncio.create_task(create(**SURE)) for _ in range(2)]
    await begun(leader, *followers)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    scripted.answer()
    scripted.net.pump()
    oldest, other = await asyncio.gather(*followers)
    assert (oldest.dure.cost_pico, other.dure.cost_pico) == (COST, 0)
    assert spent(tmp_path) == COST


async def test_the_leaders_limits_are_not_the_followers(scripted: Scripted) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    hasty = asyncio.create_task(create(**SURE, dure=dure.Call(deadline=1)))
    patient = asyncio.create_task(create(**SURE))
    await begun(hasty, patient)
    scripted.net.reply([], status=503, headers=[("retry-after", "5")])
    scripted.net.pump()
    with pytest.raises(errors.DureError):
        await hasty
    scripted.answer()
    scripted.clock.advance(6)
    scripted.net.pump()
    assert (await patient).model_dump() == CHAT


async def test_a_followers_time_is_his_own(scripted: Scripted) -> None:
    client = scripted.aclient()
    create = client.chat.completions.create
    leader = asyncio.create_task(create(**SURE))
    follower = asyncio.create_task(create(**SURE, dure=dure.Call(deadline=2)))
    await begun(leader, follower)
    scripted.clock.advance(3)
    scripted.net.pump()
    with pytest.raises(errors.DeadlineError):
        await follower
    scripted.answer()
    scripted.net.pump()
    assert (await leader).dure.cost_pico == COST


async def test_a_follower_without_budget_is_refused(scripted: Scripted) -> None:
    client = scripted.aclient()
    await client.budgets.set("user:poor", limit="0", window="lifetime")
    create = client.chat.completions.create
    leader = asyncio.create_task(create(**SURE, dure=dure.Call(user="rich")))
    await begun(leader)
    with pytest.raises(errors.BudgetExceededError):
        await create(**SURE, dure=dure.Call(user="poor"))
    scripted.answer()
    scripted.net.pump()
    await leader


async def test_equal_embeddings_are_one_call(scripted: Scripted) -> None:
    client = scripted.aclient()
    body: dict[str, Any] = {"model": "text-embedding-3-small", "input": ["a"]}
    tasks = [asyncio.create_task(client.embeddings.create(**body)) for _ in range(64)]
    await begun(*tasks)
    scripted.answer(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
    )
    scripted.net.pump()
    assert all(a.vectors.tolist() == [[1.0, 2.0]] for a in await asyncio.gather(*tasks))
    assert len(scripted.net.requests) == 1


# A second copy of a late call


def asking(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def known(scripted: Scripted, client: dure.AsyncClient) -> None:
    """Let 25 first answers take 0.1 s, and 25 calls that may be hedged pay for 1.25 copies."""
    for number in range(50):
        body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": asking(str(number))}
        call = asyncio.create_task(
            client.chat.completions.create(**body, dure=dure.Call(hedge=number >= 25))
        )
        await begun(call)
        scripted.clock.advance(0.1 if number < 25 else 0.05)
        scripted.answer()
        scripted.net.pump()
        await call


async def test_the_late_copy_is_paid_too(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    await known(scripted, client)
    late = asyncio.create_task(client.chat.completions.create(**HELLO, dure=dure.Call(hedge=True)))
    await begun(late)
    scripted.answer()  # of the first copy, which is sent already
    scripted.net.pump()
    answer = await late
    assert (answer.dure.hedged, answer.dure.attempts) == (False, 1)

    before = spent(tmp_path)
    late = asyncio.create_task(client.chat.completions.create(**HELLO, dure=dure.Call(hedge=True)))
    await begun(late)
    scripted.net.reply(['{"id":'], end="hang")  # the first copy begins and hangs
    scripted.net.pump()
    scripted.answer()
    scripted.clock.advance(1)
    scripted.net.pump()
    answer = await late
    assert (answer.dure.hedged, answer.dure.attempts) == (True, 2)
    assert client.counters["hedges"] == 1
    assert scripted.net.open == 0, "the late one is cancelled"
    assert answer.dure.cost_pico > COST, "what it may have cost is counted"
    assert spent(tmp_path) - before == answer.dure.cost_pico


async def test_no_hedge_without_attempts_or_budget(scripted: Scripted) -> None:
    client = scripted.aclient()
    await known(scripted, client)
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    for options in (
        {"dure": dure.Call(hedge=True, max_attempts=1)},
        {"dure": dure.Call(hedge=True, max_cost="0.000005"), "max_tokens": 4},
        {"dure": dure.Call(hedge=True), "tools": [tool]},
        {"dure": dure.Call(hedge=False)},
    ):
        late = asyncio.create_task(client.chat.completions.create(**HELLO, **options))
        await begun(late)
        sent = len(scripted.net.requests)
        scripted.clock.advance(1)
        scripted.net.pump()
        assert len(scripted.net.requests) == sent
        scripted.answer()
        scripted.net.pump()
        assert (await late).dure.attempts == 1


async def test_copies_stay_a_small_share(scripted: Scripted) -> None:
    client = scripted.aclient()
    await known(scripted, client)
    sent = len(scripted.net.requests)
    for number in range(100):
        body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": asking(f"n{number}")}
        late = asyncio.create_task(
            client.chat.completions.create(**body, dure=dure.Call(hedge=True))
        )
        await begun(late)
        scripted.clock.advance(1)
        scripted.net.pump()
        while scripted.net.open:
            scripted.answer()
            scripted.net.pump()
        await late
    assert 1 <= len(scripted.net.requests) - sent - 100 <= 8, "5 in 100, and what was saved up"


def test_json_of_kept_answers_is_what_came(scripted: Scripted) -> None:
    body = json.dumps(CHAT, ensure_ascii=True)
    scripted.net.reply([body])
    client = scripted.client(cache=True)
    first = client.chat.completions.create(**HELLO)
    again = client.chat.completions.create(**HELLO)
    assert first.raw().content == again.raw().content == body.encode()
