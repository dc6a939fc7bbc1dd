"""Server-sent events: framing that no line break can break."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

__all__ = ["event_stream", "frame"]

_BREAKS = re.compile(r"\r\n|\r|\n")
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def frame(data: str, *, event: str | None = None) -> bytes:
    """Return one event; LF, CR and CRLF in `data` each begin a new `data:` line."""
    head = f"event: {event}\n" if event else ""
    return (head + "".join(f"data: {line}\n" for line in _BREAKS.split(data)) + "\n").encode()


def event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the response that sends each event as it comes."""
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)
