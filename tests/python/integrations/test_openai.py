"""openai-python's own classes over dure: shapes, money, resends, and openai's own exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dure
import httpx2
import openai
import pytest
from dure.integrations.openai import AsyncOpenAI, OpenAI
from dure.testing import upstream

from .guides import blocks

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "gpt-4o-mini"
HI: list[Any] = [{"role": "user", "content": "hi"}]
NOBODY = "sk-test-key-of-nobody"


def sync(server: upstream.Upstream, data: Path, **options: Any) -> OpenAI:  # noqa: ANN401
    return OpenAI(**{"base_url": server.url, "api_key": NOBODY, "data": data, **options})


def test_the_example_runs(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for example in blocks("openai"):
        exec(compile(example, "openai.md", "exec"), {})
    assert "$" in capsys.readouterr().out
    assert dure.verify_ledger(environment).ok


async def test_it_is_openais_class_and_the_call_is_billed(
    server: upstream.Upstream, tmp_path: Path
) -> None:
    async with AsyncOpenAI(base_url=server.url, api_key=NOBODY, data=tmp_path) as client:
        assert isinstance(client, openai.AsyncOpenAI)
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)
        answer = raw.parse()
        assert isinstance(answer, openai.types.chat.ChatCompletion)
        assert answer._request_id == raw.headers["x-request-id"]
        vectors = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        assert len(vectors.data[1].embedding) == 1536
        assert len((await client.models.list()).data) > 3
    report = dure.verify_ledger(tmp_path)
    assert report.ok
    assert report.spent_pico == dure.cost(answer, model=MODEL).pico + 2 * 20_000
    assert int(raw.headers["x-dure-cost-pico"]) == dure.cost(answer, model=MODEL).pico


async def test_streams_come_piece_by_piece_and_settle(
    server: upstream.Upstream, tmp_path: Path
) -> None:
    client = AsyncOpenAI(base_url=server.url, api_key=NOBODY, data=tmp_path)
    whole = await client.chat.completions.create(model=MODEL, messages=HI)
    text = ""
    async with await client.chat.completions.create(
        model=MODEL, messages=HI, stream=True
    ) as stream:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == whole.choices[0].message.content
    async with client.chat.completions.stream(model=MODEL, messages=HI) as events:
        final = await events.get_final_completion()
    assert final.choices[0].message.content == text
    report = dure.verify_ledger(tmp_path)
    assert (report.open_holds, report.spent_pico) == (0, 3 * dure.cost(whole, model=MODEL).pico)


def test_the_sync_twin(server: upstream.Upstream, tmp_path: Path) -> None:
    with sync(server, tmp_path) as client:
        whole = client.chat.completions.create(model=MODEL, messages=HI)
        pieces = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == whole.choices[0].message.content


def test_an_abandoned_stream_is_settled(tmp_path: Path) -> None:
    with upstream.start(pace=0.02) as slow, sync(slow, tmp_path) as client:
        with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
            next(iter(stream))
        client.chat.completions.create(model=MODEL, messages=HI)
    assert dure.verify_ledger(tmp_path).open_holds == 0


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"429": 1.0}, openai.RateLimitError),
        ({"500": 1.0}, openai.InternalServerError),
        ({"503": 1.0}, openai.InternalServerError),
        ({"reset": 1.0}, openai.APIConnectionError),
        ({"cut": 1.0}, openai.APIConnectionError),
    ],
)
def test_failures_are_openais_and_resends_never_multiply(
    faults: dict[str, float], kind: type[Exception], tmp_path: Path
) -> None:
    with upstream.start(faults=faults) as broken, sync(broken, tmp_path, max_retries=2) as client:
        with pytest.raises(kind):
            client.chat.completions.create(model=MODEL, messages=HI)
        assert len(broken.log()) == 3
        with pytest.raises(kind):
            client.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=HI)
        assert len(broken.log()) == 4


def test_a_stream_that_breaks_raises_openais_error(tmp_path: Path) -> None:
    with upstream.start(faults={"cut": 1.0}) as broken, sync(broken, tmp_path) as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        with pytest.raises(openai.APIError, match=r"not complete|cut|broke"):
            list(stream)


def test_time_that_runs_out_is_openais_timeout(tmp_path: Path) -> None:
    with (
        upstream.start(delay=5) as slow,
        sync(slow, tmp_path, max_retries=0) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(model=MODEL, messages=HI, timeout=0.1)


def test_a_wrong_key_and_a_wrong_parameter(tmp_path: Path) -> None:
    with upstream.start(api_key="right") as picky, sync(picky, tmp_path) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(model=MODEL, messages=HI)
        assert NOBODY not in str(refused.value)
        right = client.with_options(api_key="right")
        with pytest.raises(openai.BadRequestError) as wrong:
            right.chat.completions.create(model=MODEL, messages=HI, stop=[], max_tokens=0)
    assert wrong.value.param == "max_tokens"


def test_local_refusals_are_openais_too(server: upstream.Upstream, tmp_path: Path) -> None:
    before = len(server.log())
    client = sync(server, tmp_path, call=dure.Call(org="acme", max_cost="0.0000001"))
    with pytest.raises(openai.RateLimitError) as poor:
        client.chat.completions.create(model=MODEL, messages=HI)
    assert poor.value.code == "limit_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-none", messages=HI)
    with pytest.raises(openai.BadRequestError, match="no price is known"):
        client.images.generate(model="dall-e-3", prompt="a hand")
    assert len(server.log()) == before


def test_a_price_named_by_the_caller_is_held_and_settled(tmp_path: Path) -> None:
    with upstream.start() as server, sync(server, tmp_path) as client:
        named = client.with_options(call=dure.Call(org="acme", price="0.04"))
        with pytest.raises(openai.BadRequestError):  # refused by the provider, so free
            named.images.generate(model="gpt-image-1", prompt="")
        assert server.log()[-1]["path"] == "/v1/images/generations"
        assert dure.verify_ledger(tmp_path).spent_pico == 0
        named.images.generate(model="gpt-image-1", prompt="a hand")
        assert dure.verify_ledger(tmp_path).spent_pico == 40_000_000_000
        with pytest.raises(openai.BadRequestError, match="priced by its usage"):
            named.chat.completions.create(model=MODEL, messages=HI)
    assert dure.verify_ledger(tmp_path).open_holds == 0


def test_the_key_goes_nowhere_else(server: upstream.Upstream, tmp_path: Path) -> None:
    client = sync(server, tmp_path)
    with pytest.raises(openai.BadRequestError, match="not below base_url"):
        client.get("http://127.0.0.1:1/elsewhere", cast_to=object)
    with pytest.raises(dure.DureError, match="http_client"):
        OpenAI(api_key=NOBODY, base_url=server.url, data=tmp_path, http_client=httpx2.Client())
    with pytest.raises(dure.DureError, match="callable"):
        OpenAI(api_key=lambda: NOBODY, base_url=server.url, data=tmp_path)


def test_keys_take_turns(server: upstream.Upstream, tmp_path: Path) -> None:
    client = sync(server, tmp_path, api_keys=["sk-second"])
    used = {
        client.chat.completions.with_raw_response.create(model=MODEL, messages=HI).headers[
            "x-dure-key-id"
        ]
        for _ in range(4)
    }
    assert len(used) == 2
