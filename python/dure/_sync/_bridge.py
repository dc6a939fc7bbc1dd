"""How the sync client waits for the native one: any thread, also inside a running loop.

Written by hand; all else in this package is generated.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from dure.calls.pieces import Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure._core import client as core
    from dure._sync.resources import Page
    from dure.calls.fixed_price import FixedPrice

    Coming = core.Reply

T = TypeVar("T")
TICK = 0.1  # seconds; signals are looked at after each


def call(
    native: core.Client | Opening,
    endpoint: core.Endpoint,
    method: str,
    path: str,
    body: object,
    headers: list[tuple[str, str]],
    options: core.Options,
) -> core.Reply:
    """Make one call and wait for its end; Ctrl-C cancels it, and it is settled."""
    if isinstance(native, Opening):
        return opened(native, endpoint, method, path, body, headers, options)
    return native.call_sync(endpoint, method, path, body, headers, options)


def opened(native: Opening, *arguments: Any) -> core.Reply:  # noqa: ANN401
    """Begin one call and wait for its reply's head; Ctrl-C cancels it, and it is settled."""
    stream = native.open(*arguments)
    while (reply := native.came(stream)) is None:
        stream.wait_sync()
    return cast("core.Reply", reply)  # as one, its body to come


def held(price: FixedPrice) -> None:
    """Hold a named price, waiting for room if its budget queues; Ctrl-C leaves the queue."""
    if price.hold():
        return
    waiting = Thread(price.hold, price.patience)
    try:
        while not waiting.ended(TICK):
            pass
    except BaseException:
        price.leave()
        raise
    waiting.result()


class Thread:
    """A function that blocks, in a thread, so that signals are still looked at here."""

    def __init__(self, work: Callable[[float], object], argument: float) -> None:
        self._error: BaseException | None = None

        def run() -> None:
            try:
                work(argument)
            except BaseException as error:  # noqa: BLE001 - told by result()
                self._error = error

        self._thread = threading.Thread(target=run, name="dure-room", daemon=True)
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Wait that long; return whether it is over."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> None:
        """Raise what it raised."""
        if self._error is not None:
            raise self._error


def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns; here, the caller's thread waits anyway."""
    return work()


def wait_stream(stream: core.Stream) -> None:
    """Wait until the stream has something to say."""
    stream.wait_sync()


def wait_batch(batch: core.Batch, report: Callable[[], object] | None) -> None:
    """Wait for the end of the batch; Ctrl-C stops it."""
    try:
        while not batch.wait_sync(TICK):
            if report is not None:
                report()
    except BaseException:
        batch.cancel()
        raise


Pages: TypeAlias = "Page"


def pages(ask: Callable[..., Page], path: str, given: dict[str, Any]) -> Pages:
    """Return the first page; iterating goes on through all."""
    return ask(path, given)
