"""What each documented usage body counts, and that no count in it is free."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dure.costs import PriceBook
from dure.errors import InvalidArgumentError, UnknownPriceError

RATES = {
    "input.text": 5, "input.text.cache_read": 2, "input.audio": 50, "input.audio.cache_read": 11,
    "input.image": 20, "input.video": 5, "output.text": 7, "output.audio": 90, "output.image": 40,
    "output.reasoning": 3, "search.web": 1000, "image": 500, "character": 13,
    "millisecond": 1,
}  # fmt: skip
BOOK = PriceBook([{"id": "m", "prices": [{"rates": RATES}]}])
Body = dict[str, Any]

GEMINI: Body = {
    "promptTokenCount": 110,
    "promptTokensDetails": [
        {"modality": "AUDIO", "tokenCount": 80},
        {"modality": "TEXT", "tokenCount": 20},
        {"modality": "IMAGE", "tokenCount": 6},
        {"modality": "VIDEO", "tokenCount": 4},
    ],
    "cachedContentTokenCount": 40,
    "cacheTokensDetails": [
        {"modality": "AUDIO", "tokenCount": 30},
        {"modality": "TEXT", "tokenCount": 10},
    ],
    "toolUsePromptTokenCount": 9,
    "candidatesTokenCount": 1300,
    "candidatesTokensDetails": [
        {"modality": "IMAGE", "tokenCount": 1290},
        {"modality": "TEXT", "tokenCount": 10},
    ],
    "thoughtsTokenCount": 17,
}
GEMINI_UNITS = {
    "input.text": 10 + 9, "input.text.cache_read": 10, "input.audio": 50,
    "input.audio.cache_read": 30, "input.image": 6, "input.video": 4,
    "output.text": 10, "output.reasoning": 17, "output.image": 1290,
}  # fmt: skip
REALTIME: Body = {
    "input_tokens": 100,
    "output_tokens": 10,
    "input_token_details": {
        "text_tokens": 20,
        "audio_tokens": 80,
        "cached_tokens": 70,
        "cached_tokens_details": {"text_tokens": 6, "audio_tokens": 64},
    },
    "output_token_details": {"text_tokens": 2, "audio_tokens": 8},
}
REALTIME_UNITS = {
    "input.text": 14, "input.text.cache_read": 6, "input.audio": 16, "input.audio.cache_read": 64,
    "output.text": 2, "output.audio": 8,
}  # fmt: skip


def counted(usage: object) -> dict[str, int]:
    """Return the units that are billed, having summed their lines by hand."""
    cost = BOOK.cost(usage, model="m")
    assert cost.flags == ()
    assert cost.pico == sum(line.quantity * RATES[line.unit] for line in cost.lines)
    return {line.unit: line.quantity for line in cost.lines}


def snake(value: object) -> object:
    """Return a body as Google's library gives it: objects with attributes in snake case."""
    if isinstance(value, list):
        return [snake(one) for one in value]
    if isinstance(value, dict):
        names = {
            "".join(f"_{c.lower()}" if c.isupper() else c for c in name): name for name in value
        }
        return SimpleNamespace(**{name: snake(value[wire]) for name, wire in names.items()})
    return value


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        (GEMINI, GEMINI_UNITS),
        ({"candidates": [], "usageMetadata": GEMINI}, GEMINI_UNITS),
        (SimpleNamespace(usage_metadata=snake(GEMINI)), GEMINI_UNITS),
        (REALTIME, REALTIME_UNITS),
        ({"characters": 10}, {"character": 10}),
        ({"images": 2}, {"image": 2}),
        ({"type": "duration", "seconds": 0.0009}, {"millisecond": 1}),
        (
            {
                "input_tokens": 9,
                "output_tokens": 60,
                "output_tokens_details": {"image_tokens": 50, "text_tokens": 10},
            },
            {"input.text": 9, "output.text": 10, "output.image": 50},
        ),
        (
            {
                "input_tokens": 4,
                "cache_read_input_tokens": 6,
                "output_tokens": 5,
                "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2},
            },
            {"input.text": 4, "input.text.cache_read": 6, "output.text": 5, "search.web": 3},
        ),
    ],
)
def test_every_part_has_its_unit(usage: object, units: dict[str, int]) -> None:
    assert counted(usage) == units


def test_searches_of_a_response_are_counted() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2}
    items: list[Body] = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call"},
        {"type": "message"},
    ]
    units = {"input.text": 1, "output.text": 2, "search.web": 2}
    assert counted({"output": items, "usage": usage}) == units
    assert counted(SimpleNamespace(output=items, usage=usage)) == units


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"server_tool_use": {"code_execution_requests": 5}}, "code_execution_requests"),
        ({"input_tokens_details": {"odour_tokens": 8}}, "odour_tokens"),
        ({"output_token_details": {"smell_tokens": 1}}, "smell_tokens"),
        ({"cache_creation": {"ephemeral_24h_input_tokens": 1}}, "ephemeral_24h"),
        ({"video_seconds": 8}, "video.millisecond"),
        ({"num_search_queries": 1}, "num_search_queries"),
    ],
)
def test_a_count_that_nobody_can_price_is_an_error(more: Body, named: str) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    with pytest.raises(UnknownPriceError, match=named) as unknown:
        BOOK.cost({**usage, **more}, model="m")
    assert named in unknown.value.unit
    assert unknown.value.model == "m"
    nothing = {
        name: dict.fromkeys(value, 0) if isinstance(value, dict) else 0
        for name, value in more.items()
    }
    assert BOOK.cost({**usage, **nothing}, model="m").pico == 12  # none of it was used


@pytest.mark.parametrize("kind", ["file_search_call", "code_interpreter_call"])
def test_a_tool_that_nobody_can_price_is_an_error(kind: str) -> None:
    answer = {"output": [{"type": kind}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    with pytest.raises(UnknownPriceError, match=kind):
        BOOK.cost(answer, model="m")


@pytest.mark.parametrize(("modality", "named"), [("SMELL", "SMELL"), ("VIDEO", "output.video")])
def test_a_modality_that_nobody_can_price_is_an_error(modality: str, named: str) -> None:
    usage = {
        "promptTokenCount": 1,
        "candidatesTokenCount": 5,
        "candidatesTokensDetails": [{"modality": modality, "tokenCount": 5}],
    }
    with pytest.raises(UnknownPriceError, match=named):
        BOOK.cost(usage, model="m")


@pytest.mark.parametrize("seconds", ["x", "nan", "inf", True, [1]])
def test_bad_seconds(seconds: object) -> None:
    with pytest.raises(InvalidArgumentError, match="seconds"):
        BOOK.cost({"seconds": seconds}, model="m")


def test_equal_to_genai_prices_reading_gemini() -> None:
    """The peer reads modalities out of the same body by its own extractor."""
    snapshot = pytest.importorskip("genai_prices.data_snapshot")
    provider = next(one for one in snapshot.get_snapshot().providers if one.id == "google")
    _, theirs = provider.extract_usage({"modelVersion": "gemini-2.5-pro", "usageMetadata": GEMINI})
    ours = counted(GEMINI)
    total = {
        kind: sum(count for unit, count in ours.items() if unit.startswith(kind))
        for kind in ("input", "input.audio", "output")
    }
    assert theirs.input_tokens == total["input"]
    assert theirs.input_audio_tokens == total["input.audio"]
    assert theirs.cache_audio_read_tokens == ours["input.audio.cache_read"]
    assert theirs.cache_read_tokens == 40
    assert theirs.output_tokens == total["output"]
    assert theirs.output_image_tokens == ours["output.image"]
    assert theirs.output_reasoning_tokens == ours["output.reasoning"]
