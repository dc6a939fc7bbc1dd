"""Beside chat and embeddings: responses, images, audio, files, batches, moderations."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dure.aio import _bridge as bridge
from dure.aio.streams import AsyncStream
from dure.aio.wrappers import AsyncWrapped
from dure.calls import Call
from dure.calls.answers import (
    Answer,
    BinaryAnswer,
    FixedFacts,
    Response,
    ResponseStreamEvent,
    TextAnswer,
)
from dure.calls.fixed_price import FixedPrice, unpriced, without_price
from dure.calls.media_price import MediaPrice, is_media
from dure.calls.multipart import multipart
from dure.calls.parameters import OF_CALL, check_names
from dure.calls.paths import is_free, is_metered
from dure.calls.pieces import ComingReply
from dure.calls.settings import View, body_of, headers_of, path_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dure._core import client as core
    from dure.calls import Timeout
    from dure.calls.batch_files import BatchResults, BatchRun, Requests

__all__ = [
    "AsyncAudio",
    "AsyncBatches",
    "AsyncFiles",
    "AsyncImages",
    "AsyncModerations",
    "AsyncResponses",
]


class Request:
    """One call on its way: the API's parameters and ours, apart."""

    def __init__(self, to: str | None, given: Mapping[str, Any]) -> None:
        if to is not None:
            check_names(given, to, OF_CALL)
        self.parameters = {name: value for name, value in given.items() if name not in OF_CALL}
        self.call: Call | None = given.get("dure")
        self.timeout: float | Timeout | None = given.get("timeout")
        self.headers: Mapping[str, str] | None = given.get("extra_headers")
        self.query: Mapping[str, object] | None = given.get("extra_query")
        self.extra: Mapping[str, object] | None = given.get("extra_body")

    def arguments(
        self, view: View, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> tuple[Any, ...]:
        """Return what the native client takes."""
        call = self.call
        if call is not None and call.price is not None:
            call = without_price(call)
        if not is_metered(method, path) and method == "POST":
            path = view.wire.deployed(path, self.parameters.get("model"))
        return (
            view.endpoint,
            method,
            path_of(path, self.query),
            body,
            headers_of({**headers, **(self.headers or {})}),
            view.options(call, self.timeout),
        )


class Group(AsyncWrapped):
    """Calls that are free, metered by their usage, or need a price of their own."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def _send(
        self,
        request: Request,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[core.Reply, int | None]:
        """Return the reply and, of a call with a price of its own, the price.

        Raises:
            UnknownPriceError: it costs money nobody can name.
        """
        view, call = self._view, request.call
        native = view.native()
        arguments = request.arguments(view, method, path, body, headers or {})
        outside = call is not None and not call.metered
        if outside or is_metered(method, path) or is_free(method, path):
            return await bridge.call(native, *arguments), None
        named, arguments = self._priced(request, path, body, arguments)
        await bridge.held(named)
        with named:
            reply = await bridge.call(native, *arguments)
            named.heard(reply)
        return reply, named.pico

    def _priced(
        self, request: Request, path: str, body: object, arguments: tuple[Any, ...]
    ) -> tuple[FixedPrice, tuple[Any, ...]]:
        """Return the hold of a call that the core does not price, and what it goes out with.

        Raises:
            UnknownPriceError: nobody named a price, and the book has none.
        """
        view, call = self._view, request.call
        account, keys = view.core.account, view.endpoint.key_ids
        if call is not None and call.price is not None:
            return FixedPrice(account, call, request.parameters.get("model"), keys), arguments
        if not is_media(path):
            raise unpriced("POST", path, request.parameters.get("model"))
        call = call or Call(max_attempts=view.max_retries + 1)
        named = MediaPrice(
            account, call, path, request.parameters, body, prices=view.prices, key_ids=keys
        )
        return named, (*arguments[:-1], view.options(without_price(call), request.timeout))

    async def _json(
        self, request: Request, method: str, path: str, *, bare: bool = False
    ) -> Answer:
        body = None if bare else body_of(request.parameters, request.extra)
        answer: Answer = billed(Answer, await self._send(request, method, path, body))
        return answer

    async def _form(
        self, request: Request, path: str, *names: str
    ) -> tuple[core.Reply, int | None]:
        fields = body_of(dict(request.parameters), request.extra)
        files = {name: fields.pop(name) for name in names if fields.get(name) is not None}
        body, kind = multipart(fields, files)
        return await self._send(request, "POST", path, body, {"Content-Type": kind})

    async def _page(self, path: str, given: Mapping[str, Any]) -> AsyncPage:
        request = Request(None, given)
        query = {name: value for name, value in request.parameters.items() if value is not None}
        request.query = {**query, **(request.query or {})}
        reply, _ = await self._send(request, "GET", path)
        return AsyncPage(reply, self, path, given)


def billed(kind: Any, sent: tuple[core.Reply, int | None]) -> Any:  # noqa: ANN401 - of that kind
    """Return an answer of a kind, with the price of a call that has one."""
    reply, pico = sent
    answer = kind(reply)
    if pico is not None:
        answer.dure = FixedFacts(reply.record, pico)
    return answer


def at(*parts: str) -> str:
    """Return a path of parts; ids cannot leave their place."""
    return "/" + "/".join(quote(part, safe=":") for part in parts)


class AsyncPage(Answer):
    """One page: `.data`, `.has_more`, `.next_page()`; iterating goes on through all pages."""

    __slots__ = ("_given", "_group", "_path")

    def __init__(
        self, reply: core.Reply, group: Group, path: str, given: Mapping[str, Any]
    ) -> None:
        super().__init__(reply)
        self._group, self._path, self._given = group, path, given

    def has_next_page(self) -> bool:
        """Whether another page follows."""
        data = self._load()
        return bool(data.get("has_more") and data.get("data"))

    async def get_next_page(self) -> AsyncPage:
        """Return the page that follows.

        Raises:
            NotFoundError: there is none.
        """
        if not self.has_next_page():
            from dure.errors import NotFoundError

            raise NotFoundError("this is the last page: ask has_next_page() first")
        last = self._load()["data"][-1]["id"]
        return await self._group._page(self._path, {**self._given, "after": last})

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield every item of this page and of all that follow."""
        page = self
        while True:
            for item in page.data:
                yield item
            if not page.has_next_page():
                return
            page = await page.get_next_page()


class AsyncResponses(Group):
    """The Responses API: counted, held and settled like chat."""

    async def create(
        self,
        *,
        stream: bool | None = False,
        **parameters: Any,  # noqa: ANN401 - the API's
    ) -> Any:  # noqa: ANN401 - Response, or a stream of events
        """Ask a model; `stream=True` gives a stream of events.

        Args:
            stream: True gives an `AsyncStream` of events instead of one `Response`.
            **parameters: The API's (`model`, `input`, `instructions`, ...), and ours: `dure`,
                `timeout`, `extra_headers`, `extra_query`, `extra_body`.

        Raises:
            InvalidArgumentError: unknown parameter, or `background=True`, whose cost comes later.
            DureError: as `chat.completions.create`.
        """
        request = Request("responses", parameters)
        body = body_of(request.parameters, request.extra)
        if not stream:
            return billed(Response, await self._send(request, "POST", "/responses", body))
        view = self._view
        endpoint, _, path, body, headers, options = request.arguments(
            view, "POST", "/responses", {**body, "stream": True}, {}
        )
        native = view.native().stream(endpoint, path, body, headers, options)
        view.opened(native)
        return await AsyncStream.opened(native, ResponseStreamEvent)

    async def retrieve(self, response_id: str, **options: Any) -> Response:  # noqa: ANN401
        """Return a stored response."""
        request = Request(None, options)
        answer: Response = billed(
            Response, await self._send(request, "GET", at("responses", response_id))
        )
        return answer

    async def delete(self, response_id: str, **options: Any) -> None:  # noqa: ANN401
        """Delete a stored response."""
        await self._send(Request(None, options), "DELETE", at("responses", response_id))

    async def cancel(self, response_id: str, **options: Any) -> Response:  # noqa: ANN401
        """Stop a response that runs in the background."""
        request = Request(None, options)
        answer: Response = billed(
            Response, await self._send(request, "POST", at("responses", response_id, "cancel"), {})
        )
        return answer


class AsyncImages(Group):
    """Images, held at their most and settled by their usage; `dure.Call(price=)` names another."""

    async def generate(self, **parameters: Any) -> Answer:  # noqa: ANN401
        """Draw from a prompt."""
        return await self._json(
            Request("images.generate", parameters), "POST", "/images/generations"
        )

    async def edit(self, **parameters: Any) -> Answer:  # noqa: ANN401
        """Change images: `image` is a file or a list of files, `mask` a file."""
        request = Request("images.edit", parameters)
        answer: Answer = billed(Answer, await self._form(request, "/images/edits", "image", "mask"))
        return answer

    async def create_variation(self, **parameters: Any) -> Answer:  # noqa: ANN401
        """Vary an image: `image` is a file."""
        request = Request("images.create_variation", parameters)
        answer: Answer = billed(Answer, await self._form(request, "/images/variations", "image"))
        return answer


class AsyncSpeech(Group):
    """Text to speech."""

    async def create(self, **parameters: Any) -> BinaryAnswer:  # noqa: ANN401
        """Speak `input`; the bytes are in the format asked for."""
        request = Request("audio.speech", parameters)
        body = body_of(request.parameters, request.extra)
        answer: BinaryAnswer = billed(
            BinaryAnswer, await self._send(request, "POST", "/audio/speech", body)
        )
        return answer


class AsyncTranscriptions(Group):
    """Speech to text."""

    async def create(self, **parameters: Any) -> Any:  # noqa: ANN401 - text formats are a str
        """Write down the speech in `file`; `response_format` text, srt and vtt give a str."""
        request = Request("audio.transcriptions", parameters)
        return spoken(request, await self._form(request, "/audio/transcriptions", "file"))


class AsyncTranslations(Group):
    """Speech to English text."""

    async def create(self, **parameters: Any) -> Any:  # noqa: ANN401 - text formats are a str
        """Translate the speech in `file`; `response_format` text, srt and vtt give a str."""
        request = Request("audio.translations", parameters)
        return spoken(request, await self._form(request, "/audio/translations", "file"))


def spoken(request: Request, sent: tuple[core.Reply, int | None]) -> Any:  # noqa: ANN401
    """Return the text of a plain format, else the object."""
    if request.parameters.get("response_format") in {"text", "srt", "vtt"}:
        if isinstance(sent[0], ComingReply):
            return billed(TextAnswer, sent)
        return sent[0].body.decode("utf-8", "replace")
    return billed(Answer, sent)


class AsyncAudio:
    """`client.audio`."""

    def __init__(self, view: View) -> None:
        self.speech = AsyncSpeech(view)
        self.transcriptions = AsyncTranscriptions(view)
        self.translations = AsyncTranslations(view)


class AsyncFiles(Group):
    """Files at the provider; free of charge."""

    async def create(self, **parameters: Any) -> Answer:  # noqa: ANN401
        """Upload `file` (bytes, a path, an open file, or a tuple) for a `purpose`."""
        request = Request("files", parameters)
        answer: Answer = billed(Answer, await self._form(request, "/files", "file"))
        return answer

    def list(self, **options: Any) -> bridge.Pages:  # noqa: ANN401
        """Return the first page, or iterate over all; `limit`, `after`, `order`, `purpose`."""
        return bridge.pages(self._page, "/files", options)

    async def retrieve(self, file_id: str, **options: Any) -> Answer:  # noqa: ANN401
        """Return what is known of a file."""
        return await self._json(Request(None, options), "GET", at("files", file_id), bare=True)

    async def delete(self, file_id: str, **options: Any) -> Answer:  # noqa: ANN401
        """Delete a file."""
        return await self._json(Request(None, options), "DELETE", at("files", file_id), bare=True)

    async def content(self, file_id: str, **options: Any) -> BinaryAnswer:  # noqa: ANN401
        """Return a file's bytes."""
        request = Request(None, options)
        answer: BinaryAnswer = billed(
            BinaryAnswer, await self._send(request, "GET", at("files", file_id, "content"))
        )
        return answer


class AsyncBatches(Group):
    """Batches: each line is held when the batch is created, and settled when it has ended.

    `dure.Call(price=)` names one price for all instead, `metered=False` leaves it to others.
    """

    async def create(self, **parameters: Any) -> Answer:  # noqa: ANN401
        """Start a batch over an uploaded file; its lines are read and held first.

        Raises:
            BudgetExceededError: the lines do not fit a budget; nothing is held or sent.
            UnknownPriceError: a model has no price for batches.
        """
        request = Request("batches", parameters)
        call = request.call
        if call is not None and (call.price is not None or not call.metered):
            return await self._json(request, "POST", "/batches")
        from dure.calls import batches

        given, view = request.parameters, self._view
        text = await self._text(given.get("input_file_id"))
        endpoint = str(given.get("endpoint"))
        name = await bridge.in_thread(lambda: batches.hold(view, call, endpoint, text))
        given["metadata"] = {**(given.get("metadata") or {}), batches.METADATA: name}
        body = body_of(given, request.extra)
        arguments = request.arguments(view, "POST", "/batches", body, {})
        try:
            return Answer(await bridge.call(view.native(), *arguments))
        except BaseException as error:
            batches.not_made(view, name, error)
            raise

    def list(self, **options: Any) -> bridge.Pages:  # noqa: ANN401
        """Return the first page, or iterate over all; `limit`, `after`."""
        return bridge.pages(self._page, "/batches", options)

    async def retrieve(self, batch_id: str, **options: Any) -> Answer:  # noqa: ANN401
        """Return how far a batch is. One that has ended is settled, line by line, once."""
        batch = await self._json(Request(None, options), "GET", at("batches", batch_id), bare=True)
        if not isinstance(batch._reply, ComingReply):
            await self._settle(batch.to_dict())
        return batch

    async def cancel(self, batch_id: str, **options: Any) -> Answer:  # noqa: ANN401
        """Stop a batch."""
        return await self._json(Request(None, options), "POST", at("batches", batch_id, "cancel"))

    async def submit(
        self,
        requests: Requests,
        *,
        endpoint: str = "/v1/chat/completions",
        **options: Any,  # noqa: ANN401 - as `create`
    ) -> BatchRun:
        """Start batches over any number of requests: at most 50,000 or 200 MB in each file.

        Each file is uploaded, held line by line and started as by `create`. If one cannot be, the
        batches that run already are stopped.

        Args:
            requests: Bodies by an id of yours, or pairs of both.
            endpoint: Whose requests they are.
            **options: As `create`: `dure`, `metadata`, `completion_window`.

        Raises:
            InvalidArgumentError: an id stands twice, or a request is none.
            DureError: as `create`.
        """
        from dure.calls.batch_files import BatchRun, files_of

        batch_ids: list[str] = []
        custom_ids: list[str] = []
        window = options.pop("completion_window", "24h")
        free = {name: options[name] for name in ("timeout",) if name in options}
        try:
            for content, ids in files_of(requests, endpoint):
                upload = {"file": ("requests.jsonl", content), "purpose": "batch", **free}
                sent = await self._form(Request("files", upload), "/files", "file")
                batch = await self.create(
                    input_file_id=Answer(sent[0]).id,
                    endpoint=endpoint,
                    completion_window=window,
                    **options,
                )
                batch_ids.append(batch.id)
                custom_ids += ids
        except BaseException:
            for batch_id in batch_ids:
                await self._stop(batch_id)
            raise
        return BatchRun(tuple(batch_ids), tuple(custom_ids))

    async def collect(self, run: BatchRun) -> BatchResults:
        """Return what has come of each request, and settle the batches that have ended.

        Raises:
            InvalidArgumentError: it is none that `submit` returned.
            UpstreamError: a file has a line that belongs to no request, or two of one.
        """
        from dure.calls.batch_files import BatchRun, reconcile
        from dure.calls.batches import ENDED, read_lines
        from dure.errors import InvalidArgumentError

        if not isinstance(run, BatchRun):
            raise InvalidArgumentError("run must be what batches.submit returned", argument="run")
        lines: list[dict[str, Any]] = []
        ended = True
        for batch_id in run.batch_ids:
            batch = await self.retrieve(batch_id)
            ended = ended and batch.status in ENDED
            if batch.status not in ENDED:
                continue
            for file in (batch.output_file_id, batch.error_file_id):
                if file:
                    lines += read_lines(await self._text(file), "output")
        return reconcile(run, lines, ended=ended)

    async def _stop(self, batch_id: str) -> None:
        from dure.errors import DureError

        with suppress(DureError):  # it is told why the others were not started
            await self.cancel(batch_id)

    async def _settle(self, batch: Mapping[str, Any]) -> None:
        from dure.calls import batches

        name = (batch.get("metadata") or {}).get(batches.METADATA)
        if batch.get("status") not in batches.ENDED or not isinstance(name, str):
            return
        view = self._view
        account = view.core.account
        if not await bridge.in_thread(lambda: batches.open_lines(account, name)):
            return
        files = (batch.get("output_file_id"), batch.get("error_file_id"))
        texts = [await self._text(file) for file in files if file]
        await bridge.in_thread(lambda: batches.settle(view, name, *texts))

    async def _text(self, file_id: object) -> str:
        """Return the text of a file at the provider."""
        path = at("files", str(file_id), "content")
        arguments = Request(None, {}).arguments(self._view, "GET", path, None, {})
        reply = await bridge.call(self._view.core, *arguments)
        return bytes(reply.body).decode("utf-8", "replace")


class AsyncModerations(Group):
    """Moderations; free of charge."""

    async def create(self, **parameters: Any) -> Answer:  # noqa: ANN401
        """Judge `input`."""
        return await self._json(Request("moderations", parameters), "POST", "/moderations")
