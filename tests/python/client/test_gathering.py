"""Embeddings of several callers in one request: who is asked, who gets what, who pays what."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Scripted

MODEL = "text-embedding-3-small"
RATE = 20_000  # pico-dollars a token
SOON = dure.Call(org="acme", gather=0.005)


def vector(number: float) -> str:
    return base64.b64encode(struct.pack("<2f", number, -number)).decode()


def reply(rows: int, tokens: int, *, turned: bool = True) -> dict[str, Any]:
    data = [{"object": "embedding", "index": i, "embedding": vector(i)} for i in range(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {
        "object": "list",
        "data": data[::-1] if turned else data,
        "model": MODEL,
        "usage": usage,
    }


def asking(
    client: dure.AsyncClient,
    text: Any,  # noqa: ANN401
    call: dure.Call = SOON,
    **more: Any,  # noqa: ANN401
) -> asyncio.Task[Any]:
    create = client.embeddings.create(model=MODEL, input=text, dure=call, **more)
    return asyncio.create_task(create)


async def leave(scripted: Scripted, *tasks: asyncio.Task[Any], after: float = 0.005) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    scripted.clock.advance(after)
    scripted.net.pump()


def sent(scripted: Scripted) -> list[Any]:
    return [json.loads(request["body"])["input"] for request in scripted.net.requests]


def spent(data: Path) -> int:
    report = dure.verify_ledger(data)
    assert report.ok
    assert report.open_holds == 0
    return report.spent_pico


async def test_callers_share_a_request_and_its_cost_is_split(
    scripted: Scripted, tmp_path: Path
) -> None:
    client = scripted.aclient()
    texts: list[Any] = ["one", ["two two", "three three three"], [15339, 1917, 4]]
    tasks = [asking(client, text) for text in texts]
    await leave(scripted, *tasks, after=0.004)
    assert scripted.net.requests == [], "they wait for others"
    scripted.answer(reply(4, 9))
    await leave(scripted, after=0.001)
    one, two, three = await asyncio.gather(*tasks)
    assert sent(scripted) == [["one", "two two", "three three three", [15339, 1917, 4]]]
    assert [a.vectors[:, 0].tolist() for a in (one, two, three)] == [[0], [1, 2], [3]]
    assert [row.index for row in two.data] == [0, 1]
    counts = [a.usage.prompt_tokens for a in (one, two, three)]
    assert counts == [1, 5, 3], "the parts sum to what was billed, by the inputs' own counts"
    assert counts == [a.usage.total_tokens for a in (one, two, three)]
    assert [a.dure.cost_pico for a in (one, two, three)] == [n * RATE for n in counts]
    assert [a.dure.attempts for a in (one, two, three)] == [1, 0, 0]
    assert [a.dure.gathered for a in (one, two, three)] == [3, 3, 3]
    assert client.counters["gathered"] == 2
    assert spent(tmp_path) == 9 * RATE


async def test_another_total_is_split_to_the_last_token(scripted: Scripted) -> None:
    """A provider that counts otherwise is believed; no token is lost and none is made up."""
    client = scripted.aclient()
    tasks = [asking(client, text) for text in ("one", "two", "three")]
    scripted.answer(reply(3, 11))
    await leave(scripted, *tasks)
    answers = await asyncio.gather(*tasks)
    assert sorted(a.usage.prompt_tokens for a in answers) == [3, 4, 4]
    assert sum(a.dure.cost_pico for a in answers) == 11 * RATE


async def test_one_alone_goes_as_it_came(scripted: Scripted) -> None:
    client = scripted.aclient()
    task = asking(client, "alone")
    scripted.answer(reply(1, 1))
    await leave(scripted, task)
    answer = await task
    assert sent(scripted) == ["alone"]
    assert (answer.dure.gathered, answer.dure.attempts) == (0, 1)


async def test_only_equal_questions_of_one_payer_go_together(scripted: Scripted) -> None:
    client = scripted.aclient()
    tasks = [
        asking(client, "a"),
        asking(client, "b", dimensions=8),
        asking(client, "c", dure.Call(org="other", gather=0.005)),
        asking(client, "d", dure.Call(org="acme", user="7", gather=0.005)),
        asking(client, "e", encoding_format="float"),
        asking(client, "f", dure.Call(org="acme", gather=0.005, max_cost="1")),  # goes alone
        asking(client, "g", dure.Call(org="acme")),  # likewise
        asking(client, "h", extra_headers={"x-team": "1"}),
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    assert sent(scripted) == ["f", "g"]
    for _ in tasks:
        scripted.answer(reply(1, 1))
    await leave(scripted)
    await asyncio.gather(*tasks)
    assert len(scripted.net.requests) == len(tasks)


async def test_the_least_patient_decides(scripted: Scripted) -> None:
    client = scripted.aclient()
    tasks = [asking(client, "a", dure.Call(gather=0.5)), asking(client, "b", dure.Call(gather=0.1))]
    scripted.answer(reply(2, 2))
    await leave(scripted, *tasks, after=0.1)
    await asyncio.gather(*tasks)
    assert len(scripted.net.requests) == 1


async def test_a_full_request_leaves_at_once(scripted: Scripted) -> None:
    client = scripted.aclient()
    many = [f"t{n}" for n in range(2000)]
    tasks = [asking(client, many), asking(client, ["x"] * 49)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert [len(one) for one in sent(scripted)] == [2000], "2,048 inputs are the most"
    scripted.answer(reply(2000, 4000))
    scripted.answer(reply(49, 49))
    await leave(scripted)
    first, second = await asyncio.gather(*tasks)
    assert (len(first.data), len(second.data)) == (2000, 49)


async def test_a_bad_input_fails_its_caller_alone(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    texts = [f"text {n}" for n in range(8)]
    tasks = [asking(client, text) for text in texts]
    await leave(scripted, *tasks)
    answered = 0
    while scripted.net.open:
        asked = sent(scripted)[answered]
        answered += 1
        asked = [asked] if isinstance(asked, str) else asked
        if "text 5" in asked:
            scripted.answer({"error": {"message": "bad", "param": "input"}}, status=400)
        else:
            scripted.answer(reply(len(asked), 2 * len(asked)))
        scripted.net.pump()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [n for n, one in enumerate(got) if isinstance(one, errors.UpstreamError)]
    assert failed == [5]
    assert len(scripted.net.requests) == 7, "all, halves, quarters, eighths"
    good = [one for one in got if not isinstance(one, BaseException)]
    assert sum(one.dure.cost_pico for one in good) == spent(tmp_path) == 14 * RATE


async def test_what_fits_apart_is_not_refused_together(scripted: Scripted) -> None:
    client = scripted.aclient()
    await client.budgets.set("org:acme", limit="0.00000004", window="lifetime")  # two tokens
    tasks = [asking(client, text) for text in ("a", "b", "c")]
    scripted.answer(reply(1, 1))
    scripted.answer(reply(1, 1))
    await leave(scripted, *tasks)
    while scripted.net.open:
        scripted.answer(reply(1, 1))
        scripted.net.pump()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, errors.BudgetExceededError) for one in got) == 1


async def test_a_failure_of_the_provider_is_everybodys(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient(max_retries=0)
    call = dure.Call(gather=0.005, max_attempts=1)
    tasks = [asking(client, text, call) for text in ("a", "b")]
    scripted.answer({}, status=500)
    await leave(scripted, *tasks)
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, errors.UpstreamError) for one in got)
    assert len(scripted.net.requests) == 1
    spent(tmp_path)


async def test_a_reply_with_a_missing_row_is_nobodys(scripted: Scripted) -> None:
    client = scripted.aclient()
    for wrong in (reply(1, 2), reply(3, 2), {**reply(2, 2), "data": [reply(1, 1)["data"][0]] * 2}):
        tasks = [asking(client, text) for text in ("a", "b")]
        scripted.answer(wrong)
        await leave(scripted, *tasks)
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, errors.UpstreamError) for one in got), wrong


async def test_whoever_leaves_harms_nobody(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    early, late, stays = (asking(client, text) for text in ("early", "late", "stays"))
    for _ in range(3):
        await asyncio.sleep(0)
    early.cancel()
    await asyncio.sleep(0)
    await leave(scripted, late, stays)
    assert sent(scripted) == [["late", "stays"]]
    late.cancel()
    await asyncio.sleep(0)
    assert scripted.net.open == 1, "somebody waits yet"
    scripted.answer(reply(2, 2))
    scripted.net.pump()
    assert (await stays).vectors[:, 0].tolist() == [1.0], "its own row, not the first"
    alone = asking(client, "alone")
    await leave(scripted, alone)
    alone.cancel()
    await asyncio.sleep(0)
    scripted.net.pump()
    assert scripted.net.open == 0, "nobody waits: the request is cancelled"
    spent(tmp_path)


async def test_everybodys_time_is_his_own(scripted: Scripted) -> None:
    client = scripted.aclient()
    hasty = asking(client, "a", dure.Call(org="acme", gather=0.005, deadline=1))
    patient = asking(client, "b")
    await leave(scripted, hasty, patient)
    scripted.clock.advance(1)
    scripted.net.pump()
    with pytest.raises(errors.DeadlineError):
        await hasty
    scripted.answer(reply(2, 2))
    scripted.net.pump()
    assert (await patient).vectors[:, 0].tolist() == [1.0]


async def test_equal_ones_are_one_and_all_go_together(scripted: Scripted) -> None:
    client = scripted.aclient()
    tasks = [asking(client, f"text {n % 4}") for n in range(64)]
    scripted.answer(reply(4, 8))
    await leave(scripted, *tasks)
    answers = await asyncio.gather(*tasks)
    assert len(scripted.net.requests) == 1
    assert len(sent(scripted)[0]) == 4
    assert [a.vectors[0, 0] for a in answers] == [n % 4 for n in range(64)]


async def test_a_map_gathers_too(scripted: Scripted) -> None:
    client = scripted.aclient()
    requests = [{"model": MODEL, "input": f"t{n}", "dure": SOON} for n in range(6)]
    task = asyncio.create_task(client.map(requests, to="embeddings"))
    scripted.answer(reply(6, 12))
    await leave(scripted, task)
    rows = await task
    assert [row.vectors[0, 0] for row in rows] == list(range(6))  # type: ignore[union-attr]
    assert len(scripted.net.requests) == 1


def test_the_wait_is_checked() -> None:
    for wrong in (0, -1, 2, True):
        with pytest.raises(errors.InvalidArgumentError) as refused:
            dure.Call(gather=wrong)
        assert refused.value.argument == "gather"
