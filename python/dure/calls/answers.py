"""Answers of the other resources: raw replies, pages, bytes, responses, parsed objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.calls.replies import ChatCompletionChunk, Facts, LazyReply, RawReply, WireObject

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from dure._core import client as core

__all__ = [
    "Answer",
    "BinaryAnswer",
    "FixedFacts",
    "ParsedChatCompletion",
    "RawAnswer",
    "Response",
    "ResponseStreamEvent",
    "TextAnswer",
]


# What openai-python's types give as None when the wire left it out, beside those of chat.
OPTIONAL = frozenset(
    [
        "access_programs",
        "background",
        "cancelled_at",
        "cancelling_at",
        "completed_at",
        "conversation",
        "data",
        "error",
        "error_file_id",
        "errors",
        "expired_at",
        "expires_at",
        "failed_at",
        "finalizing_at",
        "image",
        "in_progress_at",
        "incomplete_details",
        "input_transformations",
        "instructions",
        "languages",
        "logprobs",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "output_file_id",
        "output_format",
        "previous_response_id",
        "prompt",
        "prompt_cache_diagnostics",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "quality",
        "reasoning",
        "request_counts",
        "safety_identifier",
        "segments",
        "service_tier",
        "size",
        "status",
        "status_details",
        "svg_usage",
        "temperature",
        "text",
        "tool_usage",
        "top_logprobs",
        "top_p",
        "truncation",
        "usage",
        "user",
        "words",
    ]
)


class FixedFacts(Facts):
    """What a call with a price of its own came to."""

    __slots__ = ("_pico",)

    def __init__(self, record: core.Record, pico: int) -> None:
        super().__init__(record)
        self._pico = pico

    @property
    def cost_pico(self) -> int:
        """The price."""
        return self._pico

    @property
    def cost_usd(self) -> Any:  # noqa: ANN401 - Decimal, loaded on use
        """The price in dollars."""
        from dure._dollars import to_dollars

        return to_dollars(self._pico)


class Answer(LazyReply):
    """A JSON object of the provider; members as attributes, optional ones that are missing None."""

    __slots__ = ("_facts",)

    def __init__(self, reply: core.Reply) -> None:
        super().__init__(reply)
        self._facts: Facts | None = None

    @property
    def dure(self) -> Facts:
        """What the call came to."""
        return super().dure if self._facts is None else self._facts

    @dure.setter
    def dure(self, facts: Facts) -> None:
        self._facts = facts

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the wire says
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in OPTIONAL:
                return None
            raise


class Response(Answer):
    """An answer of the Responses API: `.output`, `.output_text`, `.usage`, `.dure`."""

    __slots__ = ()

    @property
    def output_text(self) -> str:
        """The text of all messages."""
        return text_of(self._load())


def text_of(response: dict[str, Any]) -> str:
    """Return the text of all messages of a response."""
    parts = (part for item in response.get("output") or [] for part in item.get("content") or [])
    return "".join(part["text"] for part in parts if part.get("type") == "output_text")


class ResponseStreamEvent(ChatCompletionChunk):
    """One event of a streamed response: `.type`, and what belongs to it."""

    __slots__ = ()


class ParsedChatCompletion(LazyReply):
    """A chat answer whose messages have `.parsed`: an object of the class that was asked for."""

    __slots__ = ("_objects",)

    def __init__(self, reply: core.Reply, objects: list[Any]) -> None:
        super().__init__(reply)
        self._objects = objects

    @property
    def choices(self) -> list[ParsedChoice]:
        """The choices."""
        found = self._load()["choices"]
        return [ParsedChoice(c, o) for c, o in zip(found, self._objects, strict=True)]


class ParsedChoice(WireObject):
    """A choice whose message has been read."""

    __slots__ = ("_parsed",)

    def __init__(self, data: dict[str, Any], parsed: object) -> None:
        super().__init__(data)
        self._parsed = parsed

    @property
    def message(self) -> ParsedMessage:
        """The message."""
        return ParsedMessage(self._data["message"], self._parsed)


class ParsedMessage(WireObject):
    """A message and the object in it; None if the model refused."""

    __slots__ = ("parsed",)

    def __init__(self, data: dict[str, Any], parsed: Any) -> None:  # noqa: ANN401 - the caller's
        super().__init__(data)
        self.parsed = parsed


class BinaryAnswer(RawReply):
    """Bytes: a file, or speech. `.content`, `.read()`, `.write_to_file(path)`."""

    __slots__ = ()

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content

    def iter_bytes(self, chunk_size: int = 65536) -> Iterator[bytes]:
        """Yield the bytes in pieces."""
        content = self.content
        for start in range(0, len(content), chunk_size):
            yield content[start : start + chunk_size]

    def write_to_file(self, file: str | os.PathLike[str]) -> None:
        """Write the bytes to a file."""
        Path(file).write_bytes(self.content)

    def raw(self) -> RawReply:
        """Return status, headers and bytes as they came."""
        return self


class TextAnswer(RawReply):
    """Plain text: subtitles, or speech written down."""

    __slots__ = ()

    def raw(self) -> RawReply:
        """Return status, headers and bytes as they came."""
        return self


class RawAnswer(RawReply):
    """Status, headers and bytes of an answer, and by `.parse()` the answer itself."""

    __slots__ = ("_parsed",)

    def __init__(self, parsed: Any) -> None:  # noqa: ANN401 - any answer with raw()
        super().__init__(parsed.raw()._reply)
        self._parsed = parsed
        self.dure = parsed.dure

    @property
    def status_code(self) -> int:
        """HTTP status."""
        return self.status

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request."""
        return self.headers.get("x-request-id")

    @property
    def retries_taken(self) -> int:
        """Attempts beyond the first."""
        return self.dure.retries

    def parse(self) -> Any:  # noqa: ANN401 - the method's own kind of answer
        """Return the answer as the method gives it without `with_raw_response`."""
        return self._parsed.text if isinstance(self._parsed, TextAnswer) else self._parsed

    def read(self) -> bytes:
        """Return the body's bytes."""
        return self.content

    def iter_bytes(self, chunk_size: int = 65536) -> Iterator[bytes]:
        """Yield the body in pieces."""
        for start in range(0, len(self.content), chunk_size):
            yield self.content[start : start + chunk_size]

    def iter_lines(self) -> Iterator[str]:
        """Yield the body's lines."""
        yield from self.text.splitlines()
