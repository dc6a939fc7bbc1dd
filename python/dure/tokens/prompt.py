"""What a chat request costs: messages, tools, images. Each count says whether it is exact."""

from __future__ import annotations

from typing import NamedTuple

from dure._check import text
from dure._core import tokenize as _native
from dure.errors import InvalidArgumentError
from dure.tokens.model import choose_encoding
from dure.tokens.registry import get_encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from dure.tokens.core import Encoding

__all__ = ["TokenCount", "count_images", "count_messages", "count_tools"]


class TokenCount(NamedTuple):
    """A count, whether it is exact, and where its formula stands."""

    tokens: int
    exact: bool
    source: str

    def to_dict(self) -> dict[str, int | bool | str]:
        """Return the three by name."""
        return self._asdict()


def _encoding_of(model: str) -> tuple[Encoding, bool, str]:
    name, known, source = choose_encoding(text(model, "model"))
    return get_encoding(name), known, "" if known else f"; encoding: {source}"


def count_messages(
    messages: Iterable[Mapping[str, Any]],
    *,
    model: str,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> TokenCount:
    """Count a chat request as the provider bills it, as far as that is published.

    Exact for messages of strings and the models that OpenAI's cookbook checked, and for gpt-oss,
    whose format is published; an estimate for other models, for tools, and for content other
    than text.

    Args:
        messages: Dicts with `role`, `content`, maybe `name`, as the API takes them.
        model: Any model; an unknown one is counted with `o200k_base`.
        tools: Function definitions, as the API takes them.

    Raises:
        InvalidArgumentError: A message is no dict, or its content has an unknown form.
    """
    encoding, known, note = _encoding_of(model)
    if encoding.name == "o200k_harmony":
        from dure.tokens import harmony

        tokens, exact = harmony.count_chat(messages, encoding, tools)
        return TokenCount(tokens, exact and known, harmony.SOURCE)
    per_message, per_name, per_reply, exact, source = _native.message_formula(model)
    total = per_reply
    plain = True
    for index, message in enumerate(messages):
        if not hasattr(message, "items"):
            raise InvalidArgumentError(
                f"messages[{index}] must be a dict, not {type(message).__name__}",
                argument="messages",
                path=f"messages[{index}]",
            )
        total += per_message
        for key, value in message.items():
            tokens, text_only = _count_value(value, encoding, model, f"messages[{index}].{key}")
            total += tokens
            plain &= text_only
            total += per_name if key == "name" else 0
    if tools:
        total += count_tools(tools, model=model).tokens
    return TokenCount(total, exact and known and plain and not tools, source + note)


def _count_value(value: object, encoding: Encoding, model: str, path: str) -> tuple[int, bool]:
    """Return (tokens, is it plain text?) of one value of a message."""
    if isinstance(value, str):
        return encoding.count(value), True
    if value is None:
        return 0, True
    if isinstance(value, list):
        parts = [_count_part(one, encoding, model, f"{path}[{i}]") for i, one in enumerate(value)]
        return sum(parts), False
    if isinstance(value, dict):
        import json

        return encoding.count(json.dumps(value, ensure_ascii=False)), False
    raise InvalidArgumentError(
        f"{path} must be a string, a list or a dict, not {type(value).__name__}",
        argument="messages",
        path=path,
    )


def _count_part(part: object, encoding: Encoding, model: str, path: str) -> int:
    """Return the tokens of one part of a content list, or of one tool call."""
    if not isinstance(part, dict):
        raise InvalidArgumentError(f"{path} must be a dict", argument="messages", path=path)
    if isinstance(part.get("text"), str):
        return encoding.count(part["text"])
    if part.get("type") == "image_url":
        from dure.tokens.images import size_of

        image = part.get("image_url") or {}
        width, height = size_of(image.get("url", ""))
        return count_images([(width, height, image.get("detail", "auto"))], model=model).tokens
    function = part.get("function")
    if isinstance(function, dict):
        return sum(encoding.count(str(function.get(key, ""))) for key in ("name", "arguments"))
    import json

    return encoding.count(json.dumps(part, ensure_ascii=False))


def count_tools(tools: Sequence[Mapping[str, Any]], *, model: str) -> TokenCount:
    """Estimate what function definitions add to a request.

    Raises:
        InvalidArgumentError: A tool has no function with a name.
    """
    encoding, _, note = _encoding_of(model)
    if encoding.name == "o200k_harmony":
        from dure.tokens import harmony

        without, _ = harmony.count_chat((), encoding)
        tokens = harmony.count_chat((), encoding, tools)[0] - without
        return TokenCount(tokens, exact=False, source=harmony.SOURCE)
    start, props_start, prop, enum_start, enum_item, end, source = _native.tool_formula(model)
    total = end if tools else 0
    for index, tool in enumerate(tools):
        function = tool.get("function", tool)
        if not isinstance(function.get("name"), str):
            raise InvalidArgumentError(
                f"tools[{index}] has no function name", argument="tools", path=f"tools[{index}]"
            )
        text = f"{function['name']}:{_without_stop(function.get('description'))}"
        total += start + encoding.count(text)
        properties = (function.get("parameters") or {}).get("properties") or {}
        total += props_start if properties else 0
        for name, fields in properties.items():
            kind, about = fields.get("type", ""), _without_stop(fields.get("description"))
            total += prop + encoding.count(f"{name}:{kind}:{about}")
            if "enum" in fields:
                items = fields["enum"]
                total += enum_start + sum(enum_item + encoding.count(str(one)) for one in items)
    return TokenCount(total, exact=False, source=source + note)


def _without_stop(description: object) -> str:
    return str(description or "").removesuffix(".")


def count_images(images: Iterable[tuple[int, int, str]], *, model: str) -> TokenCount:
    """Estimate what images add to a request.

    Args:
        images: (width, height, detail) of each, in pixels; detail: `"low"`, `"high"`, `"auto"`.
        model: Any model.

    Raises:
        InvalidArgumentError: A side or a detail is out of range.
    """
    counts = [_native.count_image(model, *image) for image in images]
    source = counts[0][1] if counts else "no images"
    return TokenCount(sum(tokens for tokens, _ in counts), exact=False, source=source)
