"""Completions, images and audio on both databases: passed on as they are, and paid for exactly."""

from __future__ import annotations

import io
import json
import wave
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dure import costs
from dure.calls import Call
from dure.errors import InvalidArgumentError
from dure.service.passing import service, text
from dure.service.passing.service import events_of
from dure.service.settings import Settings

from tests.service.settled import settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside

ASKED = {"model": "gpt-3.5-turbo", "prompt": "Say hello to the village.", "max_tokens": 12}


def sound(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(int(seconds * 8000) * 2))
    return file.getvalue()


async def hear(
    app: Inside, token: str, content: bytes, path: str = "transcriptions", **fields: Any
) -> Any:
    return await app.client.post(
        f"/v1/audio/{path}",
        files={"file": ("a.wav", content, "audio/wav")},
        data={"model": "whisper-1", **fields},
        headers={"authorization": f"Bearer {token}"},
    )


def events(body: bytes) -> list[Any]:
    data = [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part]
    assert data.pop() == b"[DONE]"
    return [json.loads(one) for one in data]


async def test_a_completion_is_settled_by_its_tokens_streamed_or_not(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    whole = await app.call("POST", "/v1/completions", ASKED, admin)
    assert whole.status_code == 200, whole.text
    usage = whole.json()["usage"]
    cost = costs.cost(usage, model="gpt-3.5-turbo")
    assert whole.headers["x-dure-cost-usd"] == f"{cost.usd:f}"

    plain = await app.call("POST", "/v1/completions", {**ASKED, "stream": True}, admin)
    assert plain.headers["content-type"].startswith("text/event-stream")
    chunks = events(plain.content)
    assert all(chunk["choices"] for chunk in chunks), "usage was not asked for"
    said = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert said == whole.json()["choices"][0]["text"]

    options = {"stream": True, "stream_options": {"include_usage": True}}
    told = await app.call("POST", "/v1/completions", {**ASKED, **options}, admin)
    assert events(told.content)[-1]["usage"] == usage

    found = settled(app)
    assert [one["tokens"] for one in found] == [usage["total_tokens"]] * 3
    assert [one["pico"] for one in found] == [cost.pico] * 3
    assert {one["model"] for one in found} == {"gpt-3.5-turbo"}


async def test_a_completion_that_does_not_fit_is_never_sent(
    app: Inside, provider: Upstream
) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    limit = {"max_tokens": 40, "policy": "block"}
    await app.call("PUT", f"/api/admin/usage/limits/users/{user_id}", limit, admin)
    before = len(provider.log())
    refused = await app.call("POST", "/v1/completions", {**ASKED, "max_tokens": 100}, kim)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "request_exceeds_limit"
    many = await app.call("POST", "/v1/completions", {**ASKED, "best_of": 9}, kim)
    assert many.json()["error"]["code"] == "request_exceeds_limit"
    assert len(provider.log()) == before
    assert (await app.call("POST", "/v1/completions", ASKED, kim)).status_code == 200


async def test_who_leaves_before_the_first_piece_still_pays(app: Inside) -> None:
    await app.first()
    call = Call(org="default")
    going = text.going(app.state, {**ASKED, "stream": True}, call)
    scope = {
        "app": app.app,
        "state": {"subject": SimpleNamespace(org_id="default", user_id=None, key_id=None)},
    }
    answer = await service.streamed(
        going, scope, lambda pieces, price: text.counted(pieces, price, shown=False)
    )
    await answer._events.aclose()
    await answer._events.aclose()
    (one,) = settled(app)
    assert one["pico"] > 0, "the provider may have billed it"


async def test_images_cost_what_the_settings_say_each(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    asked = {"model": "dall-e-3", "prompt": "A village.", "n": 3, "size": "256x256"}
    drawn = await app.call("POST", "/v1/images/generations", asked, admin)
    assert drawn.status_code == 200, drawn.text
    assert len(drawn.json()["data"]) == 3
    assert drawn.headers["x-dure-cost-usd"] == "0.12"
    assert settled(app)[-1]["pico"] == 120_000_000_000


async def test_speech_is_passed_on_as_bytes_and_priced_by_its_characters(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    asked = {"model": "tts-1", "input": "두레 마을", "voice": "alloy"}
    spoken = await app.call("POST", "/v1/audio/speech", asked, admin)
    assert spoken.status_code == 200, spoken.text
    assert spoken.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(spoken.content)) as heard:
        assert heard.getnframes() == 50 * 5 * 8
    assert settled(app)[-1]["pico"] == 5 * 15_000_000


async def test_sound_is_priced_by_its_own_length(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for path in ("transcriptions", "translations"):
        await priced_by_its_length(app, admin, path)


async def priced_by_its_length(app: Inside, admin: str, path: str) -> None:
    content = sound(1.5)
    heard = await hear(app, admin, content, path)
    assert heard.status_code == 200, heard.text
    assert heard.json() == {"text": f"{len(content)} bytes of sound in a.wav"}
    assert settled(app)[-1]["pico"] == 150_000_000, "1.5 s at $0.006 a minute"
    plain = await hear(app, admin, content, path, response_format="text")
    assert plain.headers["content-type"].startswith("text/plain")
    noise = await hear(app, admin, b"ID3 no wav" * 75, path)
    assert noise.status_code == 200
    assert settled(app)[-1]["pico"] == 100_000_000, "at most one second"


async def test_what_has_no_price_is_refused_and_named(app: Inside, provider: Upstream) -> None:
    admin = (await app.first())["access_token"]
    before = len(provider.log())
    for path, body in (
        ("images/generations", {"model": "gpt-image-9", "prompt": "x"}),
        ("images/generations", {"prompt": "x"}),
        ("audio/speech", {"model": "tts-9", "input": "x", "voice": "alloy"}),
        ("completions", {**ASKED, "model": "gpt-6-instruct"}),
    ):
        refused = await app.call("POST", f"/v1/{path}", body, admin)
        assert refused.status_code in {400, 404}, refused.text
        assert refused.json()["error"]["code"] in {"unknown_price", "model_not_found"}
    assert len(provider.log()) == before
    assert settled(app) == []


async def test_a_key_for_some_models_is_held_to_them(app: Inside, provider: Upstream) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin, models=["gpt-4o"])
    before = len(provider.log())
    refused = [
        await app.call("POST", "/v1/completions", ASKED, key),
        await app.call("POST", "/v1/images/generations", {"prompt": "x"}, key),
        await app.call("POST", "/v1/audio/speech", {"model": "tts-1", "input": "x"}, key),
        await hear(app, key, sound(0.1)),
    ]
    assert [one.status_code for one in refused] == [403] * 4
    assert len(provider.log()) == before


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("completions", {"model": "gpt-3.5-turbo"}, "prompt"),
    ("completions", {**ASKED, "max_tokens": -1}, "max_tokens"),
    ("completions", {**ASKED, "n": 1.5}, "n"),
    ("completions", {**ASKED, "prompt": {"a": 1}}, "prompt"),
    ("images/generations", {}, "prompt"),
    ("images/generations", {"prompt": "x", "n": 0.5}, "n"),
    ("audio/speech", {"model": "tts-1"}, "input"),
    ("audio/speech", {"model": "tts-1", "input": ["x"]}, "input"),
    ("audio/speech", {"model": 5, "input": "x"}, "model"),
]


async def test_bad_bodies_name_what_is_wrong(app: Inside, provider: Upstream) -> None:
    admin = (await app.first())["access_token"]
    before = len(provider.log())
    for path, body, param in BAD:
        refused = await app.call("POST", f"/v1/{path}", body, admin)
        assert refused.status_code == 400, (path, body)
        assert refused.json()["error"]["param"] == param
    assert len(provider.log()) == before


async def test_forms_that_two_readers_would_read_differently_are_refused(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    headers = {"authorization": f"Bearer {admin}"}
    file: Any = ("file", ("a.wav", sound(0.1), "audio/wav"))
    for files in (
        [file, ("model", (None, "whisper-1")), ("model", (None, "gpt-4o"))],
        [file, file, ("model", (None, "whisper-1"))],
        [file],
        [("model", (None, "whisper-1"))],
        [("model", (None, "whisper-1")), ("file", (None, "text"))],
    ):
        refused = await app.client.post("/v1/audio/transcriptions", files=files, headers=headers)
        assert refused.status_code == 400, refused.text
    broken = {**headers, "content-type": "multipart/form-data"}
    assert (
        await app.client.post("/v1/audio/transcriptions", content=b"x", headers=broken)
    ).status_code == 400


async def test_other_types_and_compressed_bodies_are_415(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    headers = {"authorization": f"Bearer {admin}"}
    plain = {"content-type": "text/plain"}
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    for path in ("completions", "images/generations", "audio/speech", "audio/translations"):
        for more in (plain, packed):
            refused = await app.client.post(f"/v1/{path}", content=b"{}", headers=headers | more)
            assert refused.status_code == 415, refused.text
            assert refused.json()["error"]["code"] == "unsupported_media_type"


async def test_nobody_passes_unknown_and_viewers_do_not_spend(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, viewer = await app.add(admin, "v@example.com", "viewer")
    for path in (
        "completions",
        "images/generations",
        "audio/speech",
        "audio/transcriptions",
        "files",
        "batches",
        "responses",
        "messages",
    ):
        assert (await app.call("POST", f"/v1/{path}", {})).status_code == 401
        assert (await app.call("POST", f"/v1/{path}", {}, viewer)).status_code == 403


async def test_events_are_given_whole_as_they_are_complete() -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        for piece in (b"data: 1\n", b"\ndata: 2\r\n\r\ndata", b": 3\n\n", b"data: 4"):
            yield piece

    found = [one async for one in events_of(pieces())]
    assert found == [b"data: 1\n\n", b"data: 2\r\n\r\n", b"data: 3\n\n", b"data: 4"]


def test_what_is_not_paid_for_is_for_development_only() -> None:
    with pytest.raises(InvalidArgumentError, match="DURE_METERED=off is for --dev only"):
        Settings(metered="off")
    assert Settings(metered="off", dev=True).metered == "off"
    with pytest.raises(InvalidArgumentError, match="price of 'a'"):
        Settings(call_prices={"a": {"call": "-1"}})
    with pytest.raises(InvalidArgumentError, match="CALL_PRICES"):
        Settings(call_prices={"a": {"furlong": "1"}})
