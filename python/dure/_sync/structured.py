# Generated from dure/aio/structured.py by scripts/async_to_sync.py: change that one.
"""Chat answers read into a class, and streams with events of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dure._dollars import to_dollars
from dure._sync.closing import Closing
from dure.calls import Call, pico_of_dollars
from dure.calls.answers import ParsedChatCompletion
from dure.calls.assemble import Assembly, StreamEvent
from dure.calls.schemas import response_format_of
from dure.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure._sync.client import Completions
    from dure.calls.replies import Facts, WireObject

__all__ = ["ChatStream", "parse"]


def parse(completions: Completions, kind: Any, options: Any) -> ParsedChatCompletion:  # noqa: ANN401
    """Ask until an answer is a `kind`, within the limits of one call.

    Raises:
        UpstreamError: no answer was; `.code` is invalid_output, or length: it was cut short.
    """
    call = options.pop("dure", None) or Call(max_attempts=completions._view.max_retries + 1)
    wanted = response_format_of(kind)
    while True:
        answer = completions.create(response_format=wanted, dure=call, **options)
        try:
            return ParsedChatCompletion(answer._reply, [read(kind, c) for c in answer.choices])
        except ValueError as wrong:
            left = what_is_left(call, answer.dure)
            if left is None:
                raise UpstreamError(
                    f"the answer is no {kind.__name__}: {wrong}",
                    code="invalid_output",
                    body=answer.model_dump_json(),
                ) from wrong
            call = left


def read(kind: Any, choice: WireObject) -> Any:  # noqa: ANN401 - a kind
    """Return the object in a choice; None if the model refused."""
    if choice.finish_reason == "length":
        raise UpstreamError("the answer was cut by its token limit: raise it", code="length")
    content = choice.message.content
    return None if content is None else kind.model_validate_json(content)


def what_is_left(call: Call, used: Facts) -> Call | None:
    """Return the call's limits after one answer; None if there is nothing left of one."""
    attempts = call.max_attempts - used.attempts
    cost = pico_of_dollars(call.max_cost, argument="max_cost")
    if cost is not None:
        cost -= used.cost_pico
    seconds = None if call.deadline is None else call.deadline - used.latency
    if attempts < 1 or (cost is not None and cost <= 0) or (seconds is not None and seconds <= 0):
        return None
    most = None if cost is None else to_dollars(cost)
    return replace(call, max_attempts=attempts, max_cost=most, deadline=seconds)


class ChatStream(Closing):
    """`with client.chat.completions.stream(...) as stream`: iterate for events.

    `stream.get_final_completion()` reads on to the end and returns the whole answer.
    """

    def __init__(self, completions: Completions, options: dict[str, Any]) -> None:
        self._completions, self._options = completions, options
        self._assembly = Assembly()

    def __enter__(self) -> ChatStream:
        self._stream = self._completions.create(**self._options, stream=True)
        self._events = self._read()
        return self

    def close(self) -> None:
        """Stop: what still runs is cancelled. Idempotent."""
        self._stream.close()

    def _read(self) -> Iterator[StreamEvent]:
        for chunk in self._stream:
            for event in self._assembly.add(chunk.to_dict()):
                yield event
        for choice in self._assembly.whole().choices:
            yield StreamEvent({"type": "content.done", "content": choice.message.content})

    def __iter__(self) -> Iterator[StreamEvent]:
        return self._events

    def get_final_completion(self) -> WireObject:
        """Read on to the end and return the whole answer."""
        for _ in self._events:
            pass
        return self._assembly.whole()

    @property
    def dure(self) -> Facts | None:
        """What the call came to; None until the stream has ended."""
        facts: Facts | None = self._stream.dure
        return facts
