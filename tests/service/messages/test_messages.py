"""`/v1/messages`: what Anthropic's clients send, and what they read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from dure.errors import InvalidArgumentError
from dure.service.messages.service import _Blocks, chat_body, message_of

from tests.service.settled import settled

if TYPE_CHECKING:
    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside

ASKED: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 40,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello there"}]}],
}


def events(body: bytes) -> list[Any]:
    found = []
    for part in body.decode().split("\n\n"):
        if part:
            name, data = part.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


async def test_a_message_is_answered_whole_and_streamed(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin)
    whole = await app.call(
        "POST", "/v1/messages", ASKED, x_api_key=key, anthropic_version="2023-06-01"
    )
    assert whole.status_code == 200, whole.text
    message = whole.json()
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["stop_reason"] in {"end_turn", "max_tokens"}
    streamed = await app.call("POST", "/v1/messages", {**ASKED, "stream": True}, x_api_key=key)
    found = events(streamed.content)
    kinds = [one["type"] for one in found if one["type"] not in {"content_block_delta", "ping"}]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    text = "".join(one["delta"]["text"] for one in found if one["type"] == "content_block_delta")
    assert text == message["content"][0]["text"]
    assert found[-2]["usage"] == message["usage"]
    assert found[-2]["delta"]["stop_reason"] == message["stop_reason"]
    used = message["usage"]["input_tokens"] + message["usage"]["output_tokens"]
    assert [one["tokens"] for one in settled(app)] == [used, used]


async def test_errors_have_anthropics_shape(app: Inside, provider: Upstream) -> None:
    admin = (await app.first())["access_token"]
    before = len(provider.log())
    for body, status, kind in (
        ({**ASKED, "model": "no-such-model"}, 404, "not_found_error"),
        ({**ASKED, "max_tokens": 0}, 400, "invalid_request_error"),
        ({**ASKED, "mcp_servers": [{"url": "http://x"}]}, 400, "invalid_request_error"),
    ):
        refused = await app.call("POST", "/v1/messages", body, admin)
        assert (refused.status_code, refused.json()["type"]) == (status, "error"), refused.text
        assert refused.json()["error"]["type"] == kind
    nobody = await app.call("POST", "/v1/messages", ASKED)
    assert (nobody.status_code, nobody.json()["error"]["type"]) == (401, "authentication_error")
    assert len(provider.log()) == before


def test_tools_and_their_results_go_there_in_order() -> None:
    turn = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "서울"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1",
             "content": [{"type": "text", "text": "sun"}]},
            {"type": "text", "text": "And?"},
            {"type": "image",
             "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}]},
    ]  # fmt: skip
    body = chat_body({
        "model": "m", "max_tokens": 5, "messages": turn, "stop_sequences": ["x"], "top_k": 3,
        "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "metadata": {"user_id": "u"}, "service_tier": "standard_only",
    })  # fmt: skip
    said = body["messages"][1]
    assert said["content"] == "I look."
    assert said["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "서울"}'}
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "t1", "content": "sun"}
    assert body["messages"][3]["content"][1]["image_url"]["url"] == "data:image/png;base64,QQ=="
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert (body["parallel_tool_calls"], body["stop"], body["user"]) == (False, ["x"], "u")
    assert (body["extra_body"], body["service_tier"]) == ({"top_k": 3}, "default")


def test_tools_come_back_whole_and_in_pieces() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    answer = {"id": "c", "model": "m", "choices": [
        {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2,
                  "prompt_tokens_details": {"cached_tokens": 4}}}  # fmt: skip
    message = message_of(answer)
    assert message["content"] == [
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
    ]
    assert message["stop_reason"] == "tool_use"
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (5, 4)

    def delta(**more: Any) -> dict[str, Any]:
        return {"id": "c", "model": "m", "choices": [{"delta": more, "finish_reason": None}]}

    def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {
            "index": index,
            **more,
            "function": {"name": more.get("id"), "arguments": arguments},
        }

    blocks = _Blocks()
    sent = [
        delta(role="assistant", content="I look."),
        delta(tool_calls=[piece(0, "", id="t1")]),
        delta(tool_calls=[piece(0, '{"a":')]),
        delta(tool_calls=[piece(0, " 1}")]),
        delta(tool_calls=[piece(1, "{}", id="t2")]),
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ]
    raw = b"".join(event for chunk in sent for event in blocks.feed(chunk)) + b"".join(blocks.end())
    found = [one for one in events(raw) if one["type"].startswith("content_block")]
    assert [(one["type"].removeprefix("content_block_"), one["index"]) for one in found] == [
        ("start", 0), ("delta", 0), ("stop", 0),
        ("start", 1), ("delta", 1), ("delta", 1), ("stop", 1),
        ("start", 2), ("delta", 2), ("stop", 2),
    ]  # fmt: skip
    parts = [one["delta"].get("partial_json", "") for one in found if "delta" in one]
    assert "".join(parts[1:3]) == '{"a": 1}'


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": ["x"]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {"tools": [{"type": "web_search_20250305", "name": "w"}]},
        {"tools": {}, "system": 5},
        {"tool_choice": "auto"},
        {"tool_choice": {"type": "some"}},
        {"model": None},
        {"max_tokens": "9"},
        {"container": "c"},
    ],
)
def test_what_cannot_be_said_is_refused_not_left_out(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        chat_body({**ASKED, **more})
