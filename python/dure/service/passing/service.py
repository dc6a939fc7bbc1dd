"""One call of the provider, passed on: whole, or piece by piece as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from dure.aio import AsyncClient
from dure.aio import _bridge as bridge
from dure.calls import Call
from dure.calls.answers import FixedFacts
from dure.calls.fixed_price import without_price
from dure.calls.pieces import Opening
from dure.calls.replies import RawReply
from dure.calls.settings import headers_of
from dure.errors import DureError
from dure.service.errors import body_of
from dure.service.kit.bill import JSON, bill, warnings
from dure.service.kit.sse import EventStream
from dure.service.kit.state import State

from .prices import Free, SettledPrice, price_of

__all__ = ["Going", "events_of", "fixed", "passed", "second_of", "send", "streamed"]

_NEVER = 1e9  # seconds: what is no event stream takes no pings


@dataclass(frozen=True, slots=True)
class Going:
    """A call on its way out."""

    client: AsyncClient
    call: Call
    method: str
    path: str
    body: object = None
    kind: str | None = None  # content type of a body of bytes
    model: str | None = None
    price: AbstractContextManager[Any] = field(default_factory=Free)

    def arguments(self) -> tuple[Any, ...]:
        """Return what the native client takes."""
        view = self.client.view
        priced = not isinstance(self.price, Free)
        call = without_price(self.call) if priced else self.call
        path = view.wire.deployed(self.path, self.model) if self.method == "POST" else self.path
        headers = headers_of({} if self.kind is None else {"Content-Type": self.kind})
        return view.endpoint, self.method, path, self.body, headers, view.options(call)


def fixed(
    state: State, call: Call, model: str, **counts: Decimal | int
) -> AbstractContextManager[Any]:
    """Return the account of a call that has a price of its own.

    Raises:
        UnknownPriceError: the settings have no price for it.
        BudgetExceededError: it does not fit.
    """
    if not call.metered:
        return Free()
    dollars = price_of(state.settings, model, **counts)
    view = state.client.view
    priced = replace(call, price=f"{dollars:f}")
    return SettledPrice(view.native().account, priced, model, view.endpoint.key_ids)


def second_of(state: State, model: str) -> Decimal | None:
    """Return the dollars of a second of a model; None: it is priced otherwise."""
    known = state.settings.call_prices.get(model) or state.settings.call_prices.get("*") or {}
    minute = known.get("minute")
    return None if "call" in known else known.get("second", minute and minute / 60)


async def send(going: Going, read: Callable[[RawReply, Any], None] | None = None) -> RawReply:
    """Make a call and return its answer; `read` looks at it before its price is settled.

    Raises:
        DureError: as any call.
    """
    with going.price as price:
        reply = RawReply(await bridge.call(going.client.view.native(), *going.arguments()))
        if read is not None:
            read(reply, price)
    if price.pico is not None:
        reply.dure = FixedFacts(reply._reply.record, price.pico)
    return reply


def passed(reply: RawReply, scope: Scope) -> Response:
    """Return the provider's answer, with what it came to."""
    kind = reply.headers.get("content-type", JSON)
    headers = bill(reply.dure, scope)
    return Response(reply.content, reply.status, {**headers, "content-type": kind})


async def streamed(
    going: Going,
    scope: Scope,
    through: Callable[[AsyncGenerator[bytes], Any], AsyncGenerator[bytes]] | None = None,
) -> EventStream:
    """Make a call whose answer is passed on while it comes.

    A reader that waits makes the provider wait. What fails before the head has come is raised
    here; later, an event stream ends with an `error` event and anything else is cut.

    `through` gets the pieces and the price, and gives what the caller reads. The price is settled
    when the stream has ended, or its reader has gone.
    """
    price = going.price.__enter__()
    opening = Opening(going.client.view.native())
    try:
        head = await bridge.opened(opening, *going.arguments())
    except BaseException as error:
        opening.cancel()
        going.price.__exit__(type(error), error, None)
        raise
    kind = {name.lower(): value for name, value in head.headers}.get("content-type", JSON)
    is_events = kind.startswith("text/event-stream")
    pieces = _pieces(opening)
    body = _Body(going, opening, pieces if through is None else through(pieces, price), is_events)
    headers = {"content-type": kind, **warnings(scope)}
    if is_events:
        return EventStream(body, headers)
    return EventStream(body, {**headers, "content-encoding": "identity"}, ping=_NEVER)


async def _pieces(opening: Opening) -> AsyncGenerator[bytes]:
    native = opening.raw()
    while True:
        for piece in native.take():
            yield piece
        if native.ended:
            return
        await bridge.wait_stream(native)


class _Body:
    """The pieces of an answer; however they end, the call is cancelled and its price settled.

    Not a generator: one that was never begun would settle nothing when it is closed.
    """

    def __init__(
        self,
        going: Going,
        opening: Opening,
        pieces: AsyncGenerator[bytes],
        is_events: bool,
    ) -> None:
        self._going, self._opening, self._pieces = going, opening, pieces
        self._is_events, self._ended = is_events, False

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            self._end(None)
            raise
        except DureError as error:
            self._end(error)
            if not self._is_events:
                raise
            told = json.dumps(body_of(error), ensure_ascii=False)
            return f"data: {told}\n\n".encode()
        except BaseException as error:
            self._end(error)
            raise

    async def aclose(self) -> None:
        """Stop: the reader has gone, or has all. Idempotent."""
        self._end(GeneratorExit())
        await self._pieces.aclose()

    def _end(self, error: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._opening.cancel()
        self._going.price.__exit__(None if error is None else type(error), error, None)


async def events_of(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Give whole events of a stream of bytes, each with its blank line, as they are complete."""
    held = b""
    async for piece in pieces:
        held += piece
        while (end := _end(held)) > 0:
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def _end(held: bytes) -> int:
    """Return where the first event ends; 0: it does not yet."""
    ends = [at + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := held.find(mark)) >= 0]
    return min(ends, default=0)
