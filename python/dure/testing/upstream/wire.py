"""HTTP/1.1 on asyncio.Protocol: keep-alive, pipelining, chunked bodies, server-sent events.

Small on purpose: it parses what clients of a JSON API send, refuses the rest with the right
status, and writes answers at the speed of the event loop. Owner thread only: the event loop's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MAX_BODY_BYTES", "Connection", "Reply", "Request"]

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request, complete: header names in lower case, body as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: str = ""


@dataclass(slots=True)
class Reply:
    """One answer: a body, or `events` (each sent as it stands in one chunk).

    Attributes:
        delay: Seconds before the first byte.
        pace: Seconds between two events.
        fault: `reset` or `cut`: how the connection treats this answer.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    events: Iterator[bytes] | None = None
    delay: float = 0.0
    pace: float = 0.0
    fault: str | None = None


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Connection(asyncio.Protocol):
    """One client connection: requests in, answers out, strictly in order."""

    def __init__(
        self, answer: Callable[[Request], Reply], refuse: Callable[[int, str], Reply]
    ) -> None:
        self._answer = answer
        self._refuse = refuse
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._busy = self._ended = False
        self._keep_alive = True
        self._may_write = True
        self._later: asyncio.Handle | None = None
        self._stream: Reply | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Drop what was still to be sent."""
        self._busy, self._stream = True, None
        if self._later is not None:
            self._later.cancel()

    def pause_writing(self) -> None:
        """Stop a stream while the client does not read."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Go on with a stream."""
        self._may_write = True
        if self._stream is not None and self._later is None:
            self._pump()

    def data_received(self, data: bytes) -> None:
        """Serve every request that is complete."""
        self._buffer += data
        self._advance()

    def eof_received(self) -> bool:
        """Answer what came before the client's end, then close."""
        self._ended = True
        self._advance()
        return True

    # Requests

    def _advance(self) -> None:
        while not self._busy:
            try:
                request = self._next_request()
            except _Refused as refused:
                self._keep_alive = False
                self._send(self._refuse(refused.status, str(refused)))
                return
            if request is None:
                if self._ended:
                    self._close()
                return
            self._keep_alive = request.headers.get("connection", "").lower() != "close"
            self._serve(request)

    def _next_request(self) -> Request | None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0 and len(self._buffer) <= MAX_HEAD_BYTES:
                return None
            if not 0 <= end <= MAX_HEAD_BYTES:
                raise _Refused(431, f"The request head is larger than {MAX_HEAD_BYTES} bytes.")
            self._head = _parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if self._head[2].get("expect", "").lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        method, path, headers = self._head
        body = self._take_body(headers)
        if body is None:
            return None
        self._head = None
        path, _, query = path.partition("?")
        return Request(method, path, headers, body, query)

    def _take_body(self, headers: dict[str, str]) -> bytes | None:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._take_chunked()
        text = headers.get("content-length", "0")
        if not text.isascii() or not text.isdigit():
            raise _Refused(400, "The Content-Length is not a number.")
        length = int(text)
        if length > MAX_BODY_BYTES:
            raise _Refused(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _take_chunked(self) -> bytes | None:
        parts: list[bytes] = []
        at = 0
        while (line_end := self._buffer.find(b"\r\n", at)) >= 0:
            try:
                size = int(bytes(self._buffer[at:line_end]).split(b";")[0], 16)
            except ValueError:
                raise _Refused(400, "A chunk has no size.") from None
            start, at = line_end + 2, line_end + 2 + size + 2
            if at > MAX_BODY_BYTES:
                raise _Refused(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
            if len(self._buffer) < at:
                return None
            if size == 0:
                del self._buffer[:at]
                return b"".join(parts)
            parts.append(bytes(self._buffer[start : start + size]))
        return None

    # Answers

    def _serve(self, request: Request) -> None:
        reply = self._answer(request)
        if reply.delay > 0:
            self._busy = True
            self._later = self._loop.call_later(reply.delay, self._send_late, reply)
        else:
            self._send(reply)

    def _send_late(self, reply: Reply) -> None:
        self._busy, self._later = False, None
        self._send(reply)
        self._advance()

    def _send(self, reply: Reply) -> None:
        if reply.fault == "reset":
            self._reset()
        elif reply.events is not None:
            self._transport.write(self._head_of(reply, "transfer-encoding: chunked"))
            self._busy, self._stream = True, reply
            self._pump()
        else:
            head = self._head_of(reply, f"content-length: {len(reply.body)}")
            cut = reply.fault == "cut"
            self._transport.write(
                head + (reply.body[: len(reply.body) // 2] if cut else reply.body)
            )
            if cut or not self._keep_alive:
                self._close()

    def _head_of(self, reply: Reply, framing: str) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}", framing]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if not self._keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _pump(self) -> None:
        """Write events until the client is slow, the pace asks for a pause, or all are sent."""
        self._later = None
        reply = self._stream
        while reply is not None and reply.events is not None and self._may_write:
            event = next(reply.events, None)
            if event is None:
                self._end_stream(reply)
                return
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            if reply.pace > 0:
                self._later = self._loop.call_later(reply.pace, self._pump)
                return

    def _end_stream(self, reply: Reply) -> None:
        self._stream, self._busy = None, False
        if reply.fault == "cut":
            self._close()
            return
        self._transport.write(b"0\r\n\r\n")
        if self._keep_alive:
            self._loop.call_soon(self._advance)  # not a call: pipelined streams must not nest
        else:
            self._close()

    def _close(self) -> None:
        self._busy = True
        self._transport.close()

    def _reset(self) -> None:
        self._busy = True
        plug: socket.socket = self._transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Refused(400, "The request line is not HTTP/1.1.")
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon:
            raise _Refused(400, "A header has no colon.")
        headers[name.lower()] = value.strip()
    return parts[0], parts[1], headers
