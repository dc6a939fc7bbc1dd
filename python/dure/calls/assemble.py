"""Puts the chunks of a streamed chat answer together again."""

from __future__ import annotations

from typing import Any

from dure.calls.replies import WireObject

__all__ = ["Assembly", "StreamEvent"]


class StreamEvent(WireObject):
    """What happened, by `.type`: chunk, content.delta, content.done."""

    __slots__ = ()


class Assembly:
    """An answer that grows. One thread at a time."""

    def __init__(self) -> None:
        self._whole: dict[str, Any] = {"object": "chat.completion"}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> list[StreamEvent]:
        """Take a chunk in; return what happened."""
        events = [StreamEvent({"type": "chunk", "chunk": chunk})]
        for name in ("id", "created", "model", "system_fingerprint", "service_tier", "usage"):
            if chunk.get(name) is not None:
                self._whole[name] = chunk[name]
        for part in chunk.get("choices") or []:
            text = self._add_choice(part)
            if text:
                so_far = self._choices[part["index"]]["message"]["content"]
                events.append(
                    StreamEvent({"type": "content.delta", "delta": text, "snapshot": so_far})
                )
        return events

    def _add_choice(self, part: dict[str, Any]) -> str:
        """Add the delta of one choice; return its new text."""
        blank = {
            "index": part["index"],
            "message": {"role": "assistant", "content": None, "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
        choice = self._choices.setdefault(part["index"], blank)
        message, delta = choice["message"], part.get("delta") or {}
        for name in ("content", "refusal", "reasoning_content"):
            if delta.get(name) is not None:
                message[name] = (message.get(name) or "") + delta[name]
        for call in delta.get("tool_calls") or []:
            add_call(message.setdefault("tool_calls", []), call)
        if part.get("finish_reason"):
            choice["finish_reason"] = part["finish_reason"]
        return delta.get("content") or ""

    def whole(self) -> WireObject:
        """Return the answer so far, in the shape of a buffered one."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        return WireObject({**self._whole, "choices": choices})


def add_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a fragment of a tool call at its index; arguments are joined, never parsed."""
    while len(calls) <= part["index"]:
        calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[part["index"]], part.get("function") or {}
    call["id"] = part.get("id") or call["id"]
    for name in ("name", "arguments"):
        call["function"][name] += function.get(name) or ""
