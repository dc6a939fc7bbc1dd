"""Images and speech at the book's prices: held at their most, settled by usage of each shape."""

from __future__ import annotations

import io
import json
import wave
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure.calls.media_price import fields_of_form, usage_of

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Scripted

DRAWN = {
    "created": 1,
    "data": [{"b64_json": "iVBOR"}],
    "usage": {
        "input_tokens": 50,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens": 4160,
        "total_tokens": 4210,
    },
}
SPOKEN = {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101}}


def sound(seconds: float) -> bytes:
    """Return a WAV of silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * int(8000 * seconds))
    return out.getvalue()


def settled(tmp_path: Path) -> list[tuple[int, tuple[str, ...]]]:
    """Return what each call came to, and its flags."""
    report = dure.verify_ledger(tmp_path)
    assert report.ok
    assert report.open_holds == 0
    ends = [r for r in dure.costs.ledger_records(tmp_path) if r["type"] == "SETTLE"]
    return [(r["pico"], tuple(r["flags"])) for r in ends]  # type: ignore[arg-type,misc]


def held(tmp_path: Path) -> list[int]:
    return [r["pico"] for r in dure.costs.ledger_records(tmp_path) if r["type"] == "RESERVE"]  # type: ignore[misc]


def test_images_are_settled_by_their_tokens(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.client()
    scripted.answer(DRAWN)
    image = client.images.generate(model="gpt-image-1.5", prompt="hands", quality="high")
    cost = 10 * 5_000_000 + 40 * 8_000_000 + 4160 * 32_000_000  # not told to be text: drawn
    assert image.dure.cost_pico == cost
    assert settled(tmp_path) == [(cost, ())]
    assert held(tmp_path)[0] >= cost
    scripted.answer({**DRAWN, "usage": None})
    client.images.generate(model="gpt-image-1", prompt="hands", n=2)
    assert settled(tmp_path)[1] == (held(tmp_path)[1], ("possible_spend",))


def test_an_edit_holds_its_pictures_too(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.client()
    scripted.answer(DRAWN)
    scripted.answer(DRAWN)
    client.images.generate(model="gpt-image-1", prompt="hands")
    client.images.edit(model="gpt-image-1", prompt="hands", image=b"png")
    one, two = held(tmp_path)
    assert two - one == 6240 * 10_000_000
    tail = scripted.net.requests[1]["body"]
    assert b"hands" in bytes(tail)


def test_speech_is_settled_by_its_characters(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.client()
    scripted.net.reply([b"mp3"], headers=[("content-type", "audio/mpeg")])
    text = "여러 손이 일한다"
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input=text)
    assert spoken.read() == b"mp3"
    assert spoken.dure.cost_pico == len(text) * 15_000_000
    assert settled(tmp_path) == [(len(text) * 15_000_000, ())]
    ends = [r for r in dure.costs.ledger_records(tmp_path) if r["type"] == "SETTLE"]
    assert ends[0]["units"] == {"character": len(text)}


def test_speech_by_tokens_is_settled_by_the_end_of_its_stream(
    scripted: Scripted, tmp_path: Path
) -> None:
    client = scripted.client()
    events = [{"type": "speech.audio.delta", "audio": "AAAA"}, SPOKEN]
    parts = [f"data: {json.dumps(one)}\n\n" for one in events]
    scripted.net.reply(parts, headers=[("content-type", "text/event-stream")])
    said: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "many hands"}
    spoken = client.audio.speech.create(**said, stream_format="sse")
    assert spoken.dure.cost_pico == 14 * 600_000 + 101 * 12_000_000
    scripted.net.reply([b"mp3"])  # says nothing of its tokens
    client.audio.speech.create(**said)
    assert settled(tmp_path)[1] == (held(tmp_path)[1], ("possible_spend",))


def test_transcriptions_are_settled_by_duration_or_tokens(
    scripted: Scripted, tmp_path: Path
) -> None:
    client = scripted.client()
    file = ("a.wav", sound(2.5))
    scripted.answer({"text": "hi", "usage": {"type": "duration", "seconds": 3}})
    heard = client.audio.transcriptions.create(model="whisper-1", file=file)
    assert heard.dure.cost_pico == 3000 * 100_000
    assert held(tmp_path) == [2500 * 100_000]
    tokens = {
        "type": "tokens",
        "input_tokens": 26,
        "input_token_details": {"text_tokens": 1, "audio_tokens": 25},
        "output_tokens": 4,
        "total_tokens": 30,
    }
    scripted.answer({"text": "hi", "usage": tokens})
    heard = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file)
    assert heard.dure.cost_pico == 2_500_000 + 25 * 6_000_000 + 4 * 10_000_000
    scripted.net.reply(["1\n00:00 --> 00:02\nhi\n"])  # subtitles tell no usage: the WAV does
    client.audio.translations.create(model="whisper-1", file=file, response_format="srt")
    assert settled(tmp_path)[2] == (2500 * 100_000, ())
    scripted.net.reply(["hi"])
    client.audio.transcriptions.create(
        model="whisper-1", file=("a.mp3", b"x" * 7500), response_format="text"
    )
    # At the slowest rate of any codec; the form around the file counts a little.
    cost, flags = settled(tmp_path)[3]
    assert flags == ("possible_spend",)
    assert 10_000 * 100_000 <= cost < 11_000 * 100_000


def test_elevenlabs_by_characters_and_prices_of_ones_own(
    scripted: Scripted, tmp_path: Path
) -> None:
    row = {"when": {"quality": "hd", "size": "1024x1024"}, "rates": {"image": 80_000_000_000}}
    book = dure.PriceBook(overlay=[{"id": "dall-e-3", "prices": [row]}])
    client = scripted.client(prices=book)
    scripted.net.reply([b"mp3"])
    spoken = client.audio.speech.create(
        model="elevenlabs/eleven_flash_v2_5", voice="v", input="many hands"
    )
    assert spoken.dure.cost_pico == 10 * 40_000_000
    scripted.answer({"created": 1, "data": [{}, {}]})
    drawn = client.images.generate(
        model="dall-e-3", prompt="p", n=2, quality="hd", size="1024x1024"
    )
    assert str(drawn.dure.cost_usd) == "0.16"
    with pytest.raises(dure.errors.UnknownPriceError):  # a size that nobody priced
        client.images.generate(model="dall-e-3", prompt="p", quality="hd", size="256x256")
    assert dure.verify_ledger(tmp_path).open_holds == 0


def test_the_most_must_fit_and_a_refusal_is_free(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.client()
    poor = dure.Call(max_cost="0.01")
    with pytest.raises(dure.errors.BudgetExceededError, match="max_cost"):
        client.images.generate(model="gpt-image-1", prompt="hands", dure=poor)
    with pytest.raises(dure.errors.InvalidArgumentError, match="n must be"):
        client.images.generate(model="gpt-image-1", prompt="hands", n=0.5)
    assert scripted.net.requests == []
    scripted.answer({"error": {"message": "no", "type": "x"}}, status=400)
    with pytest.raises(dure.errors.UpstreamError):
        client.images.generate(model="gpt-image-1", prompt="")
    assert settled(tmp_path) == [(0, ())]


async def test_the_async_face_does_the_same(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.aclient()
    scripted.answer(DRAWN)
    await client.images.generate(model="gpt-image-1", prompt="hands")
    posted = {"model": "tts-1", "voice": "alloy", "input": "ab"}
    scripted.net.reply([b"mp3"])
    reply = await client.post("/audio/speech", body=posted)
    assert reply.dure.cost_pico == 30_000_000
    assert len(settled(tmp_path)) == 2


def test_usage_is_found_in_every_shape() -> None:
    assert usage_of(b"not json") is None
    assert usage_of(b'{"text": "hi"}') is None
    assert usage_of(b'{"duration": 2.5}') == {"seconds": Decimal("2.5")}
    stream = b'event: a\ndata: {"usage": {"input_tokens": 1}}\n\ndata: [DONE]\n\n'
    assert usage_of(stream) == {"input_tokens": 1}
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--'
    assert fields_of_form(form) == {"model": "whisper-1"}
