"""What a provider's usage body says, in the core's fields: every documented shape.

Nothing is free: a count of a kind that no field reads is `UnknownPriceError`, never left out.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError, UnknownPriceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["member", "read_usage", "usage_in"]

Path = tuple[str, ...]

_MOST = 2**63 - 1
_IN = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUT = ("completion_tokens_details", "output_tokens_details", "output_token_details")


def _each(groups: tuple[str, ...], *names: str) -> tuple[Path, ...]:
    return tuple((group, *names) for group in groups)


# Our field -> where a usage body has it (path of keys); the first that is there counts.
_FIELDS: dict[str, tuple[Path, ...]] = {
    "input": (("prompt_tokens",), ("input_tokens",), ("inputTokens",)),
    "output": (("completion_tokens",), ("output_tokens",), ("outputTokens",)),
    "cache_read": (
        ("cache_read_input_tokens",),
        ("cacheReadInputTokens",),
        *_each(_IN, "cached_tokens"),
    ),
    "cache_write": _each(_IN, "cache_write_tokens"),
    "cache_write_1h": (
        ("cache_creation", "ephemeral_1h_input_tokens"),
        *_each(_IN, "cache_write_1h_tokens"),
    ),
    "input_audio": _each(_IN, "audio_tokens"),
    "input_image": _each(_IN, "image_tokens"),
    "input_audio_cached": _each(_IN, "cached_tokens_details", "audio_tokens"),
    "input_image_cached": _each(_IN, "cached_tokens_details", "image_tokens"),
    "output_reasoning": _each(_OUT, "reasoning_tokens"),
    "output_audio": _each(_OUT, "audio_tokens"),
    "output_image": _each(_OUT, "image_tokens"),
    "input_video": _each(_IN, "video_tokens"),
    "input_video_cached": _each(_IN, "cached_tokens_details", "video_tokens"),
    "output_video": _each(_OUT, "video_tokens"),
    "web_searches": (("server_tool_use", "web_search_requests"), ("web_search_requests",)),
    "characters": (("characters",),),
    "images": (("images",),),
    "training": (("trained_tokens",),),  # of a fine-tuning job
}
# Parts of a group that cost what the whole does, or nothing beside its tokens.
_INCLUDED = {
    "text_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
    "ephemeral_5m_input_tokens",
    "web_fetch_requests",
}
_GROUPS = (*_IN, *_OUT, "cache_creation", "server_tool_use")
# A count at the top of a body that ends so is of something that is billed by itself.
_BILLED_ENDS = ("requests", "calls", "searches", "queries", "seconds", "characters", "images")
# Output of a response that is billed beside its tokens, by prices that no book of ours has.
_UNPRICED_ITEMS = ("file_search_call", "code_interpreter_call", "image_generation_call")
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}
# Google names no price for them apart from text's.
_AS_TEXT = {"TEXT", "DOCUMENT", "MODALITY_UNSPECIFIED"}


def member(body: object, name: str) -> object:
    """Return a member of a dict or an object; None: it has none."""
    if hasattr(body, "get"):
        return body.get(name)
    return getattr(body, name, None)


def _members(body: object) -> Iterator[tuple[str, object]]:
    if hasattr(body, "items"):
        yield from ((str(name), value) for name, value in body.items())
    elif body is not None:
        yield from vars(body).items() if hasattr(body, "__dict__") else ()
        yield from (getattr(body, "model_extra", None) or {}).items()


def _count(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(
            f"usage.{path} must be an int, not {type(value).__name__}", argument="usage", path=path
        )
    if not -_MOST <= value <= _MOST:
        raise InvalidArgumentError(
            f"usage.{path} is beyond 64 bits: {value}", argument="usage", path=path
        )
    return value


def _number(body: object, path: Path) -> int | None:
    for name in path:
        body = member(body, name)
        if body is None:
            return None
    return _count(body, ".".join(path))


def _milliseconds(seconds: object) -> int:
    """Return seconds as whole milliseconds, rounded up: the last part of one is not free."""
    if isinstance(seconds, str | int | float | Decimal) and not isinstance(seconds, bool):
        try:
            return _count(math.ceil(Decimal(str(seconds)) * 1000), "seconds")
        except (ArithmeticError, ValueError):  # no number, not a number, without end
            pass
    raise InvalidArgumentError(
        f"usage.seconds must be a number of seconds, not {seconds!r}",
        argument="usage",
        path="seconds",
    )


def usage_in(answer: object) -> object:
    """Return the usage body of an answer, whichever provider's; the answer itself if it is one."""
    for name in ("usage", "usageMetadata", "usage_metadata"):
        if (inner := member(answer, name)) is not None:
            return inner
    return answer


def read_usage(answer: object, model: str) -> tuple[dict[str, int], bool]:
    """Return our fields and whether input contains its parts (OpenAI: yes, Anthropic: no).

    Args:
        answer: A response or its usage body.
        model: Named by what is refused.

    Raises:
        InvalidArgumentError: There is no usage in it, or a count is none.
        UnknownPriceError: It counts something that no price is known for.
    """
    usage = usage_in(answer)
    fields: dict[str, int] = {}
    for name, paths in _FIELDS.items():
        for path in paths:
            if (found := _number(usage, path)) is not None:
                fields[name] = found
                break
    created = _number(usage, ("cache_creation_input_tokens",))
    if created is None:
        created = _number(usage, ("cacheWriteInputTokens",))
    if created is not None:
        fields["cache_write"] = created - fields.get("cache_write_1h", 0)
    _read_gemini(usage, fields, model)
    if (seconds := member(usage, "seconds")) is not None:
        of_video = member(answer, "object") == "video"  # a job's, whose whole body is its usage
        fields["video_milliseconds" if of_video else "milliseconds"] = _milliseconds(seconds)
    if (seconds := member(usage, "video_seconds")) is not None:
        fields["video_milliseconds"] = _milliseconds(seconds)
    _read_items(answer, fields, model)
    _refuse_unknown(usage, model)
    if not fields:
        raise InvalidArgumentError(
            "no usage in there: give a response, its .usage, or a provider's usage dict",
            argument="usage",
        )
    excluded = ("cache_read_input_tokens", "cacheReadInputTokens")  # Anthropic, Bedrock
    apart = created is not None or any(member(usage, name) is not None for name in excluded)
    return fields, not apart


def _unknown(model: str, what: str) -> UnknownPriceError:
    return UnknownPriceError(
        f"No price is known for {model}, usage.{what}: nothing is free by default; take it out of "
        "the usage if it is billed elsewhere",
        model=model,
        unit=what,
    )


def _refuse_unknown(usage: object, model: str) -> None:
    read = {path for paths in _FIELDS.values() for path in paths}
    for group in _GROUPS:
        for name, value in _members(member(usage, group)):
            known = name in _INCLUDED or (group, name) in read
            if not known and isinstance(value, int) and value > 0:
                raise _unknown(model, f"{group}.{name}")
    for name, value in _members(usage):
        known = (name,) in read or name in {"seconds", "video_seconds"}
        if not known and name.endswith(_BILLED_ENDS) and isinstance(value, int) and value > 0:
            raise _unknown(model, name)


def _read_items(answer: object, fields: dict[str, int], model: str) -> None:
    """Count what the output of a response says beside its usage: searches."""
    output = member(answer, "output")
    searches = 0
    for item in output if isinstance(output, list | tuple) else ():
        kind = member(item, "type")
        if kind in _UNPRICED_ITEMS:
            raise _unknown(model, f"output.{kind}")
        # Opening a page and finding a word in it are no searches.
        action = member(member(item, "action"), "type") or "search"
        searches += kind == "web_search_call" and action == "search"
    if searches:
        fields["web_searches"] = searches


# Gemini ------------------------------------------------------------------------------------------


def _snake(name: str) -> str:
    return "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)


def _either(usage: object, name: str) -> object:
    """Return a member by the name on the wire, or by the one that Google's library gives it."""
    found = member(usage, name)
    return member(usage, _snake(name)) if found is None else found


def _tokens(usage: object, name: str) -> int:
    found = _either(usage, name)
    return 0 if found is None else _count(found, name)


def _modalities(usage: object, name: str) -> Iterator[tuple[str, int]]:
    entries = _either(usage, name)
    for entry in entries if isinstance(entries, list | tuple) else ():
        modality = member(entry, "modality")
        count = _tokens(entry, "tokenCount")
        yield str(getattr(modality, "value", modality)).upper(), count


def _add_modalities(
    usage: object, name: str, prefix: str, suffix: str, fields: dict[str, int], model: str
) -> None:
    for modality, count in _modalities(usage, name):
        if modality in _MODALITIES:
            field = f"{prefix}_{_MODALITIES[modality]}{suffix}"
            fields[field] = fields.get(field, 0) + count
        elif count > 0 and modality not in _AS_TEXT:
            raise _unknown(model, f"{name}.{modality}")


def _read_gemini(usage: object, fields: dict[str, int], model: str) -> None:
    if _either(usage, "promptTokenCount") is None:
        return
    # Thoughts come beside the candidates; what tools put in is billed as input.
    thoughts = _tokens(usage, "thoughtsTokenCount")
    fields["input"] = _tokens(usage, "promptTokenCount") + _tokens(usage, "toolUsePromptTokenCount")
    fields["output"] = _tokens(usage, "candidatesTokenCount") + thoughts
    fields["output_reasoning"] = thoughts
    fields["cache_read"] = _tokens(usage, "cachedContentTokenCount")
    for name, prefix, suffix in (
        ("promptTokensDetails", "input", ""),
        ("toolUsePromptTokensDetails", "input", ""),
        ("cacheTokensDetails", "input", "_cached"),
        ("candidatesTokensDetails", "output", ""),
    ):
        _add_modalities(usage, name, prefix, suffix, fields, model)
