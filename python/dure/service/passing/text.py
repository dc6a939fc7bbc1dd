"""Text completions: usage is read off the wire as it passes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from dure._core.client import read_json
from dure.calls import Call
from dure.calls.replies import RawReply
from dure.errors import InvalidArgumentError
from dure.service.kit.state import State

from .prices import CompletionHold, Free
from .service import Going, events_of

__all__ = ["counted", "going", "read"]


def going(state: State, body: dict[str, Any], call: Call) -> Going:
    """Return the call of a completion, with its hold; usage is always asked for.

    Raises:
        InvalidModelError, UnknownPriceError, InvalidArgumentError: it cannot be priced.
    """
    client = state.client
    if not call.metered:
        return Going(client, call, "POST", "/completions", body, model=body["model"])
    native = client.view.native()
    price = CompletionHold(native.account, call, body, client.view.endpoint.key_ids)
    sent = dict(body)
    if body.get("stream"):
        options = body.get("stream_options") or {}
        if not isinstance(options, dict):
            raise InvalidArgumentError("stream_options is no object", argument="stream_options")
        sent["stream_options"] = {**options, "include_usage": True}
    return Going(client, call, "POST", "/completions", sent, model=body["model"], price=price)


def read(reply: RawReply, price: CompletionHold | Free) -> None:
    """Take the usage of a whole answer, or count its text."""
    if isinstance(price, Free):
        return
    answer = reply.json()
    price.used(answer.get("usage"))
    for choice in answer.get("choices") or ():
        price.came(choice.get("text") or "")


async def counted(
    pieces: AsyncGenerator[bytes], price: CompletionHold | Free, *, shown: bool
) -> AsyncGenerator[bytes]:
    """Give the events; one that tells usage alone is hidden unless the caller asked for it."""
    if isinstance(price, Free):
        async for piece in pieces:
            yield piece
        return
    async for event in events_of(pieces):
        if not _is_bare_usage(event, price) or shown:
            yield event


def _is_bare_usage(event: bytes, price: CompletionHold) -> bool:
    """Note what an event says; whether it has usage and nothing else."""
    _, found, data = event.partition(b"data:")
    data = data.strip()
    if not found or data == b"[DONE]":
        return False
    try:
        chunk = read_json(data)
    except InvalidArgumentError:  # the caller's reader will say what it thinks of it
        return False
    if not isinstance(chunk, dict):
        return False
    for choice in chunk.get("choices") or ():
        price.came(choice.get("text") or "")
    usage = chunk.get("usage")
    price.used(usage)
    return bool(usage) and not chunk.get("choices")
