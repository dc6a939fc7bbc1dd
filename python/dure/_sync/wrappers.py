# Generated from dure/aio/wrappers.py by scripts/async_to_sync.py: change that one.
"""`with_raw_response` and `with_streaming_response` of every resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.calls.answers import RawAnswer
from dure.errors import UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType

    from dure._sync.pieces import StreamedAnswer

__all__ = ["Raw", "Streaming", "Wrapped"]


class Wrapped:
    """What every resource has."""

    __slots__ = ()

    @property
    def with_raw_response(self) -> Raw:
        """The same methods, each giving status, headers and bytes; `.parse()` the answer."""
        return Raw(self)

    @property
    def with_streaming_response(self) -> Streaming:
        """The same methods as context managers, whose body is read while it comes."""
        return Streaming(self)


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


class Raw:
    """The resource's methods, each giving status, headers and bytes; `.parse()` the answer."""

    def __init__(self, resource: object) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the resource's own method
        method = getattr(self._resource, name)

        def call(*args: Any, **options: Any) -> RawAnswer:  # noqa: ANN401
            return raw_of(method(*args, **options), name)

        return call


class Streaming:
    """The same as a context manager: `with ....with_streaming_response.create() as reply`.

    The block begins when the reply's head has come. The body comes as it is read: a reader that
    waits makes the provider wait, so memory stays bounded however long the body is.
    """

    def __init__(self, resource: object) -> None:
        self._resource = resource

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the resource's own method
        getattr(self._resource, name)  # what is not there is refused here

        def call(*args: Any, **options: Any) -> Later:  # noqa: ANN401
            return Later(self._resource, name, args, options)

        return call


class Later:
    """A call that is made when the block is entered."""

    def __init__(self, resource: Any, name: str, args: Any, options: Any) -> None:  # noqa: ANN401
        self._resource, self._name, self._args, self._options = resource, name, args, options
        self._answer: StreamedAnswer | None = None

    def __enter__(self) -> StreamedAnswer:
        from dure._sync.pieces import begin

        self._answer = begin(self._resource, self._name, self._args, self._options)
        return self._answer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._answer is not None:
            self._answer.close()
