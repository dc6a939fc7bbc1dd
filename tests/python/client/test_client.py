"""The client's face on a scripted network: shapes, errors, streams, batches."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import calls, errors
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from .conftest import CHAT, HELLO, SSE, STOP, USAGE, Scripted, delta, events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

COST = 8 * 150_000 + 2 * 600_000  # pico-dollars


def sent(scripted: Scripted, index: int = -1) -> dict[str, Any]:
    body = scripted.net.requests[index]["body"]
    assert isinstance(body, bytes)
    parsed: dict[str, Any] = json.loads(body)
    return parsed


def test_answer_has_the_shape_of_openais(scripted: Scripted) -> None:
    scripted.answer(headers=[("x-request-id", "req_7")])
    ours = scripted.client().chat.completions.create(**HELLO)
    theirs = ChatCompletion.model_validate(CHAT)
    assert ours.choices[0].message.content == theirs.choices[0].message.content
    assert ours.choices[0].finish_reason == theirs.choices[0].finish_reason
    assert ours.choices[0].message.tool_calls is None
    assert ours.usage.prompt_tokens == 8
    assert ours.usage.prompt_tokens_details.cached_tokens == 0
    assert ours.model == theirs.model
    assert ours._request_id == "req_7"
    assert ours.model_dump() == CHAT
    assert json.loads(ours.model_dump_json()) == CHAT
    assert ours.to_dict()["id"] == theirs.id
    assert ChatCompletion.model_validate(ours.model_dump()) == theirs
    with pytest.raises(AttributeError, match="no_such"):
        ours.no_such  # noqa: B018
    assert pickle.loads(pickle.dumps(ours)).model_dump() == CHAT
    assert "안녕" in repr(ours)


def test_facts_say_what_the_call_came_to(scripted: Scripted) -> None:
    scripted.answer()
    facts = scripted.client(api_key="sk-secret").chat.completions.create(**HELLO).dure
    assert facts.cost_pico == COST
    assert facts.cost_usd == Decimal(COST).scaleb(-12)
    assert (facts.attempts, facts.retries, facts.cached, facts.estimated) == (1, 0, False, False)
    assert facts.model == "gpt-4o-mini"
    assert "secret" not in repr(facts.to_dict())


def test_key_travels_in_its_header_and_is_never_shown(scripted: Scripted) -> None:
    scripted.answer({"error": {"message": "wrong key sk-secret"}}, status=401)
    client = scripted.client(api_key="sk-secret")
    with pytest.raises(errors.UpstreamError) as caught:
        client.chat.completions.create(**HELLO)
    headers = scripted.net.requests[0]["headers"]
    assert ("Authorization", "Bearer sk-secret") in headers
    assert "sk-secret" not in f"{caught.value} {caught.value.to_dict()} {client!r}"


def test_a_key_echoed_anywhere_in_an_error_is_taken_out(scripted: Scripted) -> None:
    echo = dict.fromkeys(("message", "code", "type", "param"), "no sk-secret")
    scripted.answer({"error": echo}, status=401, headers=[("x-request-id", "req sk-secret")])
    with pytest.raises(errors.UpstreamError) as caught:
        scripted.client(api_key="sk-secret").chat.completions.create(**HELLO)
    assert "sk-secret" not in f"{caught.value} {caught.value.to_dict()} {caught.value!r}"


def test_no_key_is_refused_for_other_machines(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(errors.InvalidArgumentError, match="OPENAI_API_KEY"):
        scripted.client(base_url="https://api.openai.com/v1")
    with pytest.raises(errors.InvalidArgumentError, match="base_url"):
        scripted.client(base_url="ftp://127.0.0.1")


SECRETS = [
    "sk-SECRET\ud800",
    "sk-SECRET\udcff",
    "sk-SECRET\0",
    "sk-\nSECRET",
    "sk-\tSECRET",
    "sk-SECRETé",
]


@pytest.mark.parametrize(
    "key", [*SECRETS, b"sk-SECRET", 5, [b"sk-SECRET"], ["sk-fine", "sk-SECRET\ud800"]]
)
def test_a_key_that_no_header_can_carry_is_refused_unseen(scripted: Scripted, key: object) -> None:
    for make in (scripted.client, scripted.aclient):
        with pytest.raises(errors.InvalidArgumentError) as caught:
            make(api_key=key)
        assert caught.value.argument == "api_key"
        assert caught.value.__context__ is None
        assert "SECRET" not in f"{caught.value} {caught.value.to_dict()} {caught.value!r}"


def test_a_key_with_a_space_inside_goes_as_it_is(scripted: Scripted) -> None:
    scripted.answer()
    scripted.client(api_key=" My API Key ").chat.completions.create(**HELLO)
    assert ("Authorization", "Bearer My API Key") in scripted.net.requests[0]["headers"]


def test_a_key_of_the_environment_is_checked_too(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-SECRET\udcff")
    with pytest.raises(errors.InvalidArgumentError, match="OPENAI_API_KEY") as caught:
        scripted.client(api_key=None)
    assert "SECRET" not in repr(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"organization": 5},
        {"project": "\ud800"},
        {"base_url": b"http://127.0.0.1"},
        {"proxy": 5},
        {"default_headers": {"Authorization": "Bearer sk-SECRET\udcff"}},
        {"default_headers": {"x": 5}},
    ],
)
def test_no_wrong_argument_brings_the_keys_to_light(
    scripted: Scripted, wrong: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        scripted.client(api_key="sk-SECRET", **wrong)
    assert caught.value.argument in wrong
    assert caught.value.__context__ is None
    assert "SECRET" not in f"{caught.value} {caught.value.to_dict()} {caught.value!r}"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": [{"role": "user", "content": "x\ud800"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}], "temperature": math.nan}, "temperature"),
        ({"messages": [{"role": "user", "content": {1, 2}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {5: "x"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}], "seed": 2**64}, "seed"),
    ],
)
def test_what_json_cannot_carry_is_named(
    scripted: Scripted, body: dict[str, Any], path: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        scripted.client().chat.completions.create(model="gpt-4o-mini", **body)
    assert caught.value.path is not None
    assert caught.value.path.startswith(path)
    assert scripted.net.requests == []


def test_body_that_holds_itself_is_refused(scripted: Scripted) -> None:
    loop: dict[str, Any] = {"role": "user"}
    loop["content"] = [loop]
    with pytest.raises(errors.InvalidArgumentError, match="256"):
        scripted.client().chat.completions.create(model="gpt-4o", messages=[loop])


def test_big_numbers_and_our_own_objects_are_written(scripted: Scripted) -> None:
    scripted.answer()
    first = scripted.client().chat.completions.create(**HELLO)
    scripted.answer()
    scripted.client().chat.completions.create(
        model="gpt-4o-mini",
        messages=[*HELLO["messages"], first.choices[0].message],
        seed=2**64 - 1,
        metadata={"a": 1.5, "b": [True, None]},
    )
    body = sent(scripted)
    assert body["messages"][1]["content"] == "안녕 hello"
    assert body["seed"] == 2**64 - 1
    assert body["metadata"] == {"a": 1.5, "b": [True, None]}


def test_provider_errors_carry_their_details(scripted: Scripted) -> None:
    error = {"message": "too big", "type": "invalid_request_error", "param": "n", "code": "c1"}
    scripted.answer({"error": error}, status=400, headers=[("x-request-id", "req_1")])
    with pytest.raises(errors.UpstreamError, match="too big") as caught:
        scripted.client().chat.completions.create(**HELLO)
    it = caught.value
    assert (it.status_code, it.request_id, it.code) == (400, "req_1", "c1")
    assert (it.param, it.type, it.http_status) == ("n", "invalid_request_error", 400)
    assert it.body == {"error": error}
    scripted.answer({"error": error}, status=429, headers=[("retry-after", "500")])
    with pytest.raises(errors.RateLimitError) as limited:
        scripted.client().chat.completions.create(**HELLO)
    assert limited.value.retry_after == 500


def test_local_refusals(scripted: Scripted) -> None:
    client = scripted.client()
    with pytest.raises(errors.InvalidModelError):
        client.chat.completions.create(model="nope", messages=HELLO["messages"])
    with pytest.raises(errors.InvalidModelError, match="not allowed for service StrategyBuilder"):
        client.chat.completions.create(
            model="o1-preview",
            messages=HELLO["messages"],
            dure=dure.Call(service="StrategyBuilder"),
        )
    with pytest.raises(errors.BudgetExceededError):
        client.chat.completions.create(**HELLO, dure=dure.Call(max_cost="0.000001"))
    assert scripted.net.requests == []


def test_max_cost_says_what_is_left(scripted: Scripted) -> None:
    with pytest.raises(errors.BudgetExceededError) as caught:
        scripted.client().chat.completions.create(**HELLO, dure=dure.Call(max_cost="0.000001"))
    assert caught.value.scope == "call"
    assert caught.value.left == Decimal("0.000001")


def test_call_checks_itself() -> None:
    for wrong in (
        {"max_attempts": 0},
        {"deadline": 0.0},
        {"max_cost": 0.5},
        {"max_cost": "-1"},
        {"max_cost": "1e-13"},
        {"priority": "x"},
        {"resend": "x"},
    ):
        with pytest.raises(errors.InvalidArgumentError):
            dure.Call(**wrong)
    for unfit in ({"cache": "yes"}, {"hedge": "yes"}, {"coalesce": 2}):
        with pytest.raises(errors.InvalidArgumentError):
            dure.Call(**unfit)
    assert calls.pico_of_dollars("0.02", argument="x") == 20_000_000_000


def test_stream_yields_chunks_and_hides_usage(scripted: Scripted) -> None:
    scripted.net.reply(events(delta("a"), delta("b"), STOP, USAGE, "[DONE]"), headers=SSE)
    with scripted.client().chat.completions.create(**HELLO, stream=True) as stream:
        chunks = list(stream)
    assert [c.choices[0].delta.content for c in chunks] == ["a", "b", None]
    ChatCompletionChunk.model_validate(chunks[0].model_dump())
    assert stream.dure is not None
    assert stream.dure.cost_pico == COST
    assert sent(scripted)["stream_options"] == {"include_usage": True}


async def test_async_stream_and_truncation(scripted: Scripted) -> None:
    scripted.net.reply(events(delta("hel"), delta("lo")), headers=SSE)
    stream = await scripted.aclient().chat.completions.create(**HELLO, stream=True)
    seen: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)  # noqa: PERF401 - raises half-way

    with pytest.raises(errors.TruncatedStreamError) as caught:
        await read()
    assert seen == ["hel", "lo"]
    assert caught.value.text == "hello"
    assert stream.dure is not None
    assert stream.dure.estimated


async def test_status_of_a_stream_is_raised_by_create(scripted: Scripted) -> None:
    scripted.answer({"error": {"message": "no"}}, status=400)
    with pytest.raises(errors.UpstreamError):
        await scripted.aclient().chat.completions.create(**HELLO, stream=True)


async def test_cancel_settles_the_hold(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    task = asyncio.create_task(client.chat.completions.create(**HELLO))
    await asyncio.sleep(0)
    assert scripted.net.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scripted.net.open == 0
    scripted.net.reply(events(delta("hello ")), headers=SSE, end="hang")
    stream = await client.chat.completions.create(**HELLO, stream=True)
    await stream.close()
    assert scripted.net.open == 0
    scripted.net.reply(events(delta("hello ")), headers=SSE, end="hang")
    stream = await client.chat.completions.create(**HELLO, stream=True)
    del stream  # dropped: its hold ends too
    assert scripted.net.open == 0
    report = dure.verify_ledger(tmp_path)
    assert report.ok
    assert report.open_holds == 0


async def test_map_keeps_order_and_failures_in_their_slots(scripted: Scripted) -> None:
    client = scripted.aclient()
    scripted.net.reply([json.dumps({**CHAT, "id": "0"})])
    scripted.answer({"error": {"message": "no"}}, status=400)
    scripted.net.reply(events(delta("wh"), delta("ole"), STOP, USAGE, "[DONE]"), headers=SSE)
    seen: list[tuple[int, int | None, str]] = []
    results = await client.map(
        [
            HELLO,
            HELLO,
            {**HELLO, "messages": [{"role": "user", "content": math.inf}]},
            {**HELLO, "stream": True},
            {**HELLO, "model": "nope"},
        ],
        1,
        progress=lambda *state: seen.append(state),
    )
    assert [type(r).__name__ for r in results] == [
        "ChatCompletion",
        "UpstreamError",
        "InvalidArgumentError",
        "ChatCompletion",
        "InvalidModelError",
    ]
    assert results[3].choices[0].message.content == "whole"  # type: ignore[union-attr]
    ChatCompletion.model_validate(results[3].model_dump())  # type: ignore[union-attr]
    assert seen[-1] == (5, 5, "requests")
    assert await client.map([]) == []
    with pytest.raises(errors.InvalidArgumentError):
        await client.map([HELLO], 0)


async def test_a_closed_client_refuses_every_call(scripted: Scripted) -> None:
    client = scripted.aclient()
    view = client.with_options(timeout=5)
    await client.close()
    await client.close()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.chat.completions.create(**HELLO),
        lambda: client.chat.completions.create(**HELLO, stream=True),
        lambda: client.embeddings.create(model="text-embedding-3-small", input="a"),
        client.models.list,
        lambda: client.post("/chat/completions", body=HELLO),
        lambda: client.get("/models"),
        lambda: client.map([HELLO]),
        lambda: client.map([]),
        lambda: client.map_raw([b"{}"]),
    ]
    for call in calls:
        with pytest.raises(errors.UnavailableError, match="this client is closed: make a new one"):
            await call()
    for here in (lambda: client.with_options(timeout=1), lambda: client.budgets):
        with pytest.raises(errors.UnavailableError):
            here()
    assert scripted.net.requests == []
    scripted.answer()
    await view.chat.completions.create(**HELLO)  # closed on its own
    async with view:
        pass
    with pytest.raises(errors.UnavailableError):
        await view.chat.completions.create(**HELLO)


def test_a_sync_client_is_closed_by_its_block(scripted: Scripted) -> None:
    scripted.answer()
    with scripted.client() as client:
        client.chat.completions.create(**HELLO)
    with pytest.raises(errors.UnavailableError, match="closed"):
        client.chat.completions.create(**HELLO)
    scripted.answer()
    scripted.client().chat.completions.create(**HELLO)  # the native one is shared and lives


async def test_a_stream_outlives_the_close_of_its_client(scripted: Scripted) -> None:
    scripted.net.reply(events(delta("a"), delta("b"), STOP, USAGE, "[DONE]"), headers=SSE)
    async with scripted.aclient() as client:
        stream = await client.chat.completions.create(**HELLO, stream=True)
    text = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
    assert text[:2] == ["a", "b"]


async def test_closing_a_client_ends_the_streams_that_nobody_reads(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted.net.reply(events(delta("a"), delta("b")), headers=SSE, end="hang")
    async with scripted.aclient() as client:
        stream = await client.chat.completions.create(**HELLO, stream=True)
        async for _chunk in stream:
            break
        assert dure.verify_ledger(tmp_path).open_holds == 1
    assert scripted.net.open == 0
    assert dure.verify_ledger(tmp_path).open_holds == 0
    assert (await anext(stream)).choices[0].delta.content == "b"  # it had come
    with pytest.raises(errors.UnavailableError, match="closed") as caught:
        await anext(stream)
    assert caught.value.stage == "closed"
    scripted.net.reply(events(delta("a")), headers=SSE, end="hang")
    with scripted.client() as client_now:
        left = client_now.chat.completions.create(**HELLO, stream=True)
    assert scripted.net.open == 0
    assert next(left).choices[0].delta.content == "a"
    with pytest.raises(errors.UnavailableError, match="closed"):
        next(left)


class Deep:
    """Says what it is made of by asking itself again."""

    def to_dict(self) -> dict[str, object]:
        return {"inside": self.to_dict()}


def test_nesting_without_end_is_named_by_its_place(scripted: Scripted) -> None:
    deep: object = "x"
    for _ in range(100_000):
        deep = {"a": deep}
    client = scripted.client()
    for content in (deep, Deep()):
        with pytest.raises(errors.InvalidArgumentError, match="nested") as caught:
            client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": content}]
            )
        assert caught.value.path is not None
        assert caught.value.path.startswith("messages[0].content")
        assert len(str(caught.value)) < 300
    key: object = "x"
    for _ in range(200):
        key = (key,)
    with pytest.raises(errors.InvalidArgumentError, match="no text"):
        client.chat.completions.create(**HELLO, metadata={key: 1})
    assert scripted.net.requests == []


def test_usage_alone_equals_usage_of_the_whole(scripted: Scripted) -> None:
    client = scripted.client()
    scripted.answer()
    answer = client.chat.completions.create(**HELLO)
    first = answer.usage
    assert first.prompt_tokens == 8
    assert answer.usage is first
    assert answer.model_dump()["usage"] == first.to_dict() == CHAT["usage"]
    scripted.answer()
    other = client.chat.completions.create(**HELLO)
    assert other.model_dump() == answer.model_dump()
    assert other.usage == first
    scripted.net.reply([json.dumps({"choices": []})])
    assert client.chat.completions.create(**HELLO).usage is None


def test_an_answer_with_an_impossible_usage_is_kept(scripted: Scripted) -> None:
    for odd in (2**64, -3):
        scripted.net.reply([json.dumps({**CHAT, "usage": {"prompt_tokens": odd}})])
        answer = scripted.client().chat.completions.create(**HELLO, max_tokens=16)
        assert answer.choices[0].message.content == "안녕 hello"
        assert "possible_spend" in answer.dure.flags
        assert answer.dure.cost_pico >= 16 * 600_000


def test_an_unknown_parameter_is_refused_with_the_nearest_name(scripted: Scripted) -> None:
    client = scripted.client()
    with pytest.raises(errors.InvalidArgumentError) as wrong:
        client.chat.completions.create(**HELLO, temprature=3)
    assert wrong.value.argument == "temprature"
    for word in ("'temprature'", "'temperature'", "extra_body="):
        assert word in str(wrong.value)
    with pytest.raises(errors.InvalidArgumentError, match="'dimensions'"):
        client.embeddings.create(model="text-embedding-3-small", input="a", dimension=3)
    with pytest.raises(errors.InvalidArgumentError, match="'timeout'"):
        client.chat.completions.create(**HELLO, time_out=3)
    assert scripted.net.requests == []
    scripted.answer()
    client.chat.completions.create(**HELLO, temperature=99, extra_body={"top_k": 5})
    assert (sent(scripted)["temperature"], sent(scripted)["top_k"]) == (99, 5)


async def test_map_refuses_bad_requests_in_their_slots(scripted: Scripted) -> None:
    scripted.answer()
    scripted.answer()
    seen: list[tuple[int, int | None, str]] = []
    results = await scripted.aclient().map(
        [
            {**HELLO, "temprature": 3},
            {**HELLO, "extra_body": {"top_k": 5}},
            {**HELLO, "timeout": -1},
            HELLO,
            {**HELLO, "extra_headers": {}},
        ],
        1,
        progress=lambda *state: seen.append(state),
    )
    names = [type(r).__name__ for r in results]
    assert names == [
        "InvalidArgumentError",
        "ChatCompletion",
        "InvalidArgumentError",
        "ChatCompletion",
        "InvalidArgumentError",
    ]
    first = results[0]
    assert isinstance(first, errors.InvalidArgumentError)
    assert (first.argument, first.path) == ("temprature", "requests[0]")
    assert sent(scripted, 0)["top_k"] == 5
    assert seen[-1] == (5, 5, "requests")
    (vector,) = await scripted.aclient().map([{"inputs": "a"}], to="embeddings")
    assert isinstance(vector, errors.InvalidArgumentError)


async def test_ask_and_aask_name_their_twin(scripted: Scripted, tmp_path: Path) -> None:
    nowhere = tmp_path / "no store is opened for that"
    with pytest.raises(errors.InvalidArgumentError, match=r"use await dure\.aask"):
        dure.ask("salt?", store=nowhere, client=scripted.aclient())  # type: ignore[call-overload]
    with pytest.raises(errors.InvalidArgumentError, match=r"use dure\.ask"):
        await dure.aask("salt?", store=nowhere, client=scripted.client())  # type: ignore[arg-type]


def test_dollars_have_one_form(scripted: Scripted) -> None:
    scripted.answer()
    facts = scripted.client().chat.completions.create(**HELLO).dure
    assert str(facts.cost_usd) == "0.0000024"
    assert facts.cost_pico == 2_400_000
    over = errors.BudgetExceededError("no", left_units=500_000_000_000)
    assert str(over.left) == "0.5"


def test_map_raw_is_bytes_in_bytes_out(scripted: Scripted) -> None:
    scripted.answer()
    scripted.answer({"error": {"message": "no"}}, status=404)
    good, bad = scripted.client().map_raw([json.dumps(HELLO).encode()] * 2, 1)
    assert isinstance(good, bytes)
    assert json.loads(good) == CHAT
    assert isinstance(bad, errors.UpstreamError)


def test_map_raw_refuses_a_key_that_is_there_twice(scripted: Scripted) -> None:
    body = json.dumps(HELLO)[1:].encode()
    for first, path in (
        (b'"model":"gpt-4",', "model"),
        (b'"mod\\u0065l":"gpt-4",', "model"),
        (b'"max_tokens":1,"max_tokens":9000,', "max_tokens"),
        (b'"x":{"y":1,"y":2},', "x.y"),
    ):
        (answer,) = scripted.client().map_raw([b"{" + first + body])
        assert isinstance(answer, errors.InvalidArgumentError)
        assert answer.path == path
        assert f"the key {path} is there twice" in str(answer)
    assert scripted.net.requests == []


async def test_cancelled_map_cancels_what_runs(scripted: Scripted) -> None:
    task = asyncio.create_task(scripted.aclient().map([HELLO] * 5, 2))
    await asyncio.sleep(0)
    assert scripted.net.open == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scripted.net.open == 0


def embedding_reply(rows: list[tuple[int, object]]) -> dict[str, Any]:
    return {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": i, "embedding": e} for i, e in rows],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }


def test_embeddings_travel_as_base64(scripted: Scripted) -> None:
    scripted.answer(embedding_reply([(1, "AAAAQA=="), (0, "AACAPw==")]))
    r = scripted.client().embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert sent(scripted)["encoding_format"] == "base64"
    assert [d.embedding for d in r.data] == [[1.0], [2.0]]
    assert r.vectors.tolist() == [[1.0], [2.0]]
    assert str(r.vectors.dtype) == "float32"
    assert r.dure.cost_pico == 2 * 20_000
    scripted.answer(embedding_reply([(0, "AACAPw==")]))
    with pytest.raises(errors.UpstreamError, match="1 vectors for 2 inputs"):
        scripted.client().embeddings.create(model="text-embedding-3-small", input=["a", "b"])


def test_client_embedder_packs_and_checks(scripted: Scripted) -> None:
    embedder = dure.ClientEmbedder("text-embedding-3-small", client=scripted.client(), dimensions=1)
    scripted.answer(embedding_reply([(0, "AACAPw=="), (1, "AAAAQA==")]))
    assert embedder.embed_documents(["a", "b"]).tolist() == [[1.0], [2.0]]
    assert sent(scripted)["dimensions"] == 1
    assert embedder.embed_documents([]).shape == (0, 1)
    with pytest.raises(errors.InvalidArgumentError) as caught:
        embedder.embed_documents(["a", ""])
    assert caught.value.path == "texts[1]"
    packs = embedder._packs(["a"] * 2049 + ["word " * 8000] * 38)
    assert [len(pack) for pack in packs] == [2048, 38, 1]
    assert [i for pack in packs for i in pack] == list(range(2087))


async def test_queries_of_many_tasks_share_requests(scripted: Scripted) -> None:
    embedder = dure.ClientEmbedder("text-embedding-3-small", client=scripted.client(), dimensions=1)
    rows: list[tuple[int, object]] = [(i, [float(i)]) for i in range(64)]
    scripted.answer(embedding_reply(rows))
    asked = [embedder.aembed_query(f"question {i}") for i in range(64)]
    wrong = embedder.aembed_query("")
    again = embedder.aembed_query("question 7")
    given: list[Any] = await asyncio.gather(*asked, wrong, again, return_exceptions=True)
    *got, refused, seventh = given
    assert [row.tolist() for row in got] == [[float(i)] for i in range(64)]
    assert isinstance(refused, errors.InvalidArgumentError)
    assert seventh.tolist() == [7.0]
    assert len(scripted.net.requests) == 1
    assert sent(scripted)["input"] == [f"question {i}" for i in range(64)]

    scripted.answer({"error": {"message": "no", "param": "model"}}, status=400)
    failed = await asyncio.gather(
        *(embedder.aembed_query(text) for text in "ab"), return_exceptions=True
    )
    assert all(isinstance(one, errors.UpstreamError) for one in failed)
    scripted.answer(embedding_reply([(0, [5.0])]))
    task = asyncio.create_task(embedder.aembed_query("left"))
    kept = asyncio.create_task(embedder.aembed_query("kept"))
    await asyncio.sleep(0)
    task.cancel()
    assert (await kept).tolist() == [5.0]
    assert task.cancelled()
    assert sent(scripted)["input"] == ["kept"]


async def test_client_embedder_finds_the_text_that_is_refused(scripted: Scripted) -> None:
    embedder = dure.ClientEmbedder("text-embedding-3-small", client=scripted.client(), dimensions=1)
    refusal = {"error": {"message": "bad input", "type": "invalid_request_error", "param": "input"}}
    row = (0, "AACAPw==")
    scripted.answer(refusal, status=400)  # a b c d
    scripted.answer(embedding_reply([row, (1, "AACAPw==")]))  # a b
    scripted.answer(refusal, status=400)  # c d
    scripted.answer(refusal, status=400)  # c
    scripted.answer(embedding_reply([row]))  # d
    got = await embedder.aembed_each(["a", "b", "c", "d"])
    assert [isinstance(one, errors.UpstreamError) for one in got] == [False, False, True, False]
    asked = [sent(scripted, i)["input"] for i in range(len(scripted.net.requests))]
    assert asked == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"], ["c"], ["d"]]

    scripted.answer(refusal, status=400)
    scripted.answer(embedding_reply([row]))
    scripted.answer(refusal, status=400)
    with pytest.raises(errors.UpstreamError, match="bad input") as caught:
        embedder.embed_documents(["a", "b"])
    assert caught.value.__notes__ == ["texts[1]"]

    wrong = {"error": {"message": "no such size", "param": "dimensions"}}
    scripted.answer(wrong, status=400)  # not the texts: asked once
    got = embedder.embed_each(["a", "b"])
    assert all(isinstance(one, errors.UpstreamError) for one in got)
    assert len(scripted.net.requests) == 9


def test_generate_and_stream_shortcuts(scripted: Scripted) -> None:
    scripted.answer()
    assert dure.generate("hi", client=scripted.client()) == "안녕 hello"
    scripted.net.reply(events(delta("a"), delta("b"), STOP, "[DONE]"), headers=SSE)
    assert list(dure.stream("hi", client=scripted.client())) == ["a", "b"]


def test_timeouts_are_checked() -> None:
    assert calls.Timeout(total=None).total is None
    with pytest.raises(errors.InvalidArgumentError):
        calls.Timeout(connect=0)


async def test_budgets_refuse_before_anything_is_sent(scripted: Scripted) -> None:
    client = scripted.aclient()
    await client.budgets.set("org:acme", limit="0.000001", window="lifetime")
    with pytest.raises(errors.BudgetExceededError) as caught:
        await client.chat.completions.create(**HELLO, dure=dure.Call(org="acme"))
    assert caught.value.scope == "org:acme"
    assert scripted.net.requests == []
