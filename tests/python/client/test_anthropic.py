"""Anthropic's wire: requests go out in its shape, answers and streams come back in OpenAI's.

`tests/data/anthropic` holds streams written from the documented wire format.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors

from .conftest import SSE

if TYPE_CHECKING:
    from .conftest import Scripted

STREAMS = Path(__file__).parents[2] / "data/anthropic"
MODEL = "claude-sonnet-4-5"
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "text", "text": "소금 "},
        {"type": "text", "text": "salt"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"where": "sea"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 4,
        "cache_read_input_tokens": 6,
        "output_tokens": 5,
        "service_tier": "standard",
    },
}
# Of each stream: prompt, completion, cached, written, written for an hour, searches.
USAGE = {
    "text": (25, 12, 0, 0, 0, None),
    "tools": (472, 89, 0, 0, 0, None),
    "thinking": (40, 61, 0, 0, 0, None),
    "cache": (2352, 7, 2048, 200, 100, None),
    "search": (10682, 510, 0, 0, 0, 1),
    "later_kind": (5, 2, 0, 0, 0, None),
}


def ask(scripted: Scripted, **body: Any) -> Any:  # noqa: ANN401
    """Ask over Anthropic's wire."""
    with scripted.client(
        base_url="http://127.0.0.1", dialect="anthropic_messages", api_key="sk-ant-1"
    ) as client:
        return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **body})


def sent(scripted: Scripted, **body: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the body that such a request goes out with."""
    scripted.answer(MESSAGE)
    ask(scripted, **body)
    found: dict[str, Any] = json.loads(scripted.net.requests[-1]["body"])
    return found


HELLO = [{"role": "user", "content": "hi"}]


def test_an_answer_has_openais_shape_and_its_cost(scripted: Scripted) -> None:
    scripted.answer(MESSAGE, headers=[("request-id", "req_7")])
    answer = ask(scripted, max_tokens=50)
    request = scripted.net.requests[0]
    headers = {name.lower(): value for name, value in request["headers"]}
    assert request["url"] == "http://127.0.0.1/v1/messages"
    assert headers["x-api-key"] == "sk-ant-1"
    assert headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in headers
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("소금 salt", "Hm.")
    assert message.thinking_signature == "sig"
    (call,) = message.tool_calls
    assert (call.id, call.type, call.function.name) == ("toolu_1", "function", "look")
    assert json.loads(call.function.arguments) == {"where": "sea"}
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (20, 5)
    assert answer.usage.prompt_tokens_details.cached_tokens == 6
    assert answer._request_id == "req_7"
    # 10 at $3, 6 read at $0.30, 4 written at $3.75, 5 out at $15 a million
    assert answer.dure.cost_pico == 10 * 3_000_000 + 6 * 300_000 + 4 * 3_750_000 + 5 * 15_000_000


def test_the_request_is_translated(scripted: Scripted) -> None:
    body = sent(
        scripted,
        model="anthropic/claude-sonnet-4-5",
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,BB"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "user", "content": "And?"},
        ],
        tools=[
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
            }
        ],
        tool_choice="required",
        parallel_tool_calls=False,
        max_completion_tokens=30,
        stop="END",
        temperature=0.5,
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": 1}}},
        user="u7",
        n=1,
        extra_body={"top_k": 5},
    )
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 30,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                    {"type": "tool_use", "id": "b", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "content": [{"type": "text", "text": "1"}],
                    },
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": [{"type": "text", "text": "2"}],
                    },
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"a": 1}}},
        "metadata": {"user_id": "u7"},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_k": 5,
    }


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
        ({"seed": 0}, "seed"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort"),
        ({"metadata": {"team": "a"}}, "metadata.team"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y"}]},
            "messages[0].reasoning_content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0]",
        ),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(
    scripted: Scripted, body: dict[str, Any], path: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as wrong:
        ask(scripted, **body)
    assert wrong.value.path == path
    assert scripted.net.requests == []


def test_what_asks_for_nothing_is_left_out(scripted: Scripted) -> None:
    body = sent(
        scripted, logprobs=False, frequency_penalty=0, logit_bias={}, store=False, seed=None
    )
    assert set(body) == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize("name", USAGE)
def test_streams_come_as_chunks_with_their_usage(scripted: Scripted, name: str) -> None:
    scripted.net.reply([(STREAMS / f"{name}.sse").read_text(encoding="utf-8")], headers=SSE)
    with ask(scripted, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = [chunk.to_dict() for chunk in stream]
    usage = chunks[-1]["usage"]
    details = usage["prompt_tokens_details"]
    assert (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        details["cached_tokens"],
        details["cache_write_tokens"],
        details["cache_write_1h_tokens"],
        usage.get("web_search_requests"),
    ) == USAGE[name]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert stream.dure is not None
    assert stream.dure.cost_pico > 0


def text_of(scripted: Scripted, name: str) -> Any:  # noqa: ANN401 - a completion
    """Return the whole answer of a stream, put together."""
    scripted.net.reply([(STREAMS / f"{name}.sse").read_text(encoding="utf-8")], headers=SSE)
    with scripted.client(
        base_url="http://127.0.0.1", dialect="anthropic_messages", api_key="sk-ant-1"
    ) as client:
        (answer,) = client.map([{"model": MODEL, "messages": HELLO, "stream": True}])
        assert not isinstance(answer, errors.DureError), answer
        return answer


def test_streams_put_together(scripted: Scripted) -> None:
    assert text_of(scripted, "text").choices[0].message.content == "Salt 소금은 짜다."
    tools = text_of(scripted, "tools").choices[0]
    assert tools.finish_reason == "tool_calls"
    calls = [(c.id, c.function.name, c.function.arguments) for c in tools.message.tool_calls]
    assert calls == [
        ("toolu_01", "get_weather", '{"city": "Seoul"}'),
        ("toolu_02", "get_time", '{"zone": 9}'),
    ]
    thinking = text_of(scripted, "thinking").choices[0].message
    assert (thinking.reasoning_content, thinking.content) == ("27 * 453 is 12231.", "12231")
    assert text_of(scripted, "cache").choices[0].finish_reason == "length"
    assert text_of(scripted, "later_kind").choices[0].message.content == "Fine."


def test_an_error_inside_a_stream_keeps_the_text(scripted: Scripted) -> None:
    scripted.net.reply([(STREAMS / "overloaded.sse").read_text(encoding="utf-8")], headers=SSE)
    with pytest.raises(errors.TruncatedStreamError, match="Overloaded") as broken:
        list(ask(scripted, stream=True))
    assert broken.value.text == "Half an ans"


def test_errors_are_read_and_typed(scripted: Scripted) -> None:
    error = {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens"}
    scripted.answer({"type": "error", "error": error}, status=400)
    with pytest.raises(errors.UpstreamError) as long:
        ask(scripted)
    assert long.value.code == "context_length_exceeded"
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    scripted.answer(body, status=429, headers=[("retry-after", "500")])
    with pytest.raises(errors.RateLimitError, match="slow down") as limited:
        ask(scripted)
    assert limited.value.retry_after == 500
    with (
        scripted.client(dialect="anthropic_messages", api_key="k") as client,
        pytest.raises(errors.InvalidArgumentError, match="no embeddings"),
    ):
        client.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(errors.InvalidArgumentError, match="anthropic_messages"):
        dure.Client(dialect="anthropic")


def test_the_environment_is_anthropics(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-openai",
        "OPENAI_ORG_ID": "org-openai",
        "ANTHROPIC_API_KEY": "sk-ant-env",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    scripted.answer(MESSAGE)
    with scripted.client(base_url=None, dialect="anthropic_messages") as client:
        assert client.base_url == "http://127.0.0.1:9/v1"
        client.chat.completions.create(model=MODEL, messages=HELLO)
    headers = {name.lower(): value for name, value in scripted.net.requests[0]["headers"]}
    assert headers["x-api-key"] == "sk-ant-env"
    assert "openai-organization" not in headers
    with scripted.client(base_url="https://api.anthropic.com") as client:
        assert client.base_url == "https://api.anthropic.com/v1"
