"""`with_streaming_response`: the head at once, the body while it comes, bounded memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors

from .conftest import CHAT, HELLO, SSE, STOP, USAGE, delta, events

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Scripted

DONE = "[DONE]"
COST = 8 * 150_000 + 2 * 600_000  # of CHAT's usage at gpt-4o-mini's prices


def spent(data: Path) -> int:
    return dure.verify_ledger(data).spent_pico


async def test_the_block_begins_with_the_head_while_the_body_hangs(scripted: Scripted) -> None:
    body = json.dumps(CHAT)
    scripted.net.reply([body[:40]], headers=[("x-request-id", "req_1")], end="hang")
    client = scripted.aclient()
    create = client.chat.completions.with_streaming_response.create
    async with create(**HELLO) as reply:
        assert (reply.status_code, reply.request_id) == (200, "req_1")
        assert reply.dure is None
        pieces = reply.iter_bytes()
        assert await anext(pieces) == body[:40].encode()
        assert scripted.net.open == 1
    assert scripted.net.open == 0, "leaving the block cancels what has not come"


def test_a_whole_answer_is_parsed_and_billed(scripted: Scripted, tmp_path: Path) -> None:
    text = json.dumps(CHAT)
    scripted.net.reply([text[:100], text[100:]])
    with scripted.client() as client:
        with client.chat.completions.with_streaming_response.create(**HELLO) as reply:
            assert reply.parse().choices[0].message.content == "안녕 hello"
            assert reply.json() == CHAT
            assert reply.read() == text.encode()
            with pytest.raises(errors.InvalidArgumentError, match="has been read"):
                list(reply.iter_bytes())
        assert reply.dure is not None
        assert reply.dure.cost_pico == COST
    assert spent(tmp_path) == COST


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_lines_and_text(scripted: Scripted, size: int, tmp_path: Path) -> None:
    content = "한 줄\r\nзwei\n\nend"
    raw = content.encode()
    parts = [raw[at : at + 3] for at in range(0, len(raw), 3)]  # characters and lines are cut
    with scripted.client() as client:
        opened = client.files.with_streaming_response.content
        scripted.net.reply(parts)
        with opened("file-1") as reply:
            pieces = list(reply.iter_bytes(size))
        assert b"".join(pieces) == raw
        assert all(len(piece) == size for piece in pieces[:-1])
        scripted.net.reply(parts)
        with opened("file-1") as reply:
            assert "".join(reply.iter_text(size)) == content
        scripted.net.reply(parts)
        with opened("file-1") as reply:
            assert list(reply.iter_lines()) == content.splitlines()
        scripted.net.reply(parts)
        with opened("file-1") as reply:
            reply.stream_to_file(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == raw


async def test_a_reader_that_waits_makes_the_provider_wait(scripted: Scripted) -> None:
    part, count = "x" * 65_536, 200  # 13 MB
    scripted.net.reply([part] * count)
    client = scripted.aclient()
    async with client.files.with_streaming_response.content("file-1") as reply:
        assert scripted.net.open == 1, "not read, so not sent"
        size = 0
        async for piece in reply.iter_bytes():
            size += len(piece)
            if size < (count - 8) * len(part):
                assert scripted.net.open == 1
        assert size == count * len(part)
    assert scripted.net.open == 0


async def test_a_stream_of_chunks_raw_and_parsed(scripted: Scripted, tmp_path: Path) -> None:
    parts = events(delta("two "), delta("words"), STOP, USAGE, DONE)
    client = scripted.aclient()
    create = client.chat.completions.with_streaming_response.create
    scripted.net.reply(parts, headers=SSE)
    async with create(**HELLO, stream=True) as reply:
        lines = [line async for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert [json.loads(line[6:]) for line in lines[:-1]] == [delta("two "), delta("words"), STOP]
    scripted.net.reply(parts, headers=SSE)
    async with create(**HELLO, stream=True) as reply:
        chunks = [chunk async for chunk in await reply.parse()]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "two words"
    assert reply.dure is not None
    assert reply.dure.cost_pico == COST
    assert spent(tmp_path) == 2 * COST


def test_refusals_are_raised_on_entering_and_resent_as_ever(scripted: Scripted) -> None:
    scripted.net.reply(["{}"], status=429, headers=[("retry-after", "0")])
    scripted.answer()
    scripted.net.reply(["{}"], status=401)
    with scripted.client() as client:
        create = client.chat.completions.with_streaming_response.create
        with create(**HELLO) as reply:
            assert reply.read()
        assert reply.dure is not None
        assert reply.dure.attempts == 2
        with pytest.raises(errors.UpstreamError), create(**HELLO):
            pytest.fail("no block begins")


async def test_a_body_that_is_cut_says_so_and_is_not_sent_again(scripted: Scripted) -> None:
    scripted.net.reply(["{"], end="reset")
    client = scripted.aclient()
    async with client.chat.completions.with_streaming_response.create(**HELLO) as reply:
        with pytest.raises(errors.TruncatedStreamError):
            await reply.read()
    assert len(scripted.net.requests) == 1


def test_anthropics_answer_keeps_openais_shape(scripted: Scripted) -> None:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    scripted.answer(message)
    asked = {**HELLO, "model": "claude-sonnet-5-5", "max_tokens": 9}
    with (
        scripted.client(dialect="anthropic_messages", api_key="k") as client,
        client.chat.completions.with_streaming_response.create(**asked) as reply,
    ):
        assert reply.parse().choices[0].message.content == "hello"


def test_vectors_and_subtitles(scripted: Scripted) -> None:
    vectors = {"data": [{"index": 0, "embedding": "AACAPwAAAEA="}], "usage": {"total_tokens": 1}}
    scripted.answer(vectors)
    scripted.net.reply(["1\n00:00 hands\n"])
    with scripted.client() as client:
        with client.embeddings.with_streaming_response.create(
            model="text-embedding-3-small", input="a"
        ) as reply:
            assert reply.parse().data[0].embedding == [1.0, 2.0]
        with client.audio.transcriptions.with_streaming_response.create(
            model="whisper-1",
            file=("a.wav", b"sound"),
            response_format="srt",
            dure=dure.Call(price="0.0001"),
        ) as reply:
            assert reply.parse() == "1\n00:00 hands\n"
        assert reply.dure is not None
        assert reply.dure.cost_pico == 100_000_000
