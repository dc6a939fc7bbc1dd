"""The low-level HTTP client: whole replies and streams, nothing about models."""

from __future__ import annotations

from os import fspath
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dure import _core
from dure._authorities import certifi_files

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from dure._core.net import HttpReply, HttpUpload
    from dure.errors import DureError


class _Timeout(Protocol):
    """What `dure.aio.Timeout` has; seconds, None for no limit."""

    @property
    def connect(self) -> float | None: ...
    @property
    def first_byte(self) -> float | None: ...
    @property
    def idle(self) -> float | None: ...
    @property
    def total(self) -> float | None: ...


_NONE: tuple[tuple[str, str], ...] = ()
_CONNECT = 5.0
_TOTAL = 600.0


class HttpEvent(NamedTuple):
    """One server-sent event."""

    type: str
    data: str
    id: str


class HttpClient:
    """Sends HTTP requests on a native thread that never takes the interpreter's lock.

    One client serves any number of event loops and threads, one after another or at once. The
    thread starts with the first request. Redirects are not followed; any status is a reply.

    Args:
        cert: PEM file of a client certificate with its key, or a pair (certificate, key).
        ca: PEM file of certificate authorities. None: `SSL_CERT_FILE` and its kin, then the
            system's, then certifi's; without any, TLS fails.
        uds: Path of a Unix socket that every connection goes to.
        proxy: URL of a proxy for all requests. None: the standard variables, read once, here.
            An empty text: no proxy.
        timeout: Seconds for a whole request, or an object with `connect`, `first_byte`, `idle`
            and `total`. None: 5 s to connect, 600 s in total.
        traceparent: Called once a request; its result is sent as the header of that name.
        transport: `"a"` or `"b"` forces an engine. None: B for `http://` without a proxy, else A.
        allowed: For URLs that come from outside: public addresses are spoken to and no others,
            but for these (addresses or CIDR blocks). Each connection is looked at, whatever a name
            resolved to before; the standard proxy variables do not count. None: any address.
    """

    def __init__(
        self,
        *,
        cert: str | PathLike[str] | tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        ca: str | PathLike[str] | None = None,
        uds: str | PathLike[str] | None = None,
        proxy: str | None = None,
        timeout: float | _Timeout | None = None,
        traceparent: Callable[[], str] | None = None,
        transport: str | None = None,
        allowed: Sequence[str] | None = None,
    ) -> None:
        certificate, key = cert if isinstance(cert, tuple) else (cert, None)
        self._core = _core.net.HttpCore(
            ca=_path(ca),
            certificate=_path(certificate),
            key=_path(key),
            unix_socket=_path(uds),
            proxy="" if proxy is None and allowed is not None else proxy,
            ca_fallbacks=certifi_files(),
            transport=transport or "",
            allowed=None if allowed is None else list(allowed),
        )
        self._request = self._core.request
        self._timeouts = _timeouts(timeout, (_CONNECT, 0.0, 0.0, _TOTAL))
        self._traceparent = traceparent

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        json: object = None,
        timeout: float | _Timeout | None = None,
    ) -> HttpReply:
        """Send a request and return the whole reply.

        Args:
            method: For example `"POST"`.
            url: `http` or `https`, without user information.
            headers: Names and values; `Content-Length` and its kin are set by the transport.
            body: Bytes to send.
            json: A dict or list to send as JSON, in the place of `body`.
            timeout: As for the client; it replaces the client's.

        Raises:
            InvalidArgumentError: The request cannot be sent; nothing left. `.path` says where in
                `json`.
            UnavailableError: Nothing was accepted; `.host`, `.stage`, `.tried` say why.
            DeadlineError: `.stage` says which limit ran out.
            UpstreamError: The reply is malformed, over a cap, or did not come.
            TruncatedStreamError: The reply was cut.
        """
        if json is None and not isinstance(body, bytes):
            raise _refused(
                f"body must be bytes, not {type(body).__name__}: encode text, objects go in json=",
                "body",
            )
        plain = self._traceparent is None and (headers is None or type(headers) is dict)
        future, request = self._request(
            method,
            url,
            (headers or _NONE) if plain else self._headers(headers),
            body if json is None else json,
            self._timeouts if timeout is None else _timeouts(timeout, self._timeouts),
        )
        try:
            return await future
        except BaseException:
            self._core.cancel(request)  # does nothing if the request has ended
            raise

    async def map_raw(
        self,
        url: str,
        bodies: Iterable[bytes],
        limit: int = 64,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        timeout: float | _Timeout | None = None,
    ) -> list[HttpReply | DureError]:
        """Send a request for each body and return all replies, in the order of the bodies.

        One awaitable for all: each request is followed by the next on the native thread. A failure
        stays in its place, as an exception that is not raised.

        Args:
            url: `http` or `https`, without user information.
            bodies: What to send; all are held until the last has been sent.
            limit: How many requests are under way at once.
            method: For example `"PUT"`.
            headers: Names and values, of every request.
            timeout: Of each request, as for the client.

        Raises:
            InvalidArgumentError: A body is not bytes, or `limit` is not positive; nothing was sent.
        """
        whole = list(bodies)
        for at, body in enumerate(whole):
            if not isinstance(body, bytes):
                raise _refused(f"body {at} must be bytes, not {type(body).__name__}", "bodies")
        if not isinstance(limit, int) or limit < 1:
            raise _refused("limit must be a whole number, at least 1", "limit")
        pairs = _texts(method, url, self._headers(headers))
        limits = _timeouts(timeout, self._timeouts)
        batch = self._core.batch(method, url, pairs, whole, limits, limit)
        try:
            await batch.wait()
        except BaseException:
            batch.cancel()
            raise
        return batch.take()

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float | _Timeout | None = None,
        events: bool = False,
    ) -> HttpStream:
        """Begin a request whose reply is read piece by piece: `async with client.stream(...) as s`.

        A stream may be of any length: what has not been read stays with the server. (A whole reply,
        as `request` gives it, has at most 256 MiB.)

        Args:
            method: For example `"POST"`.
            url: `http` or `https`, without user information.
            headers: Names and values.
            body: Bytes to send.
            timeout: As for the client; it replaces the client's.
            events: Read server-sent events instead of raw bytes.
        """

        def begin() -> _core.net.HttpStream:
            pairs = _texts(method, url, self._headers(headers))
            if not isinstance(body, bytes):
                raise _refused(f"body must be bytes, not {type(body).__name__}", "body")
            limits = _timeouts(timeout, self._timeouts)
            return self._core.stream(method, url, pairs, body, limits, events)

        return HttpStream(begin, events)

    async def upload(
        self,
        url: str,
        files: Mapping[str, str | PathLike[str]],
        *,
        fields: Mapping[str, str] | None = None,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        timeout: float | _Timeout | None = None,
    ) -> HttpReply:
        """Send files as `multipart/form-data` and return the whole reply.

        Files are read while they are sent, at most a quarter of a megabyte ahead of the network,
        over a connection of their own; such a request is never sent twice.

        Args:
            url: `http` or `https`, without user information.
            files: Path of a file for each name of the form.
            fields: Other values of the form; they come before the files.
            method: For example `"PUT"`.
            headers: Names and values.
            timeout: As for the client; `first_byte` begins when the last byte has been handed over.

        Raises:
            FileRefusedError: a file cannot be read, or changed before it was sent; the request is
                broken off.
            DureError: as `request`.
        """
        import asyncio

        from dure.aio._multipart import Form

        form = Form(files, fields)
        feeding: asyncio.Task[None] | None = None
        try:
            pairs = _texts(method, url, self._headers(headers))
            pairs.append(("Content-Type", form.content_type))
            limits = _timeouts(timeout, self._timeouts)
            upload = self._core.upload(method, url, pairs, form.size, limits)
            feeding = asyncio.ensure_future(form.feed(upload))
            feeding.add_done_callback(lambda fed: _break_off(fed, upload))
            try:
                return await upload.future
            except BaseException:
                upload.cancel()
                if feeding.done() and not feeding.cancelled() and (wrong := feeding.exception()):
                    raise wrong from None
                raise
        finally:
            if feeding is not None:
                feeding.cancel()
                await asyncio.wait((feeding,))
            form.close()

    async def download(
        self,
        url: str,
        path: str | PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | _Timeout | None = None,
    ) -> int:
        """Get a URL into a file and return how many bytes it has.

        The file appears, replacing what was there, only when all of it has come; memory stays
        bounded whatever its size, and there is no limit to it. The network and the file are waited
        for, never the loop.

        Args:
            url: `http` or `https`, without user information.
            path: Where the file goes; its folder exists.
            headers: Names and values.
            timeout: As for the client; it replaces the client's.

        Raises:
            UpstreamError: The status is not 2xx.
            TruncatedStreamError: The reply was cut.
            OSError: The file cannot be written.
        """
        import asyncio
        from pathlib import Path
        from tempfile import NamedTemporaryFile

        from dure.errors import UpstreamError

        target = Path(path)
        async with self.stream("GET", url, headers=headers, timeout=timeout) as stream:
            if not 200 <= stream.status < 300:
                raise UpstreamError(
                    f"the download was answered with status {stream.status}",
                    status_code=stream.status,
                )
            with NamedTemporaryFile(dir=target.parent, prefix=".dure-", delete=False) as part:
                try:
                    async for piece in stream:
                        assert isinstance(piece, bytes)  # not events
                        await asyncio.to_thread(part.write, piece)
                    part.close()
                    size = Path(part.name).stat().st_size
                    Path(part.name).replace(target)
                except BaseException:
                    Path(part.name).unlink()
                    raise
        return size

    def close(self) -> None:
        """End the thread and its connections; what is pending fails with `UnavailableError`."""
        self._core.close()

    async def aclose(self) -> None:
        """Do as `close`, without blocking the loop."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except (
            RuntimeError
        ):  # another library's loop, say trio's: what failed there is told, not this
            self._core.close()
        else:
            await asyncio.to_thread(self._core.close)

    async def __aenter__(self) -> HttpClient:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    def _headers(self, headers: Mapping[str, str] | None) -> list[tuple[str, str]]:
        pairs = list(headers.items()) if headers else []
        if self._traceparent is not None:
            pairs.append(("traceparent", self._traceparent()))
        return pairs


class HttpStream:
    """A reply that is still coming: an async context manager, and an async iterator of its pieces.

    Attributes:
        status: The HTTP status.
        headers: Names and values, in the order in which they came.
    """

    status: int
    headers: list[tuple[str, str]]

    def __init__(self, begin: Callable[[], _core.net.HttpStream], events: bool) -> None:
        self._begin = begin
        self._events = events
        self._native: _core.net.HttpStream | None = None

    async def __aenter__(self) -> HttpStream:
        """Send the request and wait for the reply's head."""
        native = self._native = self._begin()
        try:
            while (head := native.head()) is None:
                await native.wait()
        except BaseException:
            native.cancel()
            raise
        self.status, self.headers = head
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel what has not come."""
        if self._native is not None:
            self._native.cancel()

    def __aiter__(self) -> AsyncIterator[bytes | HttpEvent]:
        """Give bytes as they come, or events with `events=True`.

        Raises:
            TruncatedStreamError: The reply was cut; all pieces before the cut were given.
            DeadlineError: `.stage` says which limit ran out.
        """
        if self._native is None:
            raise RuntimeError("enter the stream first: async with client.stream(...) as s")
        return self._native


def _break_off(feeding: asyncio.Task[None], upload: HttpUpload) -> None:
    """Cancel an upload that could not be fed to its end."""
    if not feeding.cancelled() and feeding.exception() is not None:
        upload.cancel()


def _refused(message: str, argument: str) -> Exception:
    from dure.errors import InvalidArgumentError

    return InvalidArgumentError(message, argument=argument)


def _texts(method: object, url: object, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Refuse what is no text, without showing it: it may be a key."""
    named = [("method", method), ("url", url)]
    for argument, text in [*named, *(("headers", part) for pair in headers for part in pair)]:
        if not isinstance(text, str) or any("\ud800" <= sign <= "\udfff" for sign in text):
            raise _refused(f"{argument} must be text (str) without lone surrogates", argument)
    return headers


def _path(path: str | PathLike[str] | None) -> str:
    return "" if path is None else fspath(path)


def _timeouts(
    timeout: float | _Timeout | None, default: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Seconds of the four limits; 0 stands for none."""
    if timeout is None:
        return default
    try:
        if isinstance(timeout, int | float):
            limits = (default[0], default[1], default[2], float(timeout))
        else:
            limits = (
                timeout.connect or 0.0,
                timeout.first_byte or 0.0,
                timeout.idle or 0.0,
                timeout.total or 0.0,
            )
        sound = all(0 <= limit < 1e9 for limit in limits)
    except (AttributeError, TypeError, OverflowError):
        sound = False
    if not sound:
        raise _refused(
            "a timeout is a number of seconds, not negative, or a dure.aio.Timeout", "timeout"
        )
    return limits
