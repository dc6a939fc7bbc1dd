"""How the async client waits for the native one. Its sync counterpart is written by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dure.calls.pieces import Opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    from dure._core import client as core
    from dure.aio.resources import AsyncPage
    from dure.calls.fixed_price import FixedPrice

    Coming = Coroutine[Any, Any, core.Reply]

T = TypeVar("T")
TICK = 0.1  # seconds between two reports of progress


async def call(
    native: core.Client | Opening,
    endpoint: core.Endpoint,
    method: str,
    path: str,
    body: object,
    headers: list[tuple[str, str]],
    options: core.Options,
) -> core.Reply:
    """Make one call and wait for its end; a cancel is settled natively."""
    if isinstance(native, Opening):
        return await opened(native, endpoint, method, path, body, headers, options)
    future, ticket = native.call_async(endpoint, method, path, body, headers, options)
    try:
        return await future
    except asyncio.CancelledError:
        native.cancel_async(ticket)
        raise


async def opened(native: Opening, *arguments: Any) -> core.Reply:  # noqa: ANN401
    """Begin one call and wait for its reply's head; a cancel is settled natively."""
    stream = native.open(*arguments)
    while (reply := native.came(stream)) is None:
        await stream.wait_async()
    return cast("core.Reply", reply)  # as one, its body to come


async def held(price: FixedPrice) -> None:
    """Hold a named price; what has to wait for room does so in a thread. A cancel leaves it."""
    if price.hold():
        return
    try:
        await asyncio.to_thread(price.hold, price.patience)
    except asyncio.CancelledError:
        price.leave()
        raise


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns; it may take long."""
    return await asyncio.to_thread(work)


async def wait_stream(stream: core.Stream) -> None:
    """Wait until the stream has something to say."""
    await stream.wait_async()


async def wait_batch(batch: core.Batch, report: Callable[[], object] | None) -> None:
    """Wait for the end of the batch; a cancel stops it."""
    future = batch.wait_async()
    try:
        while report is not None and not (await asyncio.wait((future,), timeout=TICK))[0]:
            report()
        await future
    except BaseException:
        batch.cancel()
        raise


class Pages:
    """A list that is asked for: `await` it for its first page, or `async for` all items."""

    def __init__(self, first: Callable[[], Awaitable[AsyncPage]]) -> None:
        self._first = first

    def __await__(self) -> Generator[Any, None, AsyncPage]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield every item of every page."""
        async for item in await self._first():
            yield item


def pages(ask: Callable[..., Awaitable[AsyncPage]], path: str, given: dict[str, Any]) -> Pages:
    """Return a list that is asked for when somebody waits for it."""
    return Pages(lambda: ask(path, given))
