"""A stream costs what the same answer costs whole, wherever its usage stands (M2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dure
import pytest

from tests.python.client.conftest import CHAT, HELLO, SSE, STOP, delta, events
from tests.quality import usage_bodies

if TYPE_CHECKING:
    from tests.python.client.conftest import Scripted

CASES = [
    (model, units)
    for shape, model, tier, units in usage_bodies.cases()
    if shape == "chat" and tier == "default" and model in {"gpt-4o-mini", "gpt-4o", "o3", "gpt-5.4"}
]


def usage_chunk(usage: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c", "choices": [], "usage": usage}


@pytest.mark.parametrize(("model", "units"), CASES)
def test_streamed_is_buffered(scripted: Scripted, model: str, units: dict[str, int]) -> None:
    usage = usage_bodies.chat(units)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=scripted.clock.wall_us())
    expected = dure.cost(usage, model=model, at=at).pico
    client, request = scripted.client(), {**HELLO, "model": model}
    scripted.net.reply([json.dumps({**CHAT, "usage": usage})])
    whole = client.chat.completions.create(**request)
    assert whole.dure.cost_pico == expected
    shapes: dict[str, list[dict[str, Any] | str]] = {
        "alone": [delta("a"), STOP, usage_chunk(usage), "[DONE]"],
        "on the last chunk with choices": [delta("a"), {**STOP, "usage": usage}, "[DONE]"],
        "null until the end": [{**delta("a"), "usage": None}, STOP, usage_chunk(usage), "[DONE]"],
        "twice": [delta("a"), {**STOP, "usage": usage}, usage_chunk(usage), "[DONE]"],
    }
    for name, chunks in shapes.items():
        scripted.net.reply(events(*chunks), headers=SSE)
        with client.chat.completions.create(**request, stream=True) as stream:
            list(stream)
        assert stream.dure is not None
        assert (name, stream.dure.cost_pico) == (name, expected)
