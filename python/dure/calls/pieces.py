"""What stands between a method and its call when the reply is read while it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    from dure._core import client as core
    from dure._core.money import Account
    from dure.calls.settings import View

__all__ = ["ComingReply", "Opening", "OpeningView", "data_of", "refuse_ended"]


class ComingReply:
    """A reply whose head is there and whose body is not: as `core.Reply`, once it was read."""

    def __init__(self, native: core.Stream, head: tuple[int, list[tuple[str, str]]]) -> None:
        self._native = native
        self.status, self.headers = head
        self.record = ComingRecord(native)
        self.whole: bytes | None = None

    def keep(self, body: bytes) -> None:
        """Take the whole body."""
        self.whole = body

    @property
    def body(self) -> bytes:
        """The whole body.

        Raises:
            UnsupportedError: it was not read.
        """
        if self.whole is None:
            raise UnsupportedError(
                "the body has not been read: call read() or parse() first",
                backend="client",
                flag="with_streaming_response",
            )
        return self.whole

    def json(self) -> Any:  # noqa: ANN401 - what the wire says
        """Return the parsed body."""
        from dure._core import client

        return client.read_json(self.body)

    def member(self, name: str) -> Any:  # noqa: ANN401 - what the wire says
        """Return one member of the body; None if it is not there."""
        return self.json().get(name)


class ComingRecord:
    """What a call came to, which is known once its body has been read."""

    def __init__(self, native: core.Stream) -> None:
        self._native = native

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a field of core.Record
        reply = self._native.reply
        if reply is None:
            raise AttributeError(f"{name} is known once the body has been read")
        return getattr(reply.record, name)


class Opening:
    """In the place of the native client: opens one call and leaves its body to the reader."""

    def __init__(self, native: core.Client) -> None:
        self._core = native
        self._streams: list[core.Stream] = []
        self._reply: ComingReply | None = None

    @property
    def account(self) -> Account:
        """Who may spend."""
        return self._core.account

    def open(self, *arguments: Any) -> core.Stream:  # noqa: ANN401 - those of a call
        """Begin the call."""
        stream = self._core.open_raw(*arguments)
        self._streams.append(stream)
        return stream

    def stream(
        self,
        endpoint: core.Endpoint,
        path: str,
        body: object,
        headers: list[tuple[str, str]],
        options: core.Options,
    ) -> core.Stream:
        """Begin a call whose answer is a stream."""
        return self.open(endpoint, "POST", path, body, headers, options)

    def came(self, stream: core.Stream) -> ComingReply | None:
        """Return the reply if its head is there.

        Raises:
            DureError: what ended the call before.
        """
        if stream.head is None:
            stream.take()  # raises what ended it
            return None
        self._reply = ComingReply(stream, stream.head)
        return self._reply

    def raw(self) -> core.Stream:
        """Return the one stream."""
        return self._streams[0]

    def only_reply(self, method: str) -> ComingReply:
        """Return the reply of the one call.

        Raises:
            UnsupportedError: there were none, or several.
        """
        if len(self._streams) != 1:
            raise UnsupportedError(
                f"{method} is not one call: use it without with_streaming_response",
                backend="client",
                flag="with_streaming_response",
            )
        head = self.raw().head
        assert head is not None  # the method has waited for it
        return self._reply or ComingReply(self.raw(), head)

    def cancel(self) -> None:
        """Stop what was begun."""
        for stream in self._streams:
            stream.cancel()


class OpeningView:
    """A view whose calls an `Opening` makes."""

    def __init__(self, view: View, opening: Opening) -> None:
        self._view, self._opening = view, opening

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the view's own
        return getattr(self._view, name)

    def native(self) -> Opening:
        """Return what makes the call."""
        self._view.native()  # a closed view refuses
        return self._opening


def data_of(frame: bytes) -> bytes | None:
    """Return the data of one framed event; None for the last one, `[DONE]`."""
    data = frame[frame.index(b"data: ") + 6 : -2]
    return None if data == b"[DONE]" else data


def refuse_ended(reply: ComingReply) -> None:
    """Refuse to read a body that was read to its end and kept.

    Raises:
        InvalidArgumentError: it was.
    """
    if reply.whole is not None:
        raise InvalidArgumentError(
            "the body has been read: take it from read(), text(), json() or parse()",
            argument="body",
        )
