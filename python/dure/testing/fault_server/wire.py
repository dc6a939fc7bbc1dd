"""One connection of the fault server: a request in, its fate out. The event loop's thread only."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, cast

from .kinds import Plan, body_of, events_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Log = Callable[[dict[str, object]], None]

__all__ = ["Aborting", "Faulty", "bomb"]

_REASONS = {200: "OK", 302: "Found", 307: "Temporary Redirect", 401: "Unauthorized"}
_RETRY_AFTER = (
    ("Retry-After", "1"),
    ("retry-after-ms", "20"),
    ("Retry-After", "Wed, 21 Oct 2099 07:28:00 GMT"),
    ("Retry-After", "0"),
    ("Retry-After", "-5"),
    ("Retry-After", "1000000000"),
)
_STATUS = {"F12": 500, "F13": 502, "F14": 503, "F15": 529}


@cache
def bomb() -> bytes:
    """Return 64 MiB of zeros as gzip: one block of deflate again and again, made in no time."""
    block, count = bytes(1 << 20), 64
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    part = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    check = 0
    for _ in range(count):
        check = zlib.crc32(block, check)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return head + part * count + deflate.flush() + struct.pack("<II", check, count << 20)


def _head(status: int, *headers: tuple[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _sized(status: int, body: bytes, *headers: tuple[str, str]) -> bytes:
    kind = ("Content-Type", "application/json")
    return _head(status, kind, *headers, ("Content-Length", str(len(body)))) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Faulty(asyncio.Protocol):
    """Serves requests in order; the fault of each follows from its `x-request-id`."""

    def __init__(self, plan: Plan, log: Log, number: Callable[[], int]) -> None:
        self._plan = plan
        self._log = log
        self._number = number
        self._buffer = bytearray()
        self._deaf = False  # this connection has been given its end
        self._timer: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Stop what is still being sent."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        if self._deaf:
            return
        self._buffer += data
        while not self._deaf and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            lines = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines[1:])
            }
            name = headers.get("x-request-id") or str(self._number())
            kind = self._plan.fault_of(name)
            whole = end + 4 + int(headers.get("content-length", "0"))
            if kind == "F16":
                self._refuse_early(name)
                return
            if len(self._buffer) < whole:
                return
            body = bytes(self._buffer[end + 4 : whole])
            del self._buffer[:whole]
            self._answer(name, kind, _wants_stream(body))

    # fates

    def _answer(self, name: str, kind: str | None, stream: bool) -> None:
        if kind in ("F18", "F19", "F20", "F21"):
            self._spoil_stream(name, kind)
        elif kind is None and stream:
            head = _head(200, _EVENTS, ("Transfer-Encoding", "chunked"))
            parts = b"".join(_chunk(event) for event in events_of(name))
            self._send(name, kind, 200, head + parts + b"0\r\n\r\n")
        elif kind is None:
            self._send(name, kind, 200, _sized(200, body_of(name)))
        else:
            self._spoil(name, kind)

    def _refuse_early(self, name: str) -> None:
        status = (401, 413, 429)[self._plan.lot(name, "status") % 3]
        close = ("Connection", "close")
        self._send(name, "F16", status, _sized(status, _error(status), close))
        self._end()

    def _spoil(self, name: str, kind: str) -> None:
        good = _sized(200, body_of(name))
        if kind in ("F3", "F4", "F5", "F6"):
            self._break_off(name, kind, good)
        elif kind in ("F27", "F28"):
            self._go_slowly(name, kind, good)
        else:
            status, data = self._odd(name, kind)
            self._send(name, kind, status, data)
            if kind in ("F24", "F25"):
                self._end()

    def _break_off(self, name: str, kind: str, good: bytes) -> None:
        body = len(body_of(name))
        part = {"F3": 0, "F4": len(good) - body}.get(kind, len(good) - body // 2)
        self._send(name, kind, 200 if part else 0, good[:part])
        if kind == "F6":
            self._half_close()
        elif kind == "F3":
            self._reset()
        else:
            self._later(0.02, self._reset)

    def _go_slowly(self, name: str, kind: str, good: bytes) -> None:
        if kind == "F28":
            self._send(name, kind, 200, b"")
            self._drip(good, 0)
        else:
            self._send(name, kind, 200, _head(200, _JSON, ("Transfer-Encoding", "chunked")))
            self._pour()

    def _odd(self, name: str, kind: str) -> tuple[int, bytes]:
        """Replies that go out whole: status and bytes."""
        lot = self._plan.lot(name, "variant")
        body = body_of(name)
        if kind == "F11":
            return 429, _sized(429, _error(429), _RETRY_AFTER[lot % len(_RETRY_AFTER)])
        if kind in _STATUS:
            return _STATUS[kind], _sized(_STATUS[kind], _error(_STATUS[kind]))
        if kind == "F17":
            status = (302, 307)[lot % 2]
            return status, _sized(status, b"{}", ("Location", "http://elsewhere.invalid/v1"))
        if kind in ("F24", "F25"):
            length = len(body) + (-10 if kind == "F24" else 10)
            return 200, _head(200, _JSON, ("Content-Length", str(length))) + body
        if kind == "F26":
            return 200, _sized(200, bomb(), ("Content-Encoding", "gzip"))
        twice = ("Content-Length", str(len(body))) if lot % 2 else ("X-Request-Id", name)
        large = [("X-Large", "x" * 100 * 1024)] if lot % 2 else [("X-Many", "y")] * 100_000
        page = b"<!doctype html><title>gateway</title><h1>Please sign in</h1>"
        return 200, {
            "F22": lambda: _sized(200, body[:-2]),
            "F23": lambda: _sized(200, page),
            "F29": lambda: _sized(200, body, ("X-Request-Id", name), twice),
            "F30": lambda: _sized(200, body, *large),
        }[kind]()

    def _spoil_stream(self, name: str, kind: str) -> None:
        """F18 to F21, chunked or up to the close; both in equal shares."""
        events = list(events_of(name))
        whole = b"".join(events)
        if kind == "F18":
            whole = b"".join(events[:-2])
        elif kind == "F19":
            whole = whole[: max(at for at, byte in enumerate(whole) if byte >= 0xC0) + 1]
        elif kind == "F20":
            whole = b"".join(events[:5]) + events[5][:30]
        else:
            error = b"data: " + _error(500) + b"\n\n"
            whole = b"".join(events[:5]) + error + b"data: [DONE]\n\n"
        if self._plan.lot(name, "framing") % 2:
            end = b"0\r\n\r\n" if kind in ("F18", "F21") else b""
            head = _head(200, _EVENTS, ("Transfer-Encoding", "chunked"))
            self._send(name, kind, 200, head + _chunk(whole) + end)
            if not end:
                self._end()
        else:
            self._send(name, kind, 200, _head(200, _EVENTS, ("Connection", "close")) + whole)
            self._end()

    # means

    def _send(self, name: str, kind: str | None, status: int, data: bytes) -> None:
        """Log first: what a client has received is always in the log."""
        self._log({"id": name, "fault": kind, "status": status, "bytes": len(data)})
        self._transport.write(data)

    def _end(self) -> None:
        self._deaf = True
        self._transport.close()

    def _reset(self) -> None:
        self._deaf = True
        end = self._transport.get_extra_info("socket")
        if end is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _half_close(self) -> None:
        self._deaf = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._deaf = True
        self._timer = asyncio.get_running_loop().call_later(seconds, what)

    def _drip(self, data: bytes, at: int) -> None:
        self._transport.write(data[at : at + 1])
        if at + 1 < len(data):
            self._later(1.0, lambda: self._drip(data, at + 1))

    def _pour(self) -> None:
        self._transport.write(_chunk(b" " * 16384))
        self._later(0.05, self._pour)


class Aborting(asyncio.Protocol):
    """Ends each connection at its first bytes: F10."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _: bytes) -> None:
        """Half a TLS record, then nothing more."""
        self._transport.write(b"\x16\x03\x03\x00\x7a\x02\x00")
        self._transport.close()


_JSON = ("Content-Type", "application/json")
_EVENTS = ("Content-Type", "text/event-stream")


def _error(status: int) -> bytes:
    error = {"message": f"fault {status}", "type": "server_error", "code": None, "param": None}
    return json.dumps({"error": error}).encode()


def _wants_stream(body: bytes) -> bool:
    try:
        request = json.loads(body)
    except ValueError:
        return False
    return isinstance(request, dict) and request.get("stream") is True
