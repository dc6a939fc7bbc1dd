"""A client on a scripted network with a data folder of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure._testing import FakeClock, FakeRandom, FakeTransport

from tests.canary import CANARY

if TYPE_CHECKING:
    from pathlib import Path

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "안녕 hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 8,
        "completion_tokens": 2,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}
HELLO: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
SSE = [("content-type", "text/event-stream")]


def events(*items: dict[str, Any] | str) -> list[str]:
    """Return the parts of an event stream."""
    return [f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n" for item in items]


def delta(text: str) -> dict[str, Any]:
    """Return a chunk with some text."""
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }


STOP = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"id": "c", "choices": [], "usage": CHAT["usage"]}


class Scripted:
    """What a test sees of its network."""

    def __init__(self, data: Path) -> None:
        self.clock = FakeClock()
        self.net = FakeTransport(self.clock)
        self.random = FakeRandom(5)
        self.options: dict[str, Any] = {
            "base_url": "http://127.0.0.1/v1",
            "data": data,
            "transport": self.net,
            "clock": self.clock,
            "random": self.random,
        }

    def client(self, **options: Any) -> dure.Client:  # noqa: ANN401
        return dure.Client(**{**self.options, **options})

    def aclient(self, **options: Any) -> dure.AsyncClient:  # noqa: ANN401
        return dure.AsyncClient(**{**self.options, **options})

    def answer(self, body: object = CHAT, **options: Any) -> None:  # noqa: ANN401
        self.net.reply([json.dumps(body)], **options)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    return Scripted(tmp_path)
