"""Anthropic's Messages API in terms of chat completions, there and back.

Whoever the provider is, the call goes through the core like every chat: counted, held and settled.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from dure._core.client import read_json
from dure.aio.streams import AsyncStream
from dure.errors import DureError, InvalidArgumentError
from dure.service.errors import as_anthropic, body_of

__all__ = ["chat_body", "events", "message_of"]

_PLAIN = ("model", "max_tokens", "temperature", "top_p", "stream")
_OURS = frozenset(
    (
        *_PLAIN,
        *("messages", "system", "stop_sequences", "tools", "tool_choice", "metadata"),
        *("thinking", "top_k", "service_tier"),
    )
)
_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_TIERS = {"auto": "auto", "standard_only": "default"}

Body = dict[str, Any]


# There


def chat_body(asked: Mapping[str, Any]) -> Body:
    """Return the arguments of a chat completion for a body of the Messages API.

    Raises:
        InvalidArgumentError: it lacks something, or has what a chat completion cannot say.
    """
    if not isinstance(asked.get("model"), str) or not asked["model"]:
        raise InvalidArgumentError("model: Field required", argument="model")
    if type(asked.get("max_tokens")) is not int or asked["max_tokens"] < 1:
        raise InvalidArgumentError(
            "max_tokens: a whole number from 1 is needed", argument="max_tokens"
        )
    if not isinstance(asked.get("messages"), list) or not asked["messages"]:
        raise InvalidArgumentError("messages: at least one message is needed", argument="messages")
    for name in asked:
        if name not in _OURS:
            raise InvalidArgumentError(f"{name}: not taken here", argument=str(name))
    body: Body = {name: asked[name] for name in _PLAIN if asked.get(name) is not None}
    body["messages"] = [*_system(asked.get("system")), *_messages(asked["messages"])]
    if asked.get("stop_sequences"):
        body["stop"] = asked["stop_sequences"]
    if asked.get("tools"):
        body["tools"] = [_tool(one, n) for n, one in enumerate(_list(asked["tools"], "tools"))]
    if asked.get("tool_choice") is not None:
        body |= _choice(asked["tool_choice"])
    if asked.get("service_tier") in _TIERS:
        body["service_tier"] = _TIERS[asked["service_tier"]]
    user = (asked.get("metadata") or {}).get("user_id")
    if user is not None:
        body["user"] = user
    extra = {name: asked[name] for name in ("top_k", "thinking") if asked.get(name) is not None}
    return body | ({"extra_body": extra} if extra else {})


def _system(given: object) -> list[Body]:
    if given is None or given == "":
        return []
    return [{"role": "system", "content": _texts(given, "system")}]


def _messages(given: list[Any]) -> Iterator[Body]:
    for n, message in enumerate(given):
        at = f"messages.{n}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in {"user", "assistant"}:
            raise InvalidArgumentError(f"{at}.role: user or assistant", argument=f"{at}.role")
        content = message.get("content")
        if isinstance(content, str):
            yield {"role": role, "content": content}
        elif role == "assistant":
            yield _said(_list(content, f"{at}.content"), at)
        else:
            yield from _told(_list(content, f"{at}.content"), at)


def _said(blocks: list[Any], at: str) -> Body:
    """Return what the model said before: text, and tools that it used."""
    text, calls = [], []
    for n, block in enumerate(blocks):
        kind = _kind(block, f"{at}.content.{n}")
        if kind == "text":
            text.append(str(block.get("text", "")))
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function: Body = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind not in {"thinking", "redacted_thinking"}:
            raise _unknown(kind, f"{at}.content.{n}")
    message: Body = {"role": "assistant", "content": "".join(text) or None}
    return message | ({"tool_calls": calls} if calls else {})


def _told(blocks: list[Any], at: str) -> Iterator[Body]:
    """Give what the model is told: first what its tools gave, then what the user says."""
    parts: list[Body] = []
    for n, block in enumerate(blocks):
        where = f"{at}.content.{n}"
        kind = _kind(block, where)
        if kind == "tool_result":
            content = block.get("content")
            text = "" if content is None else _texts(content, f"{where}.content")
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
        elif kind == "text":
            parts.append({"type": "text", "text": str(block.get("text", ""))})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _image(block, where)}})
        else:
            raise _unknown(kind, where)
    if parts:
        yield {"role": "user", "content": parts}


def _image(block: Body, at: str) -> str:
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    if isinstance(source, dict) and source.get("type") == "url":
        return str(source.get("url"))
    raise InvalidArgumentError(f"{at}.source: base64 or url", argument=f"{at}.source")


def _tool(given: object, n: int) -> Body:
    if not isinstance(given, dict) or given.get("type", "custom") != "custom":
        raise InvalidArgumentError(f"tools.{n}: only your own tools", argument=f"tools.{n}")
    function = {"name": given.get("name"), "parameters": given.get("input_schema") or {}}
    if given.get("description") is not None:
        function["description"] = given["description"]
    return {"type": "function", "function": function}


def _choice(given: object) -> Body:
    kind = given.get("type") if isinstance(given, dict) else None
    assert isinstance(given, dict) or kind is None
    choices: dict[str, object] = {"auto": "auto", "any": "required", "none": "none"}
    if kind == "tool" and isinstance(given, dict):
        choices["tool"] = {"type": "function", "function": {"name": given.get("name")}}
    if kind not in choices or not isinstance(given, dict):
        raise InvalidArgumentError("tool_choice: auto, any, none or tool", argument="tool_choice")
    body: Body = {"tool_choice": choices[kind]}
    if given.get("disable_parallel_tool_use"):
        body["parallel_tool_calls"] = False
    return body


def _texts(given: object, at: str) -> str:
    """Return the text of a string or of blocks of text."""
    if isinstance(given, str):
        return given
    text = []
    for n, block in enumerate(_list(given, at)):
        if _kind(block, f"{at}.{n}") != "text":
            raise _unknown(block["type"], f"{at}.{n}")
        text.append(str(block.get("text", "")))
    return "\n\n".join(text)


def _list(given: object, at: str) -> list[Any]:
    if not isinstance(given, list):
        raise InvalidArgumentError(f"{at}: a text or a list is needed", argument=at)
    return given


def _kind(block: object, at: str) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise InvalidArgumentError(f"{at}.type: Field required", argument=f"{at}.type")
    return kind


def _unknown(kind: str, at: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{at}: {kind} is not taken here", argument=at)


# And back


def message_of(answer: Mapping[str, Any]) -> Body:
    """Return a chat completion as a message."""
    choice = (answer.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    content: list[Body] = []
    if message.get("content"):
        content.append({"type": "text", "text": message["content"]})
    elif message.get("refusal"):
        content.append({"type": "text", "text": message["refusal"]})
    for one in message.get("tool_calls") or ():
        function = one.get("function") or {}
        content.append(
            {
                "type": "tool_use",
                "id": one.get("id"),
                "name": function.get("name"),
                "input": _object(function.get("arguments")),
            }
        )
    return {
        "id": answer.get("id"),
        "type": "message",
        "role": "assistant",
        "model": answer.get("model"),
        "content": content,
        "stop_reason": _STOPS.get(choice.get("finish_reason"), "end_turn"),
        "stop_sequence": None,
        "usage": _usage(answer.get("usage")),
    }


def _object(text: object) -> Any:  # noqa: ANN401 - what the model wrote
    try:
        found = json.loads(str(text or "{}"))
    except ValueError:
        return {"arguments": text}
    return found if isinstance(found, dict) else {"arguments": found}


def _usage(given: Any) -> Body:  # noqa: ANN401 - what the wire says
    usage = given or {}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": max(0, (usage.get("prompt_tokens") or 0) - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens") or 0,
    }


async def events(stream: AsyncStream) -> AsyncGenerator[bytes]:
    """Give a chat stream as the Messages API streams it."""
    blocks = _Blocks()
    try:
        while pieces := await stream.take():
            yield b"".join(event for piece in pieces for event in blocks.feed(read_json(piece)))
        yield b"".join(blocks.end())
    except DureError as error:
        yield _event("error", as_anthropic(error.http_status, body_of(error)))
    finally:
        await stream.close()


class _Blocks:
    """The blocks of one streamed message: text and tools, one after another."""

    def __init__(self) -> None:
        self._begun = False
        self._open: str | int | None = None  # "text", or the index of a tool call
        self._index = -1
        self._stop, self._usage = "end_turn", _usage(None)

    def feed(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        """Give the events of one chunk."""
        if not self._begun:
            self._begun = True
            yield _event("message_start", {"message": _begun(chunk)})
            yield _event("ping", {})
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            text = delta.get("content") or delta.get("refusal")
            if text:
                yield from self._opened("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            for call in delta.get("tool_calls") or ():
                yield from self._tool(call)
            if choice.get("finish_reason"):
                self._stop = _STOPS.get(choice["finish_reason"], "end_turn")

    def _tool(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        function = call.get("function") or {}
        block: Body = {
            "type": "tool_use",
            "id": call.get("id"),
            "name": function.get("name"),
            "input": {},
        }
        yield from self._opened(int(call.get("index") or 0), block)
        if function.get("arguments"):
            yield self._delta({"type": "input_json_delta", "partial_json": function["arguments"]})

    def _opened(self, name: str | int, block: Body) -> Iterator[bytes]:
        if self._open == name:
            return
        yield from self._closed()
        self._open = name
        self._index += 1
        yield _event("content_block_start", {"index": self._index, "content_block": block})

    def _closed(self) -> Iterator[bytes]:
        if self._open is not None:
            yield _event("content_block_stop", {"index": self._index})
            self._open = None

    def _delta(self, delta: Body) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def end(self) -> Iterator[bytes]:
        """Give the last events."""
        yield from self._closed()
        delta = {"stop_reason": self._stop, "stop_sequence": None}
        yield _event("message_delta", {"delta": delta, "usage": self._usage})
        yield _event("message_stop", {})


def _begun(chunk: Mapping[str, Any]) -> Body:
    return {
        "id": chunk.get("id"),
        "type": "message",
        "role": "assistant",
        "model": chunk.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(None),
    }


def _event(kind: str, data: Body) -> bytes:
    text = json.dumps({"type": kind, **data}, ensure_ascii=False)
    return f"event: {kind}\ndata: {text}\n\n".encode()
