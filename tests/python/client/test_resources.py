"""What is beside chat and embeddings, against a real server; openai-python is the oracle."""

from __future__ import annotations

import inspect
import io
import json
import operator
from typing import TYPE_CHECKING, Any

import dure
import openai
import pydantic
import pytest
from dure._dollars import to_dollars
from dure.aio.structured import what_is_left
from dure.calls.multipart import multipart
from dure.calls.parameters import PARAMETERS
from dure.calls.paths import is_free, is_metered
from dure.calls.schemas import response_format_of
from dure.testing import upstream
from dure.testing.upstream.more import form_fields

from .conftest import CHAT, HELLO, Scripted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREE = dure.Call(metered=False)
ASK: dict[str, Any] = {"model": "gpt-4o-mini", "input": "Who keeps the account?"}


@pytest.fixture(scope="module")
def server() -> Iterator[upstream.Upstream]:
    with upstream.start(seed=3) as running:
        yield running


@pytest.fixture
def client(server: upstream.Upstream, tmp_path: Path) -> dure.Client:
    return dure.Client(base_url=server.url, data=tmp_path)


@pytest.fixture
def aclient(server: upstream.Upstream, tmp_path: Path) -> dure.AsyncClient:
    return dure.AsyncClient(base_url=server.url, data=tmp_path)


# Responses


def test_a_response_is_shaped_and_billed(client: dure.Client, tmp_path: Path) -> None:
    answer = client.responses.create(**ASK, instructions="Be brief.", max_output_tokens=50)
    oracle = openai.types.responses.Response.model_construct(**answer.model_dump())
    assert oracle.status == answer.status == "completed"
    assert answer.output_text == answer.output[0].content[0].text != ""
    assert answer._request_id.startswith("req_")
    assert answer.previous_response_id is None
    assert answer.dure.cost_pico == dure.cost(answer, model="gpt-4o-mini").pico > 0
    assert dure.verify_ledger(tmp_path).spent_pico == answer.dure.cost_pico


async def test_a_streamed_response_says_the_same_and_costs_the_same(
    aclient: dure.AsyncClient, tmp_path: Path
) -> None:
    whole = await aclient.responses.create(**ASK)
    kinds, text = [], ""
    async with await aclient.responses.create(**ASK, stream=True) as stream:
        async for event in stream:
            kinds.append(event.type)
            text += event.delta if event.type == "response.output_text.delta" else ""
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert text == whole.output_text
    assert stream.dure is not None
    assert stream.dure.cost_pico == whole.dure.cost_pico
    assert dure.verify_ledger(tmp_path).spent_pico == 2 * whole.dure.cost_pico


def test_a_cut_response_is_an_error_with_its_text(tmp_path: Path) -> None:
    with upstream.start(faults={"cut": 1.0}) as broken:
        client = dure.Client(base_url=broken.url, data=tmp_path)
        with pytest.raises(dure.errors.TruncatedStreamError) as cut:
            list(client.responses.create(**ASK, stream=True))
    assert cut.value.text
    report = dure.verify_ledger(tmp_path)
    assert report.open_holds == 0
    assert report.spent_pico > 0


def test_what_cannot_be_held_is_refused(client: dure.Client) -> None:
    with pytest.raises(dure.errors.InvalidArgumentError, match="background"):
        client.responses.create(**ASK, background=True)
    with pytest.raises(dure.errors.InvalidArgumentError, match="max_output_tokens"):
        client.responses.create(**ASK, max_output_token=5)
    with pytest.raises(dure.errors.BudgetExceededError):
        client.responses.create(**ASK, dure=dure.Call(max_cost="0.0000001"))


def test_a_query_does_not_hide_a_call_from_the_account(client: dure.Client) -> None:
    plain = client.chat.completions.create(**HELLO)
    assert client.chat.completions.create(**HELLO, extra_query={"a": "b"}).dure.cost_pico == (
        plain.dure.cost_pico
    )
    assert client.post("/chat/completions?a=b", body=HELLO).dure.cost_pico == plain.dure.cost_pico


# What needs a price


def test_an_unknown_price_is_refused_and_a_named_one_is_held(
    client: dure.Client, server: upstream.Upstream, tmp_path: Path
) -> None:
    before = len(server.log())
    with pytest.raises(dure.errors.UnknownPriceError, match="price="):
        client.images.generate(model="dall-e-3", prompt="a hand")
    assert len(server.log()) == before
    client.budgets.set("org:acme", limit="0.05", window="day")
    named = dure.Call(org="acme", price="0.04")
    image = client.images.generate(model="gpt-image-1", prompt="a hand", dure=named)
    assert image.data[0].b64_json.startswith("iVBOR")
    assert str(image.dure.cost_usd) == "0.04"
    assert dure.verify_ledger(tmp_path).spent_pico == 40_000_000_000
    with pytest.raises(dure.errors.BudgetExceededError):
        client.images.generate(model="gpt-image-1", prompt="a hand", dure=named)
    dear = dure.Call(price="0.04", max_cost="0.01")
    with pytest.raises(dure.errors.BudgetExceededError, match="max_cost"):
        client.images.generate(model="gpt-image-1", prompt="a hand", dure=dear)


def test_a_raw_post_is_never_free_unawares(
    client: dure.Client, server: upstream.Upstream, tmp_path: Path
) -> None:
    image = {"model": "dall-e-3", "prompt": "a hand"}
    before = len(server.log())
    for path in ("/images/generations", "images/generations/", "/nobody/knows"):
        with pytest.raises(dure.errors.UnknownPriceError, match="price="):
            client.post(path, body=image)
        with pytest.raises(dure.errors.UnknownPriceError):
            client.map_raw([b"{}"], path=path)
    assert len(server.log()) == before
    named = client.post("/images/generations", body=image, dure=dure.Call(price="0.04"))
    assert str(named.dure.cost_usd) == "0.04"
    assert named.json()["data"]
    outside = client.post("/images/generations", body=image, dure=dure.Call(metered=False))
    assert outside.dure.cost_pico == 0
    assert client.post("/moderations", body={"input": "x"}).dure.cost_pico == 0
    assert client.post("chat/completions", body=HELLO).dure.cost_pico > 0
    assert dure.verify_ledger(tmp_path).spent_pico > 40_000_000_000


@pytest.mark.parametrize(
    ("faults", "spent"),
    [({}, 40), ({"500": 1.0}, 40), ({"reset": 1.0}, 40), ({"429": 1.0}, 0), ({"503": 1.0}, 0)],
)
def test_a_named_price_is_settled_by_how_the_call_ends(
    faults: dict[str, float], spent: int, tmp_path: Path
) -> None:
    with upstream.start(faults=faults) as running:
        client = dure.Client(base_url=running.url, data=tmp_path, max_retries=0)
        call = dure.Call(price="0.04", max_attempts=1)
        try:
            client.images.generate(model="gpt-image-1", prompt="a hand", dure=call)
        except dure.DureError:
            assert faults
    report = dure.verify_ledger(tmp_path)
    assert (report.open_holds, report.spent_pico) == (0, spent * 10**9)


DIES_IN_THE_BLOCK = """
import os, sys
from dure import _core
from dure.calls import Call
from dure.calls.fixed_price import FixedPrice
account = _core.money.Account.shared(sys.argv[1])
with FixedPrice(account, Call(org="acme", price="0.04"), "tts-1"):
    os.kill(os.getpid(), 9)
"""


def test_a_named_price_is_spent_by_a_process_that_dies_on_the_wire(tmp_path: Path) -> None:
    """The provider may have served it: nobody knows, so it is not free."""
    import subprocess
    import sys

    arguments = [sys.executable, "-c", DIES_IN_THE_BLOCK, str(tmp_path)]
    assert subprocess.run(arguments, check=False, timeout=120).returncode == -9
    client = dure.Client(base_url="http://127.0.0.1:9/v1", data=tmp_path)
    client.budgets.set("org:acme", limit=1, window="lifetime")  # who looks settles for the dead
    report = dure.verify_ledger(tmp_path)
    assert (report.ok, report.open_holds, report.spent_pico) == (True, 0, 40 * 10**9)


@pytest.mark.parametrize("spelling", ["gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"])
def test_a_named_price_counts_for_the_model_in_any_spelling(
    spelling: str, server: upstream.Upstream, tmp_path: Path
) -> None:
    client = dure.Client(base_url=server.url, api_key="sk-one", data=tmp_path)
    client.budgets.set("model:gpt-4o-mini", limit="0.05", window="lifetime")
    image: dict[str, Any] = {"model": spelling, "prompt": "a hand", "dure": dure.Call(price="0.04")}
    client.images.generate(**image)
    with pytest.raises(dure.errors.BudgetExceededError) as refused:
        client.images.generate(**image)
    assert refused.value.scope == "model:gpt-4o-mini"


def test_a_named_price_counts_for_its_key(server: upstream.Upstream, tmp_path: Path) -> None:
    client = dure.Client(base_url=server.url, api_key="sk-one", data=tmp_path)
    key = client.chat.completions.create(**HELLO).dure.key_id
    client.budgets.set(f"key:{key}", limit="0.05", window="lifetime")
    image: dict[str, Any] = {"model": "gpt-4o", "prompt": "a hand", "dure": dure.Call(price="0.04")}
    client.images.generate(**image)
    with pytest.raises(dure.errors.BudgetExceededError) as refused:
        client.images.generate(**image)
    assert refused.value.scope == f"key:{key}"
    records = [r for r in dure.costs.ledger_records(tmp_path) if r["type"] == "RESERVE"]
    assert (records[-1]["model"], records[-1]["key_id"]) == ("gpt-4o", key)


def test_a_full_disk_sends_nothing_at_a_named_price(tmp_path: Path) -> None:
    """What cannot be written before the call is not sent: the hold is given back."""
    from dure import _core
    from dure.calls.fixed_price import FixedPrice

    real = _core.money.Account.open(str(tmp_path))

    class Full:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return getattr(real, name)

        def sent(self, _hold: tuple[int, int]) -> None:
            raise dure.errors.StorageError("no space left on device")

    entered = False
    with (
        pytest.raises(dure.errors.StorageError),
        FixedPrice(Full(), dure.Call(price="0.04"), None),  # type: ignore[arg-type]
    ):
        entered = True
    assert not entered
    assert (real.totals()["open"], real.totals()["spent"]) == (0, 0)


def test_nothing_accepted_costs_nothing(tmp_path: Path) -> None:
    client = dure.Client(base_url="http://127.0.0.1:9/v1", data=tmp_path, max_retries=0)
    with pytest.raises(dure.errors.UnavailableError):
        client.images.generate(model="m", prompt="p", dure=dure.Call(price="1", max_attempts=1))
    report = dure.verify_ledger(tmp_path)
    assert (report.open_holds, report.spent_pico) == (0, 0)


def test_paths_are_metered_free_or_in_need_of_a_price() -> None:
    for path in ("/chat/completions", "/chat/completions/?x=1", "/embeddings", "/responses"):
        assert is_metered("POST", path)
        assert not is_free("POST", path)
    for path in ("/images/generations", "/audio/speech", "/batches", "/responses/compact", "/new"):
        assert not is_metered("POST", path)
        assert not is_free("POST", path)
    for path in ("/files", "/batches/b/cancel", "/responses/input_tokens", "/moderations"):
        assert is_free("POST", path)
    assert is_free("GET", "/chat/completions")


# Audio


def test_speech_and_transcriptions(client: dure.Client, tmp_path: Path) -> None:
    speech = client.audio.speech.create(
        model="tts-1", input="hello", voice="alloy", dure=dure.Call(price="0.000075")
    )
    speech.write_to_file(tmp_path / "hello.wav")
    assert (tmp_path / "hello.wav").read_bytes() == speech.read() == b"".join(speech.iter_bytes(9))
    assert speech.dure.cost_pico == 75_000_000
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=tmp_path / "hello.wav", dure=FREE
    )
    assert heard.text == f"{len(speech.content)} bytes of sound in hello.wav"
    plain = client.audio.translations.create(
        model="whisper-1", file=("a.mp3", b"123"), response_format="text", dure=FREE
    )
    assert plain == "3 bytes of sound in a.mp3\n"


# Files, batches, moderations


async def test_files_page_and_come_back(aclient: dure.AsyncClient, tmp_path: Path) -> None:
    with upstream.start() as fresh:
        aclient = dure.AsyncClient(base_url=fresh.url, data=tmp_path)
        made = [
            await aclient.files.create(file=(f"{i}.txt", b"x" * i), purpose="batch")
            for i in range(5)
        ]
        first = await aclient.files.list(limit=2)
        assert [f.id for f in first.data] == [made[0].id, made[1].id]
        assert first.has_more
        assert [f.filename async for f in aclient.files.list(limit=2)] == [
            f"{i}.txt" for i in range(5)
        ]
        sync = dure.Client(base_url=fresh.url, data=tmp_path)
        assert [f.bytes for f in sync.files.list(limit=2)] == list(range(5))
        last = await first.get_next_page()
        last = await last.get_next_page()
        assert not last.has_next_page()
        with pytest.raises(dure.errors.NotFoundError):
            await last.get_next_page()
        assert (await aclient.files.content(made[3].id)).read() == b"xxx"
        assert (await aclient.files.retrieve(made[3].id)).bytes == 3
        assert (await aclient.files.delete(made[3].id)).deleted
        with pytest.raises(dure.errors.UpstreamError) as gone:
            await aclient.files.retrieve(made[3].id)
    assert gone.value.status_code == 404
    assert dure.verify_ledger(tmp_path).spent_pico == 0


def test_a_batch_reconciles_every_line(client: dure.Client) -> None:
    bodies = [{**HELLO, "max_tokens": n} for n in (8, 0, 16)]
    lines = [
        json.dumps(
            {"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": b}
        )
        for i, b in enumerate(bodies)
    ]
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    wanted = {"input_file_id": file.id, "endpoint": "/v1/chat/completions"}
    with pytest.raises(dure.errors.InvalidArgumentError, match="max_tokens"):
        client.batches.create(**wanted, completion_window="24h")  # no line can be held without it
    batch = client.batches.create(**wanted, completion_window="24h", dure=FREE)
    done = client.batches.retrieve(batch.id)
    assert done.status == "completed"
    assert done.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
    output = [json.loads(x) for x in client.files.content(done.output_file_id).text.splitlines()]
    assert [line["custom_id"] for line in output] == ["c0", "c1", "c2"]
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert batch.id in [b.id for b in client.batches.list()]


def batch_file(client: dure.Client, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """Upload a batch of these bodies; what `batches.create` takes."""
    lines = [
        json.dumps(
            {"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": b}
        )
        for i, b in enumerate(bodies)
    ]
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    wanted = {"input_file_id": file.id, "endpoint": "/v1/chat/completions"}
    return {**wanted, "completion_window": "24h", "dure": dure.Call(org="acme")}


def test_a_batch_is_held_and_settled_line_by_line(client: dure.Client, tmp_path: Path) -> None:
    """Each line by its own usage, at the batch price; the hold belongs to no process."""
    client.budgets.set("org:acme", limit=1, window="lifetime")
    wanted = batch_file(client, [{**HELLO, "max_tokens": n} for n in (8, 16, 32)])
    batch = client.batches.create(**wanted)
    held = client.budgets.read("org:acme").held
    reserves = [r for r in dure.costs.ledger_records(tmp_path) if r["type"] == "RESERVE"]
    assert len(reserves) == 3
    assert sum(r["pico"] for r in reserves) == held * 10**12  # type: ignore[misc]
    assert all({"batch", "detached"} <= set(r["flags"]) for r in reserves)  # type: ignore[call-overload]
    assert dure.verify_ledger(tmp_path).open_holds == 3
    done = client.batches.retrieve(batch.id)
    assert done.status == "completed"
    output = [json.loads(x) for x in client.files.content(done.output_file_id).text.splitlines()]
    book = dure.PriceBook()
    expected = [
        book.cost(
            {"usage": line["response"]["body"]["usage"], "service_tier": "batch"},
            model="gpt-4o-mini",
        ).pico
        for line in output
    ]
    settles = [r for r in dure.costs.ledger_records(tmp_path) if r["type"] == "SETTLE"]
    assert [r["pico"] for r in settles] == expected
    assert [r["request_id"] for r in settles] == [f"req_line_{i}" for i in range(3)]
    read = client.budgets.read("org:acme")
    assert (read.held, read.used) == (0, to_dollars(sum(expected)))
    client.batches.retrieve(batch.id)  # again: settled once
    report = dure.verify_ledger(tmp_path)
    assert (report.ok, report.open_holds, report.spent_pico) == (True, 0, sum(expected))


async def test_a_batch_that_does_not_fit_holds_nothing(
    aclient: dure.AsyncClient, client: dure.Client, tmp_path: Path
) -> None:
    client.budgets.set("org:acme", limit="0.000001", window="lifetime")
    wanted = batch_file(client, [{**HELLO, "max_tokens": 8} for _ in range(100)])
    with pytest.raises(dure.errors.BudgetExceededError):
        await aclient.batches.create(**wanted)
    report = dure.verify_ledger(tmp_path)
    assert (report.ok, report.open_holds, report.spent_pico) == (True, 0, 0)
    wanted = batch_file(client, [{**HELLO, "max_tokens": 8, "model": "whisper-1"}])
    with pytest.raises(dure.DureError):
        await aclient.batches.create(**wanted)
    twice = client.files.create(
        file=("in.jsonl", b'{"custom_id": "a", "body": {}}\nnonsense'), purpose="batch"
    )
    with pytest.raises(dure.errors.InvalidArgumentError):
        await aclient.batches.create(**{**wanted, "input_file_id": twice.id})
    assert dure.verify_ledger(tmp_path).open_holds == 0


def test_lines_that_failed_cost_nothing_and_those_without_usage_their_hold(
    client: dure.Client, tmp_path: Path
) -> None:
    """What another process held, by the answers in the files; an expired line has none."""
    from dure.calls import batches

    bodies = [{**HELLO, "max_tokens": 8} for _ in range(4)]
    text = "\n".join(json.dumps({"custom_id": f"c{i}", "body": b}) for i, b in enumerate(bodies))
    view = client._view
    name = batches.hold(view, dure.Call(org="acme"), "/v1/chat/completions", text)
    lines = batches.open_lines(view.core.account, name)
    assert len(lines) == 4
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    answers = [
        {"custom_id": "c0", "response": {"status_code": 200, "body": {"usage": usage}}},
        {"custom_id": "c1", "response": {"status_code": 500, "body": {}}},
        {"custom_id": "c2", "response": {"status_code": 200, "body": {}}},
    ]
    batches.settle(view, name, "\n".join(map(json.dumps, answers)))
    settles = [r for r in dure.costs.ledger_records(tmp_path) if r["type"] == "SETTLE"]
    paid = {"usage": usage, "service_tier": "batch"}
    first = dure.PriceBook().cost(paid, model="gpt-4o-mini").pico
    assert [r["pico"] for r in settles][:2] == [first, 0]
    assert "possible_spend" in settles[2]["flags"]  # type: ignore[operator]
    assert settles[3]["pico"] == 0
    report = dure.verify_ledger(tmp_path)
    assert (report.ok, report.open_holds) == (True, 0)
    assert batches.settle(view, name) == 0


def test_moderations_are_free(client: dure.Client, tmp_path: Path) -> None:
    judged = client.moderations.create(input=["a flower", "a bomb"])
    assert [result.flagged for result in judged.results] == [False, True]
    assert dure.verify_ledger(tmp_path).spent_pico == 0


# Raw and streaming responses, headers


async def test_raw_and_streaming_forms(aclient: dure.AsyncClient, client: dure.Client) -> None:
    raw = await aclient.chat.completions.with_raw_response.create(**HELLO)
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == raw.request_id == raw.parse()._request_id
    assert (raw.retries_taken, raw.dure.attempts) == (0, 1)
    assert raw.json()["choices"][0]["message"]["content"] == raw.parse().choices[0].message.content
    async with aclient.files.with_streaming_response.create(
        file=io.BytesIO(b"one\ntwo"), purpose="batch"
    ) as reply:
        assert reply.status_code == 200
        made = await reply.parse()
    content = client.files.with_raw_response.content(made.id)
    assert list(content.iter_lines()) == ["one", "two"]
    with pytest.raises(dure.errors.UnsupportedError, match="stream"):
        await aclient.responses.with_raw_response.create(**ASK, stream=True)


def test_a_calls_own_header_stands_alone(scripted: Scripted) -> None:
    scripted.answer()
    client = scripted.client(default_headers={"X-Team": "a", "X-Kept": "k"})
    client.chat.completions.create(**HELLO, extra_headers={"x-team": "b"})
    (request,) = scripted.net.requests
    headers = [(name.lower(), value) for name, value in request["headers"]]
    assert [value for name, value in headers if name == "x-team"] == ["b"]
    assert [value for name, value in headers if name == "x-kept"] == ["k"]


# Structured output and streams with events


class Step(pydantic.BaseModel):
    why: str
    to: str = "end"


class Plan(pydantic.BaseModel):
    steps: list[Step]


def chat_saying(text: str) -> dict[str, Any]:
    choice = {**CHAT["choices"][0], "message": {"role": "assistant", "content": text}}
    return {**CHAT, "choices": [choice]}


def test_the_schema_is_openais_strict_form() -> None:
    from openai.lib._parsing._completions import type_to_response_format_param

    assert response_format_of(Plan) == type_to_response_format_param(Plan)
    assert response_format_of(Plan) is response_format_of(Plan)
    with pytest.raises(dure.errors.InvalidArgumentError, match="pydantic"):
        response_format_of(dict)  # type: ignore[arg-type]


def test_parse_gives_an_object_and_asks_anew_within_one_budget(scripted: Scripted) -> None:
    scripted.answer(chat_saying("no JSON"))
    scripted.answer(chat_saying('{"steps":[{"why":"a","to":"b"}]}'))
    client = scripted.client()
    answer = client.chat.completions.parse(**HELLO, response_format=Plan)
    plan = answer.choices[0].message.parsed
    assert plan == Plan(steps=[Step(why="a", to="b")])
    sent = [json.loads(request["body"]) for request in scripted.net.requests]
    assert len(sent) == 2
    assert sent[0]["response_format"]["json_schema"]["name"] == "Plan"
    assert client.counters["cost_pico"] == 2 * answer.dure.cost_pico
    scripted.answer(chat_saying("no JSON"))
    with pytest.raises(dure.errors.UpstreamError, match="no Plan") as wrong:
        client.chat.completions.parse(**HELLO, response_format=Plan, dure=dure.Call(max_attempts=1))
    assert wrong.value.code == "invalid_output"
    assert len(scripted.net.requests) == 3


def test_what_is_left_shrinks_in_every_dimension(client: dure.Client) -> None:
    facts = client.chat.completions.create(**HELLO).dure
    left = what_is_left(dure.Call(max_cost="0.01", deadline=50.0, max_attempts=2), facts)
    assert left is not None
    assert left.max_attempts == 1
    assert left.max_cost == dure.Call(max_cost="0.01").max_cost or left.max_cost < 1  # type: ignore[operator]
    assert left.deadline is not None
    assert left.deadline < 50
    assert what_is_left(dure.Call(max_attempts=1), facts) is None
    assert what_is_left(dure.Call(max_cost=str(facts.cost_usd)), facts) is None


async def test_events_and_the_final_completion(
    aclient: dure.AsyncClient, client: dure.Client
) -> None:
    whole = await aclient.chat.completions.create(**HELLO)
    async with aclient.chat.completions.stream(**HELLO) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
    assert "".join(deltas) == whole.choices[0].message.content
    with client.chat.completions.stream(**HELLO) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"
    assert events.dure is not None
    assert events.dure.cost_pico == whole.dure.cost_pico


# Forms


def test_a_form_reads_back_and_no_name_leaves_its_quotes() -> None:
    fields = {"n": 2, "deep": {"a": True}, "many": ["x", "y"], "none": None}
    body, kind = multipart(fields, {"file": ('a"\r\nX: y.txt', b"\x00\r\n--dure-")})
    read = form_fields(kind, body)
    assert read["n"][1] == b"2"
    assert read["deep[a]"][1] == b"true"
    assert read["many[]"][1] == b"y"
    assert "none" not in read
    assert read["file"] == ("a%22%0D%0AX: y.txt", b"\x00\r\n--dure-")
    with pytest.raises(dure.errors.InvalidArgumentError, match="cannot be read"):
        multipart({}, {"file": "/nowhere/at/all"})
    with pytest.raises(dure.errors.InvalidArgumentError, match="rb"):
        multipart({}, {"file": io.StringIO("text")})


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("responses", "responses.create"),
        ("images.generate", "images.generate"),
        ("images.edit", "images.edit"),
        ("audio.speech", "audio.speech.create"),
        ("audio.transcriptions", "audio.transcriptions.create"),
        ("files", "files.create"),
        ("batches", "batches.create"),
        ("moderations", "moderations.create"),
    ],
)
def test_every_parameter_of_openai_python_is_known(name: str, method: str) -> None:
    call = operator.attrgetter(method)(openai.OpenAI(api_key="none"))
    ours = {"self", "timeout", "extra_headers", "extra_query", "extra_body"}
    theirs = set(inspect.signature(inspect.unwrap(call)).parameters) - ours
    assert theirs <= PARAMETERS[name], theirs - PARAMETERS[name]
