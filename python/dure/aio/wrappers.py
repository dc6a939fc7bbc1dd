"""`with_raw_response` and `with_streaming_response` of every resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.calls.answers import RawAnswer
from dure.errors import UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["AsyncRaw", "AsyncStreaming", "AsyncWrapped"]


class AsyncWrapped:
    """What every resource has."""

    __slots__ = ()

    @property
    def with_raw_response(self) -> AsyncRaw:
        """The same methods, each giving status, headers and bytes; `.parse()` the answer."""
        return AsyncRaw(self)

    @property
    def with_streaming_response(self) -> AsyncStreaming:
        """The same methods as context managers."""
        return AsyncStreaming(self)


def raw_of(answer: Any, method: str) -> RawAnswer:  # noqa: ANN401 - whatever the method gives
    """Return the answer with status and headers.

    Raises:
        UnsupportedError: the answer is a stream or plain text, which keep no headers.
    """
    if not hasattr(answer, "raw"):
        raise UnsupportedError(
            f"{method} gives a {type(answer).__name__}, which has no raw form: a stream says "
            "`.response` when it has ended",
            backend="client",
            flag="with_raw_response",
        )
    return RawAnswer(answer)


class AsyncRaw:
    """The resource's methods, each giving status, headers and bytes; `.parse()` the answer."""

    def __init__(self, resource: object) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the resource's own method
        method = getattr(self._resource, name)

        async def call(*args: Any, **options: Any) -> RawAnswer:  # noqa: ANN401
            return raw_of(await method(*args, **options), name)

        return call


class AsyncStreaming:
    """The same as a context manager: `async with ....with_streaming_response.create() as reply`.

    The body has come when the block begins: its pieces bound the reader's memory, not the client's.
    """

    def __init__(self, resource: object) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the resource's own method
        method = getattr(self._resource, name)

        def call(*args: Any, **options: Any) -> AsyncLater:  # noqa: ANN401
            return AsyncLater(method, name, args, options)

        return call


class AsyncLater:
    """A call that is made when the block is entered."""

    def __init__(self, method: Any, name: str, args: Any, options: Any) -> None:  # noqa: ANN401
        self._method, self._name, self._args, self._options = method, name, args, options

    async def __aenter__(self) -> RawAnswer:
        return raw_of(await self._method(*self._args, **self._options), self._name)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None
