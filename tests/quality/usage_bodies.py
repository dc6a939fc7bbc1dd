"""Golden usage bodies: every documented shape, made from the disjoint counts that it means.

Each builder writes a provider's body from counts per unit, as its API reference describes it; the
reader under test goes the other way. `python tests/quality/usage_bodies.py` rewrites the golden
file from the fraction calculator below, which shares no code with the product.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[1] / "data" / "usage_bodies.jsonl"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
Units = dict[str, int]

# Models beside the snapshot's: dollars for so many units, as fractions of their price pages.
OVERLAY: dict[str, dict[str, tuple[str, int]]] = {
    "test-audio": {"input.text": ("2.5", 10**6), "input.audio": ("40", 10**6),
                   "input.text.cache_read": ("1.25", 10**6), "output.text": ("10", 10**6),
                   "output.audio": ("80", 10**6)},
    "test-image": {"input.text": ("5", 10**6), "input.image": ("10", 10**6),
                   "input.text.cache_read": ("1.25", 10**6), "output.text": ("40", 10**6)},
    "test-seconds": {"millisecond": ("0.006", 60_000)},
    "test-characters": {"character": ("15", 10**6)},
    "test-thinker": {"input.text": ("1.25", 10**6), "input.text.cache_read": ("0.3125", 10**6),
                     "output.text": ("10", 10**6), "output.reasoning": ("3.5", 10**6)},
    "test-live": {"input.text": ("4", 10**6), "input.audio": ("32", 10**6),
                  "input.image": ("5", 10**6), "input.text.cache_read": ("0.4", 10**6),
                  "input.audio.cache_read": ("0.6", 10**6),
                  "input.image.cache_read": ("0.5", 10**6), "output.text": ("16", 10**6),
                  "output.audio": ("64", 10**6), "output.image": ("30", 10**6)},
    "test-thirds": {"input.text": ("1", 3 * 10**6), "output.text": ("2", 7 * 10**6)},
}  # fmt: skip


def chat(units: Units) -> dict[str, Any]:
    """OpenAI chat completions: the prompt contains cached, cache-write and audio tokens."""
    inputs = sum(count for unit, count in units.items() if unit.startswith("input"))
    outputs = sum(count for unit, count in units.items() if unit.startswith("output"))
    return {
        "prompt_tokens": inputs,
        "completion_tokens": outputs,
        "total_tokens": inputs + outputs,
        "prompt_tokens_details": {
            "cached_tokens": units.get("input.text.cache_read", 0),
            "audio_tokens": units.get("input.audio", 0),
            "cache_write_tokens": units.get("input.text.cache_write", 0),
        },
        "completion_tokens_details": {
            "reasoning_tokens": units.get("output.reasoning", 0),
            "audio_tokens": units.get("output.audio", 0),
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def old_chat(units: Units) -> dict[str, Any]:
    """The same before there were details."""
    body = chat(units)
    return {name: body[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def responses(units: Units) -> dict[str, Any]:
    """OpenAI Responses."""
    body = chat(units)
    return {
        "input_tokens": body["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": units.get("input.text.cache_read", 0),
            "cache_write_tokens": units.get("input.text.cache_write", 0),
        },
        "output_tokens": body["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": units.get("output.reasoning", 0)},
        "total_tokens": body["total_tokens"],
    }


def embeddings(units: Units) -> dict[str, Any]:
    """OpenAI embeddings: no output."""
    return {"prompt_tokens": units["input.text"], "total_tokens": units["input.text"]}


def anthropic(units: Units) -> dict[str, Any]:
    """Anthropic messages: the input excludes what was cached; writes by time to live."""
    short, long = units.get("input.text.cache_write", 0), units.get("input.text.cache_write_1h", 0)
    body: dict[str, Any] = {
        "input_tokens": units.get("input.text", 0),
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": units.get("input.text.cache_read", 0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": long,
        },
        "output_tokens": units.get("output.text", 0),
        "service_tier": "standard",
        "inference_geo": "global",
    }
    if searches := units.get("search.web"):
        body["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return body


def gemini(units: Units) -> dict[str, Any]:
    """Gemini: the prompt contains what was cached, the candidates exclude thoughts."""
    prompt = units.get("input.text", 0) + units.get("input.text.cache_read", 0)
    candidates, thoughts = units.get("output.text", 0), units.get("output.reasoning", 0)
    return {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": units.get("input.text.cache_read", 0),
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": prompt + candidates + thoughts,
    }


def gemini_modalities(units: Units) -> dict[str, Any]:
    """Gemini with audio and images: lists by modality beside the totals that contain them."""

    def details(*kinds: str) -> list[dict[str, Any]]:
        found: dict[str, int] = {}
        for kind in kinds:
            unit, modality = kind.split("=")
            found[modality] = found.get(modality, 0) + units.get(unit, 0)
        return [{"modality": name, "tokenCount": count} for name, count in found.items()]

    cached = details("input.text.cache_read=TEXT", "input.audio.cache_read=AUDIO",
                     "input.image.cache_read=IMAGE")  # fmt: skip
    prompt = details("input.text=TEXT", "input.audio=AUDIO", "input.image=IMAGE",
                     "input.text.cache_read=TEXT", "input.audio.cache_read=AUDIO",
                     "input.image.cache_read=IMAGE")  # fmt: skip
    answer = details("output.text=TEXT", "output.audio=AUDIO", "output.image=IMAGE")
    return {
        "promptTokenCount": sum(one["tokenCount"] for one in prompt),
        "promptTokensDetails": prompt,
        "cachedContentTokenCount": sum(one["tokenCount"] for one in cached),
        "cacheTokensDetails": cached,
        "candidatesTokenCount": sum(one["tokenCount"] for one in answer),
        "candidatesTokensDetails": answer,
        "thoughtsTokenCount": units.get("output.reasoning", 0),
    }


def realtime(units: Units) -> dict[str, Any]:
    """OpenAI realtime: cached tokens by modality, contained in the cached ones and in each kind."""
    cached = {
        f"{kind}_tokens": units.get(f"input.{kind}.cache_read", 0)
        for kind in ("text", "audio", "image")
    }
    inputs = {
        f"{kind}_tokens": units.get(f"input.{kind}", 0) + cached[f"{kind}_tokens"]
        for kind in ("text", "audio", "image")
    }
    outputs = {f"{kind}_tokens": units.get(f"output.{kind}", 0) for kind in ("text", "audio")}
    return {
        "total_tokens": sum(inputs.values()) + sum(outputs.values()),
        "input_tokens": sum(inputs.values()),
        "input_token_details": {
            **inputs,
            "cached_tokens": sum(cached.values()),
            "cached_tokens_details": cached,
        },
        "output_tokens": sum(outputs.values()),
        "output_token_details": outputs,
    }


def image_output(units: Units) -> dict[str, Any]:
    """OpenAI images: the output split by what was drawn and what was written."""
    outputs = units.get("output.text", 0) + units.get("output.image", 0)
    return {
        **images({**units, "output.text": outputs}),
        "output_tokens_details": {
            "text_tokens": units.get("output.text", 0),
            "image_tokens": units.get("output.image", 0),
        },
    }


def characters(units: Units) -> dict[str, Any]:
    """Speech by its characters."""
    return {"characters": units["character"]}


def bedrock(units: Units) -> dict[str, Any]:
    """Bedrock Converse: the input excludes what was cached."""
    return {
        "inputTokens": units.get("input.text", 0),
        "outputTokens": units.get("output.text", 0),
        "cacheReadInputTokens": units.get("input.text.cache_read", 0),
        "cacheWriteInputTokens": units.get("input.text.cache_write", 0),
        "totalTokens": sum(units.values()),
    }


def transcription(units: Units) -> dict[str, Any]:
    """OpenAI transcription by duration."""
    return {"type": "duration", "seconds": units["millisecond"] / 1000}


def transcription_tokens(units: Units) -> dict[str, Any]:
    """OpenAI transcription by tokens."""
    return {
        "type": "tokens",
        "input_tokens": units.get("input.text", 0) + units["input.audio"],
        "input_token_details": {
            "text_tokens": units.get("input.text", 0),
            "audio_tokens": units["input.audio"],
        },
        "output_tokens": units.get("output.text", 0),
    }


def images(units: Units) -> dict[str, Any]:
    """OpenAI images by tokens."""
    inputs = units.get("input.text", 0) + units.get("input.image", 0)
    return {
        "input_tokens": inputs,
        "input_tokens_details": {
            "text_tokens": units.get("input.text", 0),
            "image_tokens": units.get("input.image", 0),
        },
        "output_tokens": units["output.text"],
        "total_tokens": inputs + units["output.text"],
    }


SHAPES: dict[str, Callable[[Units], dict[str, Any]]] = {
    make.__name__: make
    for make in (chat, old_chat, responses, embeddings, anthropic, gemini, bedrock, transcription,
                 transcription_tokens, images, gemini_modalities, realtime, image_output,
                 characters)
}  # fmt: skip
_OPENAI = ["gpt-4o-mini", "gpt-4o", "gpt-4-turbo", "o1-preview", "gpt-4.1", "o3", "gpt-5.4",
           "gpt-6-sol", "gpt-6-luna", "gpt-5-nano"]  # fmt: skip
_CLAUDE = ["claude-sonnet-4-5", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"]
_CHAT = [{"input.text": 1}, {"input.text": 1000, "output.text": 500},
         {"input.text": 37, "input.text.cache_read": 1024, "output.text": 3},
         {"input.text": 271_999, "input.text.cache_read": 1, "output.text": 7},
         {"input.text": 200_001, "input.text.cache_read": 72_000, "output.text": 4096,
          "output.reasoning": 2048}]  # fmt: skip
_ANTHROPIC = [{"input.text": 10, "output.text": 77},
              {"input.text": 1, "input.text.cache_read": 200_000, "output.text": 9},
              {"input.text": 3, "input.text.cache_write": 1500, "output.text": 1},
              {"input.text": 3, "input.text.cache_write_1h": 1500, "output.text": 1},
              {"input.text": 150_000, "input.text.cache_read": 40_000,
               "input.text.cache_write": 10_001, "output.text": 64_000},
              {"input.text": 5, "output.text": 6, "search.web": 3}]  # fmt: skip
_OTHER: list[tuple[str, str, list[Units]]] = [
    ("embeddings", "text-embedding-3-small", [{"input.text": n} for n in (1, 8191, 10**6 + 7)]),
    ("embeddings", "text-embedding-3-large", [{"input.text": n} for n in (1, 8191, 10**6 + 7)]),
    ("embeddings", "text-embedding-ada-002", [{"input.text": n} for n in (1, 8191, 10**6 + 7)]),
    ("chat", "test-audio", [{"input.text": 11, "input.audio": 129, "output.text": 5,
                             "output.audio": n} for n in (1, 64, 4097)]),
    ("transcription_tokens", "test-audio", [{"input.text": n, "input.audio": 14 * n + 1,
                                             "output.text": 45} for n in (0, 1, 88)]),
    ("images", "test-image", [{"input.text": n, "input.image": 323, "output.text": 4160}
                              for n in (1, 10, 777)]),
    ("transcription", "test-seconds", [{"millisecond": n} for n in (1, 9_000, 61_500, 3_600_001)]),
    ("gemini", "test-thinker", [{"input.text": 100 + n, "input.text.cache_read": 4096 * n,
                                 "output.text": 19, "output.reasoning": 512 * n}
                                for n in (0, 1, 2, 33)]),
    ("gemini_modalities", "test-live",
     [{"input.text": 20 + n, "input.audio": 50 * n, "input.audio.cache_read": 30 * n,
       "input.text.cache_read": 10, "input.image": n, "input.image.cache_read": n % 2,
       "output.text": 10, "output.image": 1290 * n, "output.reasoning": 17}
      for n in range(12)]),
    ("realtime", "test-live",
     [{"input.text": 14, "input.text.cache_read": 6 * n, "input.audio": 16 + n,
       "input.audio.cache_read": 64 * n, "input.image.cache_read": n % 3, "output.text": 2,
       "output.audio": 8 * n} for n in range(12)]),
    ("image_output", "test-live", [{"input.text": 9, "input.image": n, "output.text": n,
                                    "output.image": 4160} for n in (0, 1, 323)]),
    ("characters", "test-characters", [{"character": n} for n in (1, 4096, 10**6 + 3)]),
    ("bedrock", "claude-sonnet-4-5", [{"input.text": n, "input.text.cache_read": 3 * n,
                                       "input.text.cache_write": 2, "output.text": 40}
                                      for n in (1, 999, 70_001)]),
    ("responses", "test-thirds", [{"input.text": n, "output.text": n + 1} for n in range(40)]),
    ("chat", "test-thirds", [{"input.text": 3 * 10**k + k, "output.text": 7 * k}
                             for k in range(9)]),
]  # fmt: skip


def cases() -> Iterator[tuple[str, str, str, Units]]:
    """Yield shape, model, tier and counts of each golden body."""
    for model in _OPENAI:
        for units in _CHAT:
            yield "chat", model, "default", units
            yield "responses", model, "default", units
            if units.keys() <= {"input.text", "output.text"}:
                yield "old_chat", model, "default", units
    for model, tier in (("gpt-4o", "priority"), ("gpt-4o-mini", "priority"), ("o3", "flex"),
                        ("o3", "priority"), ("gpt-5.4", "flex"), ("gpt-5.4", "priority"),
                        ("gpt-4o", "batch"), ("gpt-5.4", "batch"), ("o3", "batch")):  # fmt: skip
        for units in _CHAT:
            yield "chat", model, tier, units
            yield "responses", model, tier, units
    for model in _CLAUDE:
        for units in _ANTHROPIC:
            yield "anthropic", model, "default", units
    for shape, model, many in _OTHER:
        for units in many:
            yield shape, model, "default", units


# The calculator: genai-prices' own Decimal rates as fractions, and the overlay's ----------------

_MTOK = {"input.text": "input_mtok", "input.text.cache_read": "cache_read_mtok",
         "input.text.cache_write": "cache_write_mtok",
         "input.text.cache_write_1h": "cache_write_1h_mtok",
         "output.text": "output_mtok"}  # fmt: skip
_PARENT = {"output.reasoning": "output.text", "input.text.cache_read": "input.text",
           "input.text.cache_write": "input.text",
           "input.text.cache_write_1h": "input.text.cache_write"}  # fmt: skip


def _rate(model: str, tier: str, unit: str, total_input: int) -> Fraction:
    """Return dollars of one unit."""
    if model in OVERLAY:
        rates = OVERLAY[model]
        while unit not in rates:
            unit = _PARENT[unit]
        dollars, per = rates[unit]
        return Fraction(dollars) / per
    from genai_prices import data_snapshot

    found = next(
        entry
        for provider in data_snapshot.get_snapshot().providers
        if provider.id in {"openai", "anthropic"}
        for entry in provider.models
        if entry.id == model
    )
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    prices = found.get_prices(NOW, context)
    if unit == "search.web":
        searches: Any = prices.web_searches_kcount
        return Fraction(searches) / 1000
    while unit not in _MTOK or getattr(prices, _MTOK[unit]) is None:
        unit = _PARENT[unit]
    price: Any = getattr(prices, _MTOK[unit])
    if hasattr(price, "tiers"):
        fitting = [step.price for step in price.tiers if total_input > step.start]
        price = fitting[-1] if fitting else price.base
    return Fraction(price) / 10**6


def expected(model: str, tier: str, units: Units) -> int:
    """Return the cost in pico-dollars: one rounding half to even per line."""
    total_input = sum(count for unit, count in units.items() if unit.startswith("input"))
    return sum(
        round(_rate(model, tier, unit, total_input) * count * 10**12)
        for unit, count in units.items()
        if count
    )


def golden() -> Iterator[str]:
    """Yield the lines of the golden file."""
    for shape, model, tier, units in cases():
        yield json.dumps(
            {
                "shape": shape,
                "model": model,
                "tier": tier,
                "units": units,
                "body": SHAPES[shape](units),
                "pico": expected(model, tier, units),
            }
        )


if __name__ == "__main__":
    lines = list(golden())
    GOLDEN.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"{len(lines)} bodies\n")
