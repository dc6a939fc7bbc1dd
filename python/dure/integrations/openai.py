"""openai-python on dure's transport: its own classes and exceptions, our money, keys and resends.

    from dure.integrations.openai import AsyncOpenAI

    client = AsyncOpenAI(call=dure.Call(org="acme"))
    raw = await client.chat.completions.with_raw_response.create(model=..., messages=...)
    raw.headers["x-dure-cost-pico"], raw.parse().choices[0].message.content

Every request goes through the native client: chat, responses and embeddings are counted, held and
settled like all its calls; what has no price is refused before it is sent. Resends are dure's
alone, within one budget; openai's own loop sends nothing twice.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dure.aio
from dure.calls import Call, Timeout
from dure.calls.fixed_price import FixedPrice, unpriced, without_price
from dure.calls.media_price import MediaPrice, fields_of_form, is_media
from dure.calls.paths import is_free, is_metered
from dure.errors import (
    DeadlineError,
    DureError,
    InvalidArgumentError,
    InvalidModelError,
    MissingExtraError,
    TruncatedStreamError,
    UnavailableError,
    UnknownPriceError,
    UnsupportedError,
    UpstreamError,
)

try:
    import httpx2
    import openai
except ImportError as missing:
    raise MissingExtraError.of("openai", "openai") from missing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from dure._core import client as core
    from dure.calls.settings import View

__all__ = ["AsyncOpenAI", "AsyncTransport", "OpenAI", "Transport"]

# The connection's own; libcurl writes them.
_HOP = {"host", "connection", "content-length", "transfer-encoding", "expect", "accept-encoding"}
# The body comes decoded and whole.
_DECODED = {"content-encoding", "content-length", "transfer-encoding", "connection"}


class _Plan:
    """One request as the native client takes it."""

    def __init__(self, request: httpx2.Request, body: bytes, view: View, call: Call | None) -> None:
        self.view, self.call, self.method = view, call, request.method
        self.path = _below(request, view.endpoint.base_url)
        self.body = body or None
        self.headers = _headers(request)
        self.metered = call is None or call.metered
        self.fields = _asks(request, body)
        model = self.fields.get("model")
        self.model = model if isinstance(model, str) else None
        streamed = self.fields.get("stream") is True
        known = is_metered(self.method, self.path)
        self.streamed = streamed and known and self.metered
        self.fixed = call is not None and call.price is not None and self.method == "POST"
        if known and self.fixed:
            raise InvalidArgumentError(
                f"{self.path} is priced by its usage: leave price= out", argument="price"
            )
        self.media = False
        if not known and self.metered and not self.fixed and not is_free(self.method, self.path):
            if not is_media(self.path):
                raise unpriced(self.method, self.path, self.model)
            self.fixed = self.media = True
        self.timeout = _timeout(request, view.timeout)

    def arguments(self) -> tuple[Any, ...]:
        """Return what `call_async` and `call_sync` take."""
        options = self.view.options(self._limits(), self.timeout)
        return (self.view.endpoint, self.method, self.path, self.body, self.headers, options)

    def stream(self) -> core.Stream:
        """Begin a streamed answer."""
        view = self.view
        options = view.options(self._limits(), self.timeout)
        native = view.native().stream(view.endpoint, self.path, self.body, self.headers, options)
        view.opened(native)
        return native

    def price(self) -> FixedPrice:
        """Return the hold of a call with a price of its own."""
        view = self.view
        if self.media:
            return MediaPrice(
                view.native().account, self._named(), self.path, self.fields, self.body,
                prices=view.prices, key_ids=view.endpoint.key_ids,
            )  # fmt: skip
        assert self.call is not None
        return FixedPrice(view.native().account, self.call, self.model, view.endpoint.key_ids)

    def _limits(self) -> Call | None:
        return without_price(self._named()) if self.fixed else self.call

    def _named(self) -> Call:
        return self.call or Call(max_attempts=self.view.max_retries + 1)


def _below(request: httpx2.Request, base_url: str) -> str:
    """Return the path below the base URL; a key goes nowhere else."""
    url = str(request.url)
    if not url.startswith(base_url + "/"):
        raise InvalidArgumentError(
            f"{request.url.host} is not below base_url: the key is for {base_url} alone",
            argument="url",
        )
    return url[len(base_url) :].partition("#")[0]


def _headers(request: httpx2.Request) -> list[tuple[str, str]]:
    """Return the request's headers but the connection's and the key's: the pool chooses the key."""
    return [
        (name, value)
        for name, value in request.headers.items()
        if name.lower() not in _HOP and name.lower() != "authorization"
    ]


def _asks(request: httpx2.Request, body: bytes) -> dict[str, Any]:
    """Return the parameters of a JSON body or a form."""
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        return fields_of_form(body)
    if not kind.startswith("application/json"):
        return {}
    try:
        fields = json.loads(body)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _timeout(request: httpx2.Request, ours: Timeout) -> Timeout:
    """Return the stages' limits: httpx says how long to connect and how long silence may last."""
    given: Mapping[str, float | None] = request.extensions.get("timeout") or {}
    return Timeout(
        connect=given.get("connect") or ours.connect,
        first_byte=given.get("read") or ours.first_byte,
        idle=given.get("read") or ours.idle,
        total=ours.total,
    )


def _response(request: httpx2.Request, reply: core.Reply, pico: int | None) -> httpx2.Response:
    """Return the provider's answer; `x-dure-*` say what it came to."""
    from dure.calls.replies import Facts

    headers = [(n, v) for n, v in reply.headers if n.lower() not in _DECODED]
    record = reply.record
    headers += [
        ("x-dure-cost-pico", str(record.cost_pico if pico is None else pico)),
        ("x-dure-attempts", str(record.attempts)),
        ("x-dure-key-id", record.key_id),
        ("x-dure-call-id", record.call_id),
    ]
    return httpx2.Response(
        reply.status,
        headers=headers,
        stream=httpx2.ByteStream(reply.body),
        request=request,
        extensions={"dure": Facts(record)},
    )


def _failure(request: httpx2.Request, error: DureError) -> httpx2.Response:
    """Return an answer of which openai makes its own exception, or raise httpx's.

    `x-should-retry: false`: what could be sent again was sent again.
    """
    if isinstance(error, DeadlineError):
        kind = httpx2.ConnectTimeout if error.stage == "connect" else httpx2.ReadTimeout
        raise kind(str(error), request=request) from error
    status = getattr(error, "status_code", None)
    if status is None and isinstance(error, UnavailableError):
        raise httpx2.ConnectError(str(error), request=request) from error
    broken = isinstance(error, UpstreamError | TruncatedStreamError)
    if broken and (status is None or status < 400):  # no answer, or a body that is none
        raise httpx2.RemoteProtocolError(str(error), request=request) from error
    headers = {"x-should-retry": "false", "content-type": "application/json"}
    if request_id := getattr(error, "request_id", None):
        headers["x-request-id"] = request_id
    if error.retry_after is not None:
        headers["retry-after"] = f"{error.retry_after:.3f}"
    sent = getattr(error, "body", None)
    content = sent if status is not None and isinstance(sent, str) else json.dumps(_body(error))
    code = status or _status(error)
    return httpx2.Response(
        code,
        headers=headers,
        stream=httpx2.ByteStream(content.encode()),
        request=request,
        extensions={"dure_error": error},
    )


def _status(error: DureError) -> int:
    """Return the status of a refusal of ours; as OpenAI has it, no such model is not found."""
    if isinstance(error, InvalidModelError) and not isinstance(error, UnknownPriceError):
        return 404
    return error.http_status


def _body(error: DureError) -> dict[str, object]:
    param = getattr(error, "path", None) or getattr(error, "argument", None)
    fields = {"message": str(error), "type": error.code, "param": param, "code": error.code}
    return {"error": fields}


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _broken(error: DureError) -> bytes:
    """Return the event of which openai makes an `APIError` in the middle of a stream."""
    return _event(json.dumps(_body(error), ensure_ascii=False).encode())


_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
_DONE = _event(b"[DONE]")


class _AsyncEvents(httpx2.AsyncByteStream):
    """A native stream as server-sent events; closing it cancels what still runs."""

    def __init__(self, native: core.Stream, first: list[bytes]) -> None:
        self._native, self._first = native, first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._first
        try:
            while pieces or not self._native.ended:
                for piece in pieces:
                    yield _event(piece)
                if self._native.ended:
                    break
                await self._native.wait_async()
                pieces = self._native.take()
        except DureError as error:
            yield _broken(error)
        yield _DONE

    async def aclose(self) -> None:
        self._native.cancel()


class _Events(httpx2.SyncByteStream):
    """The same for a reader that waits in a thread."""

    def __init__(self, native: core.Stream, first: list[bytes]) -> None:
        self._native, self._first = native, first

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._first
        try:
            while pieces or not self._native.ended:
                for piece in pieces:
                    yield _event(piece)
                if self._native.ended:
                    break
                self._native.wait_sync()
                pieces = self._native.take()
        except DureError as error:
            yield _broken(error)
        yield _DONE

    def close(self) -> None:
        self._native.cancel()


class AsyncTransport(httpx2.AsyncBaseTransport):
    """An httpx transport that sends through a `dure.AsyncClient`.

    Args:
        client: Where requests go; only URLs below its `base_url`.
        call: Who calls and what each request may cost.
    """

    def __init__(self, client: dure.aio.AsyncClient, *, call: Call | None = None) -> None:
        self._client, self._call = client, call

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; a failure comes as an answer, or as httpx's exception."""
        body = await request.aread()
        try:
            plan = _Plan(request, body, self._client.view, self._call)
            if plan.streamed:
                return await self._stream(request, plan)
            if not plan.fixed:
                return _response(request, await _acall(plan), None)
            from dure.aio import _bridge

            price = plan.price()
            await _bridge.held(price)
            with price:
                reply = await _acall(plan)
                price.heard(reply)
            return _response(request, reply, price.pico)
        except DureError as error:
            return _failure(request, error)

    async def _stream(self, request: httpx2.Request, plan: _Plan) -> httpx2.Response:
        native = plan.stream()
        try:
            await native.wait_async()
            first = native.take()
        except BaseException:
            native.cancel()
            raise
        events = _AsyncEvents(native, first)
        return httpx2.Response(200, headers=_STREAM_HEADERS, stream=events, request=request)

    async def aclose(self) -> None:
        """Close the client's view."""
        await self._client.close()


async def _acall(plan: _Plan) -> core.Reply:
    from dure.aio import _bridge

    return await _bridge.call(plan.view.native(), *plan.arguments())


class Transport(httpx2.BaseTransport):
    """The same for `openai.OpenAI`, on a `dure.Client`."""

    def __init__(self, client: dure.Client, *, call: Call | None = None) -> None:
        self._client, self._call = client, call

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; a failure comes as an answer, or as httpx's exception."""
        body = request.read()
        try:
            plan = _Plan(request, body, self._client.view, self._call)
            if plan.streamed:
                return self._stream(request, plan)
            if not plan.fixed:
                return _response(request, _call(plan), None)
            from dure._sync import _bridge

            price = plan.price()
            _bridge.held(price)
            with price:
                reply = _call(plan)
                price.heard(reply)
            return _response(request, reply, price.pico)
        except DureError as error:
            return _failure(request, error)

    def _stream(self, request: httpx2.Request, plan: _Plan) -> httpx2.Response:
        native = plan.stream()
        try:
            native.wait_sync()
            first = native.take()
        except BaseException:
            native.cancel()
            raise
        events = _Events(native, first)
        return httpx2.Response(200, headers=_STREAM_HEADERS, stream=events, request=request)

    def close(self) -> None:
        """Close the client's view."""
        self._client.close()


def _call(plan: _Plan) -> core.Reply:
    from dure._sync import _bridge

    return _bridge.call(plan.view.native(), *plan.arguments())


class _Settings:
    """What our clients have beside openai's arguments; kept for `copy`."""

    def __init__(
        self,
        *,
        call: Call | None,
        api_keys: Sequence[str],
        data: str | os.PathLike[str] | None,
        max_retries: int,
    ) -> None:
        self.call, self.api_keys, self.data, self.max_retries = call, api_keys, data, max_retries

    def of(self, client: openai.AsyncOpenAI | openai.OpenAI) -> dict[str, Any]:
        """Return the arguments of our own client."""
        return {
            "api_key": [client.api_key, *self.api_keys],
            "base_url": str(client.base_url).rstrip("/"),
            "max_retries": self.max_retries,
            "data": self.data,
        }


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return openai's arguments; what would go around our transport is refused."""
    given = options.pop("http_client", None)
    if given is not None and not isinstance(given, _AsyncHttp | _Http):
        raise InvalidArgumentError(
            "http_client is dure's here: use openai's own class for another", argument="http_client"
        )
    for name in ("workload_identity", "provider"):
        if options.get(name) is not None and not isinstance(options[name], openai.NotGiven):
            raise UnsupportedError(f"{name}= is not supported", backend="openai", flag=name)
    if callable(options.get("api_key")):
        raise UnsupportedError(
            "a callable api_key is not supported: give the key", backend="openai", flag="api_key"
        )
    return options


class _AsyncHttp(httpx2.AsyncClient):
    """Tells our http clients from others."""


class _Http(httpx2.Client):
    """Likewise."""


class AsyncOpenAI(openai.AsyncOpenAI):
    """A true `openai.AsyncOpenAI` whose requests go through dure.

    Args:
        call: Who calls, and the limits of every request.
        api_keys: More keys of the same account, which take turns.
        data: Data folder; else `DURE_DATA`, else the user's.
        max_retries: Attempts after the first, made by dure within one budget.
        **options: As openai takes them.

    Raises:
        InvalidArgumentError: an `http_client` of another kind.
        UnsupportedError: a callable key, `workload_identity` or `provider`.
    """

    def __init__(
        self,
        *,
        call: Call | None = None,
        api_keys: Sequence[str] = (),
        data: str | os.PathLike[str] | None = None,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
        **options: Any,  # noqa: ANN401 - openai's own
    ) -> None:
        options = _checked(options)
        http = _AsyncHttp(follow_redirects=False, timeout=openai.DEFAULT_TIMEOUT)
        super().__init__(**options, max_retries=0, http_client=http)
        self.dure = _Settings(call=call, api_keys=api_keys, data=data, max_retries=max_retries)
        client = dure.aio.AsyncClient(**self.dure.of(self))
        http._transport = AsyncTransport(client, call=call)
        http._mounts = {}

    def copy(
        self,
        *,
        call: Call | None = None,
        max_retries: int | openai.NotGiven = openai.NOT_GIVEN,
        **options: Any,  # noqa: ANN401 - openai's own
    ) -> AsyncOpenAI:
        """Return a client with other settings and the rest as here; `call` too."""
        return super().copy(**_copied(self.dure, call, max_retries, options))

    with_options = copy


class OpenAI(openai.OpenAI):
    """A true `openai.OpenAI` whose requests go through dure; as `AsyncOpenAI`."""

    def __init__(
        self,
        *,
        call: Call | None = None,
        api_keys: Sequence[str] = (),
        data: str | os.PathLike[str] | None = None,
        max_retries: int = openai.DEFAULT_MAX_RETRIES,
        **options: Any,  # noqa: ANN401 - openai's own
    ) -> None:
        options = _checked(options)
        http = _Http(follow_redirects=False, timeout=openai.DEFAULT_TIMEOUT)
        super().__init__(**options, max_retries=0, http_client=http)
        self.dure = _Settings(call=call, api_keys=api_keys, data=data, max_retries=max_retries)
        client = dure.Client(**self.dure.of(self))
        http._transport = Transport(client, call=call)
        http._mounts = {}

    def copy(
        self,
        *,
        call: Call | None = None,
        max_retries: int | openai.NotGiven = openai.NOT_GIVEN,
        **options: Any,  # noqa: ANN401 - openai's own
    ) -> OpenAI:
        """Return a client with other settings and the rest as here; `call` too."""
        return super().copy(**_copied(self.dure, call, max_retries, options))

    with_options = copy


def _copied(
    ours: _Settings,
    call: Call | None,
    max_retries: int | openai.NotGiven,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Return the arguments of openai's `copy` with ours among them."""
    kept: dict[str, Any] = {
        "call": call or ours.call,
        "api_keys": ours.api_keys,
        "data": ours.data,
        **options.pop("_extra_kwargs", {}),
    }
    asked = max_retries if isinstance(max_retries, int) else ours.max_retries
    return {**options, "max_retries": asked, "_extra_kwargs": kept}
