# Generated from dure/aio/streams.py by scripts/async_to_sync.py: change that one.
"""A streamed answer: iterate for chunks; `.dure` says what it cost once it has ended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from dure._sync import _bridge as bridge
from dure._sync.closing import Closing
from dure.calls.replies import ChatCompletionChunk, Facts, RawReply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure._core import client as core

__all__ = ["Stream"]


class Stream(Closing):
    """Chunks of one answer, in order. One reader at a time.

    Leaving the `with` block, `close()`, or dropping the stream cancels what still runs; what
    was received is settled.
    """

    def __init__(
        self, native: core.Stream, piece: type[ChatCompletionChunk] = ChatCompletionChunk
    ) -> None:
        self._native = native
        self._piece = piece
        self._pieces: deque[bytes] = deque()

    @classmethod
    def opened(
        cls, native: core.Stream, piece: type[ChatCompletionChunk] = ChatCompletionChunk
    ) -> Stream:
        """Return the stream once its first piece, its end or its failure has come."""
        stream = cls(native, piece)
        try:
            bridge.wait_stream(native)
        except BaseException:
            native.cancel()
            raise
        stream._pieces.extend(native.take())
        return stream

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self

    def __next__(self) -> ChatCompletionChunk:
        while not self._pieces:
            if self._native.ended:
                raise StopIteration
            bridge.wait_stream(self._native)
            self._pieces.extend(self._native.take())
        return self._piece(self._pieces.popleft())

    def take(self) -> list[bytes]:
        """Return every piece that has come, as the JSON it came in; none: the stream has ended.

        For those who pass an answer on: nothing is parsed, and nothing waits for more.
        """
        while not self._pieces:
            if self._native.ended:
                return []
            bridge.wait_stream(self._native)
            self._pieces.extend(self._native.take())
        found = list(self._pieces)
        self._pieces.clear()
        return found

    @property
    def dure(self) -> Facts | None:
        """What the call came to; None until the stream has ended."""
        reply = self._native.reply
        return None if reply is None else Facts(reply.record)

    @property
    def response(self) -> RawReply | None:
        """Status and headers; None until the stream has ended."""
        reply = self._native.reply
        return None if reply is None else RawReply(reply)

    def close(self) -> None:
        """Stop: what still runs is cancelled. Idempotent."""
        self._pieces.clear()
        self._native.cancel()
