"""`with_raw_response` and `with_streaming_response` of every resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.calls.answers import RawAnswer
from dure.errors import UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType

    from dure.aio.pieces import AsyncStreamedAnswer

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
        """The same methods as context managers, whose body is read while it comes."""
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

    The block begins when the reply's head has come. The body comes as it is read: a reader that
    waits makes the provider wait, so memory stays bounded however long the body is.
    """

    def __init__(self, resource: object) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the resource's own method
        getattr(self._resource, name)  # what is not there is refused here

        def call(*args: Any, **options: Any) -> AsyncLater:  # noqa: ANN401
            return AsyncLater(self._resource, name, args, options)

        return call


class AsyncLater:
    """A call that is made when the block is entered."""

    def __init__(self, resource: Any, name: str, args: Any, options: Any) -> None:  # noqa: ANN401
        self._resource, self._name, self._args, self._options = resource, name, args, options
        self._answer: AsyncStreamedAnswer | None = None

    async def __aenter__(self) -> AsyncStreamedAnswer:
        from dure.aio.pieces import begin

        self._answer = await begin(self._resource, self._name, self._args, self._options)
        return self._answer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._answer is not None:
            await self._answer.close()
