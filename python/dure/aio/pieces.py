"""Answers whose body is read while it comes: what `with_streaming_response` gives."""

from __future__ import annotations

import codecs
import copy
from typing import TYPE_CHECKING, Any

from dure.aio import _bridge as bridge
from dure.aio.closing import AsyncClosing
from dure.aio.streams import AsyncStream
from dure.calls.answers import TextAnswer
from dure.calls.pieces import Opening, OpeningView, data_of, refuse_ended

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    from dure.calls.replies import ChatCompletionChunk, Facts
    from dure.calls.settings import View

__all__ = ["AsyncStreamedAnswer", "begin"]


async def begin(resource: Any, name: str, args: Any, options: Any) -> AsyncStreamedAnswer:  # noqa: ANN401
    """Make a call and return its answer as soon as the head has come.

    Raises:
        UnsupportedError: the method makes no call of its own, or several.
        DureError: as the method; a refusal of the provider is raised here.
    """
    view: View = resource._view
    opening = Opening(view.native())
    asking = copy.copy(resource)
    asking._view = OpeningView(view, opening)
    try:
        answer = await getattr(asking, name)(*args, **options)
        return AsyncStreamedAnswer(opening, opening.only_reply(name), answer)
    except BaseException:
        opening.cancel()
        raise


class AsyncStreamedAnswer(AsyncClosing):
    """Status and headers now, the body as it comes. One reader at a time.

    Bytes that were read by `read`, `text`, `json` or `parse` are kept and may be read again; what
    `iter_bytes`, `iter_text` and `iter_lines` gave is gone. Leaving the block cancels what has not
    come, and what has is settled.
    """

    def __init__(self, opening: Opening, reply: Any, answer: Any) -> None:  # noqa: ANN401
        self._native, self._reply, self._answer = opening.raw(), reply, answer
        self._left: list[bytes] = []
        if isinstance(answer, AsyncStream):  # it took what had come with the head
            self._left.extend(answer._pieces)
            answer._pieces.clear()

    @property
    def status_code(self) -> int:
        """HTTP status."""
        status: int = self._reply.status
        return status

    @property
    def headers(self) -> dict[str, str]:
        """Header lines by lower-case name; the last of equal names."""
        return {name.lower(): value for name, value in self._reply.headers}

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request."""
        return self.headers.get("x-request-id") or self.headers.get("request-id")

    @property
    def dure(self) -> Facts | None:
        """What the call came to; None until the body has been read."""
        facts: Facts | None = None if self._native.reply is None else self._answer.dure
        return facts

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        refuse_ended(self._reply)
        while True:
            while self._left:
                yield self._left.pop(0)
            if self._native.ended:
                return
            await bridge.wait_stream(self._native)
            self._left.extend(self._native.take())

    async def iter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they come, or in pieces of `chunk_size`.

        Raises:
            TruncatedStreamError: the body was cut; all that had come was yielded.
        """
        held = b""
        async for piece in self._pieces():
            if chunk_size is None:
                yield piece
                continue
            held += piece
            while len(held) >= chunk_size:
                yield held[:chunk_size]
                held = held[chunk_size:]
        if held:
            yield held

    async def iter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """Yield the body's text as it comes; no character is cut."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for piece in self.iter_bytes(chunk_size):
            if text := decoder.decode(piece):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    async def iter_lines(self) -> AsyncIterator[str]:
        """Yield the body's lines, without their ends, as they come."""
        held = ""
        async for text in self.iter_text():
            lines = (held + text).split("\n")
            held = lines.pop()
            for line in lines:
                yield line.removesuffix("\r")
        if held:
            yield held

    async def read(self) -> bytes:
        """Return the whole body."""
        if self._reply.whole is None:
            body = bytearray()
            async for piece in self._pieces():
                body += piece
            self._reply.keep(bytes(body))
        whole: bytes = self._reply.body
        return whole

    async def text(self) -> str:
        """Return the whole body as text."""
        return (await self.read()).decode("utf-8", "replace")

    async def json(self) -> Any:  # noqa: ANN401 - what the wire says
        """Return the parsed body."""
        await self.read()
        return self._reply.json()

    async def parse(self) -> Any:  # noqa: ANN401 - the method's own kind of answer
        """Return the answer as the method gives it: of a stream its chunks as they come."""
        answer = self._answer
        if isinstance(answer, AsyncStream):
            return self._chunks(answer._piece)
        await self.read()
        return answer.text if isinstance(answer, TextAnswer) else answer

    async def _chunks(self, kind: type[ChatCompletionChunk]) -> AsyncIterator[ChatCompletionChunk]:
        async for frame in self._pieces():  # one event each
            if (data := data_of(frame)) is not None:
                yield kind(data)

    async def stream_to_file(self, file: str | os.PathLike[str]) -> None:
        """Write the body to a file while it comes."""
        from pathlib import Path

        with Path(file).open("wb") as out:
            async for piece in self.iter_bytes():
                out.write(piece)

    async def close(self) -> None:
        """Cancel what has not come. Idempotent."""
        self._native.cancel()

    aclose = close  # async only
