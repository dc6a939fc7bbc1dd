"""`AsyncClient`: resources shaped like openai-python's on the native client."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

from dure._progress import reporter
from dure.aio import _bridge as bridge
from dure.aio.closing import AsyncClosing
from dure.aio.streams import AsyncStream
from dure.aio.wrappers import AsyncWrapped
from dure.calls.fixed_price import unpriced
from dure.calls.parameters import OF_BATCH, OF_CALL, check_names
from dure.calls.paths import is_free, is_metered
from dure.calls.replies import (
    ChatCompletion,
    CreateEmbeddingResponse,
    ModelList,
    RawReply,
    WireObject,
)
from dure.calls.settings import View, body_of, headers_of, path_of
from dure.calls.wires import wire_for
from dure.errors import DureError, InvalidArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dure._core import client as core
    from dure.aio.resources import (
        AsyncAudio,
        AsyncBatches,
        AsyncFiles,
        AsyncImages,
        AsyncModerations,
        AsyncResponses,
    )
    from dure.aio.staged import StagedCompletion
    from dure.aio.structured import AsyncChatStream
    from dure.calls import Cache, Call, Timeout
    from dure.calls.answers import ParsedChatCompletion
    from dure.calls.checks import Check
    from dure.calls.events import CallEvents
    from dure.calls.keys import Key, Keys
    from dure.calls.rates import Rates
    from dure.calls.schemas import Schema
    from dure.costs import AsyncBudgets, PriceBook

    Progress = bool | Callable[[int, int | None, str], object] | None

__all__ = ["AsyncClient"]

PATHS = {"chat.completions": "/chat/completions", "embeddings": "/embeddings"}


class Resource(AsyncWrapped):
    """A group of calls on one client."""

    def __init__(self, view: View) -> None:
        self._view = view

    def _call(
        self,
        path: str,
        body: dict[str, Any] | None,
        *,
        method: str = "POST",
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> bridge.Coming:
        view = self._view
        return bridge.call(
            view.native(),
            view.endpoint,
            method,
            path_of(path, extra_query),
            body if body is None else body_of(body, extra_body),
            headers_of(extra_headers),
            view.options(dure, timeout),
        )


class AsyncCompletions(Resource):
    """Chat completions."""

    @overload
    async def create(
        self,
        *,
        messages: Iterable[Any],
        model: str | None = None,
        stream: Literal[False] | None = False,
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
        **parameters: object,
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self,
        *,
        messages: Iterable[Any],
        model: str | None = None,
        stream: Literal[True],
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
        **parameters: object,
    ) -> AsyncStream: ...

    @overload
    async def create(
        self,
        *,
        messages: Iterable[Any],
        model: str | None = None,
        stream: bool,
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
        **parameters: object,
    ) -> ChatCompletion | AsyncStream: ...

    async def create(
        self,
        *,
        messages: Iterable[Any],
        model: str | None = None,
        stream: bool | None = False,
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
        **parameters: object,
    ) -> ChatCompletion | AsyncStream:
        """Ask a model.

        Args:
            messages: As the API takes them.
            model: Any name of the catalogue; None takes the default of `dure.Call(service=)`.
            stream: True gives a stream of chunks instead of one answer.
            dure: Who calls, and the limits of this call.
            timeout: Seconds for all of it, or a `Timeout`.
            extra_headers: Sent beside ours.
            extra_query: Added to the URL.
            extra_body: Merged over the body.
            **parameters: Every other parameter of the API, sent as given.

        Raises:
            InvalidArgumentError: the API has no such parameter (`extra_body=` passes anything
                through), or the body cannot be sent; `.path` says where.
            InvalidModelError: unknown model, or not allowed for the service.
            BudgetExceededError: the upper bound of the cost does not fit.
            RateLimitError, UpstreamError: the provider refused; `.status_code`, `.request_id`.
            UnavailableError: nothing was accepted, or the client is closed.
            DeadlineError: time ran out.
            TruncatedStreamError: the stream broke off (while iterating).
        """
        body = chat_body(messages, model, parameters, dure)
        if not stream:
            return ChatCompletion(
                await self._call(
                    "/chat/completions",
                    body,
                    dure=dure,
                    timeout=timeout,
                    extra_headers=extra_headers,
                    extra_query=extra_query,
                    extra_body=extra_body,
                )
            )
        body["stream"] = True
        view = self._view
        native = view.native().stream(
            view.endpoint,
            path_of("/chat/completions", extra_query),
            body_of(body, extra_body),
            headers_of(extra_headers),
            view.options(dure, timeout),
        )
        view.opened(native)
        return await AsyncStream.opened(native)

    async def parse(
        self,
        *,
        messages: Iterable[Any],
        response_format: type[Schema],
        model: str | None = None,
        **options: Any,  # noqa: ANN401 - as `create`
    ) -> ParsedChatCompletion:
        """Ask for an object of a class: `.choices[0].message.parsed`.

        An answer that is no such object is asked for anew within the same limits of attempts,
        time and money.

        Args:
            messages: As the API takes them.
            response_format: A pydantic model, or any class with `model_json_schema` and
                `model_validate_json`.
            model: Any name of the catalogue; None takes the service's default.
            **options: As `create`.

        Raises:
            UpstreamError: no answer was such an object (`.code` invalid_output), or it was cut
                by its token limit (length); and as `create`.
        """
        from dure.aio.structured import parse

        given = {**options, "messages": messages, "model": model}
        return await parse(self, response_format, given)

    async def staged(
        self,
        *,
        messages: Iterable[Any],
        stages: Sequence[Mapping[str, Any]],
        check: Check,
        **options: Any,  # noqa: ANN401 - as `create`
    ) -> StagedCompletion:
        """Ask stage after stage until an answer passes a check, within the limits of one call.

        The economical model goes first; the next one is asked, and paid, only if its answer was
        cut or does not pass. The same model twice asks anew.

        Args:
            messages: As the API takes them.
            stages: What each stage adds to the options, for example `{"model": "gpt-4o-mini",
                "max_tokens": 200}`; `"tell": True` shows it the last answer and what is wrong.
            check: A class with `model_validate_json`, a compiled pattern that must be found, or a
                function of the text that gives None, or why it does not pass;
                `dure.prompts.in_script` and `in_language` make such.
            **options: As `create`, for all stages.

        Raises:
            UpstreamError: no answer passed (`.code` check_failed); and as `create`.
        """
        from dure.aio.staged import staged

        return await staged(self, stages, check, {**options, "messages": messages})

    def stream(self, **options: Any) -> AsyncChatStream:  # noqa: ANN401 - as `create`
        """Return a stream with events: `async with client.chat.completions.stream(...) as s`."""
        from dure.aio.structured import AsyncChatStream

        return AsyncChatStream(self, options)


def chat_body(
    messages: Iterable[Any],
    model: str | None,
    parameters: dict[str, object],
    call: Call | None = None,
) -> dict[str, Any]:
    """Return the body of a chat request."""
    check_names(parameters, "chat.completions", OF_CALL, call=call)
    body: dict[str, Any] = {} if model is None else {"model": model}
    body["messages"] = messages if isinstance(messages, list) else list(messages)
    body.update(parameters)
    return body


class AsyncChat:
    """`client.chat`."""

    def __init__(self, view: View) -> None:
        self.completions = AsyncCompletions(view)


class AsyncEmbeddings(Resource):
    """Embeddings."""

    async def create(
        self,
        *,
        input: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]],
        model: str | None = None,
        encoding_format: Literal["float", "base64"] | None = None,
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
        **parameters: object,
    ) -> CreateEmbeddingResponse:
        """Turn text into vectors: `.data[i].embedding`, or `.vectors` as float32[n, dim].

        Without `encoding_format` the vectors travel as base64 and come out as numbers.

        Raises:
            UpstreamError: a row is missing, doubled, of another length or not finite; and as
                `chat.completions.create`.
        """
        body = embeddings_body(input, model, encoding_format, parameters, dure)
        reply = await self._call(
            "/embeddings",
            body,
            dure=dure,
            timeout=timeout,
            extra_headers=extra_headers,
            extra_query=extra_query,
            extra_body=extra_body,
        )
        return CreateEmbeddingResponse(
            reply, count_inputs(body["input"]), as_sent=encoding_format is not None
        )


def embeddings_body(
    given: str | Sequence[Any],
    model: str | None,
    encoding_format: str | None,
    parameters: dict[str, object],
    call: Call | None = None,
) -> dict[str, Any]:
    """Return the body of an embeddings request; ours asks for base64."""
    check_names(parameters, "embeddings", OF_CALL, call=call)
    body: dict[str, Any] = {} if model is None else {"model": model}
    body["input"] = given if isinstance(given, str) else list(given)
    body["encoding_format"] = encoding_format or "base64"
    body.update(parameters)
    return body


def count_inputs(given: str | Sequence[Any]) -> int:
    """Return how many vectors an input gives: text or token ids are one."""
    return 1 if isinstance(given, str) or (given and isinstance(given[0], int)) else len(given)


class AsyncModels(Resource):
    """The provider's models."""

    async def list(self, *, timeout: float | Timeout | None = None) -> ModelList:
        """Return what the provider offers."""
        return ModelList(await self._call("/models", None, method="GET", timeout=timeout))

    async def retrieve(self, model: str, *, timeout: float | Timeout | None = None) -> WireObject:
        """Return one of them."""
        from urllib.parse import quote

        path = f"/models/{quote(model, safe=':')}"
        return ChatCompletion(await self._call(path, None, method="GET", timeout=timeout))


class AsyncClient(Resource, AsyncClosing):
    """Calls to an OpenAI-shaped provider: exact cost, one budget per call, resends, fan-out.

    A cheap view of the one native client of the data folder: make as many as you like, share them
    among threads and event loops. Nothing connects and no thread starts before the first call.
    """

    def __init__(
        self,
        *,
        api_key: str | Key | Sequence[str | Key] | None = None,
        base_url: str | Sequence[str] | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeout: float | Timeout | None = 600.0,
        max_retries: int = 2,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        dialect: str | None = None,
        proxy: str | None = None,
        policy: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        data: str | os.PathLike[str] | None = None,
        cache: Cache | bool | None = None,
        prices: PriceBook | None = None,
        transport: object = None,
        clock: object = None,
        random: object = None,
    ) -> None:
        """Check the settings; nothing is sent.

        Args:
            api_key: One key or several that take turns; else `OPENAI_API_KEY`. A `dure.aio.Key`
                has a quota that it shares with others, and a weight. None is needed for a server
                on this machine.
            base_url: Else `OPENAI_BASE_URL`, else OpenAI's public address. A list of addresses
                that serve the same: each attempt goes to the better of two of them, by latency
                and load; one that fails is left alone for a while.
            organization: Else `OPENAI_ORG_ID`.
            project: Else `OPENAI_PROJECT_ID`.
            timeout: Seconds for a whole call, or a `Timeout`; None: no limit.
            max_retries: Attempts after the first, unless `dure.Call` says otherwise.
            default_headers: Sent with every request.
            default_query: Added to every URL.
            dialect: `openai_chat`, or `anthropic_messages`, which sends chat completions to
                Anthropic's API in its own shape, with `ANTHROPIC_API_KEY` and
                `ANTHROPIC_BASE_URL`. None: by the host of `base_url`.
            proxy: URL; else what the environment says.
            policy: Policies of services, as `models.load_policies` takes them.
            data: Data folder; else `DURE_DATA`, else the user's.
            cache: True, or a `dure.aio.Cache`: answers are kept for those who ask just the same
                again. `dure.Call(cache=)` says otherwise for one call.
            prices: What calls are held and settled at; else the shipped prices.
            transport: A native handle of `dure.testing`; or `"a"` or `"b"`, which forces an engine.
            clock: A native handle of `dure.testing`.
            random: A native handle of `dure.testing`.

        Raises:
            InvalidArgumentError: no key for another machine, a bad URL or number.
            StorageError: the data folder cannot be written.
        """
        if policy is not None:
            from dure.models import load_policies

            load_policies(policy)
        self._join(
            View.open(
                api_key=api_key,
                base_url=base_url,
                organization=organization,
                project=project,
                timeout=timeout,
                max_retries=max_retries,
                default_headers=default_headers,
                default_query=default_query,
                proxy=proxy,
                data=data,
                prices=prices,
                transport=transport,
                clock=clock,
                random=random,
                wire=wire_for(dialect, base_url),
                cache=cache,
            )
        )

    def _join(self, view: View) -> None:
        super().__init__(view)
        self.chat = AsyncChat(view)
        self.embeddings = AsyncEmbeddings(view)
        self.models = AsyncModels(view)
        self._budgets: AsyncBudgets | None = None

    @cached_property
    def responses(self) -> AsyncResponses:
        """The Responses API."""
        from dure.aio.resources import AsyncResponses

        return AsyncResponses(self._view)

    @cached_property
    def images(self) -> AsyncImages:
        """Images."""
        from dure.aio.resources import AsyncImages

        return AsyncImages(self._view)

    @cached_property
    def audio(self) -> AsyncAudio:
        """Speech, both ways."""
        from dure.aio.resources import AsyncAudio

        return AsyncAudio(self._view)

    @cached_property
    def files(self) -> AsyncFiles:
        """Files at the provider."""
        from dure.aio.resources import AsyncFiles

        return AsyncFiles(self._view)

    @cached_property
    def batches(self) -> AsyncBatches:
        """Batches."""
        from dure.aio.resources import AsyncBatches

        return AsyncBatches(self._view)

    @cached_property
    def moderations(self) -> AsyncModerations:
        """Moderations."""
        from dure.aio.resources import AsyncModerations

        return AsyncModerations(self._view)

    @property
    def budgets(self) -> AsyncBudgets:
        """Limits of what organisations, users and services may spend in this data folder.

        Raises:
            UnavailableError: this client is closed.
        """
        native = self._view.native()
        if self._budgets is None:
            from dure.costs import AsyncBudgets

            self._budgets = AsyncBudgets(native.account)
        return self._budgets

    @classmethod
    def of(cls, view: View) -> AsyncClient:
        """Return a client on settings that another one has."""
        client = cls.__new__(cls)
        client._join(view)
        return client

    @property
    def view(self) -> View:
        """The settings, for the twin and for `of`."""
        return self._view

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._view.endpoint.base_url

    @property
    def counters(self) -> dict[str, int]:
        """Sums of the shared native client since its start.

        `calls attempts retries ambiguous failures cost_pico`: `ambiguous` are resends after a
        failure that the provider may have billed. `cache_hits coalesced saved_pico`: calls that
        were not made, and what they would have cost; `hedges`: second copies sent;
        `gathered`: calls that went in another one's request.
        """
        return self._view.core.counters()

    @property
    def rates(self) -> Rates:
        """Requests and tokens a minute, for all processes of this host on the data folder.

        Raises:
            UnavailableError: this client is closed.
        """
        from dure.calls.rates import Rates

        return Rates(self._view.native())

    @property
    def keys(self) -> Keys:
        """The keys that calls go out with: add, drain, remove, reload, and what is known of them.

        Raises:
            UnavailableError: this client is closed.
        """
        from dure.calls.keys import Keys

        self._view.native()
        return Keys(self._view.endpoint)

    @property
    def events(self) -> CallEvents:
        """One event for each call that ended and each attempt that failed, once `keep` was called.

        Raises:
            UnavailableError: this client is closed.
        """
        from dure.calls.events import CallEvents

        return CallEvents(self._view.native())

    def clear_cache(self) -> None:
        """Forget the answers that were kept: in memory, in the data folder, in its remote cache.

        Raises:
            UnavailableError: this client is closed.
        """
        self._view.native().forget_answers()
        cache = self._view.cache
        if cache is not None and cache.remote is not None:
            cache.remote.clear()

    def with_options(
        self, *, timeout: float | Timeout | None = None, max_retries: int | None = None
    ) -> AsyncClient:
        """Return a client with other limits and the rest as here; each is closed on its own.

        Raises:
            UnavailableError: this client is closed.
        """
        return self.of(self._view.with_options(timeout=timeout, max_retries=max_retries))

    async def post(
        self,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        dure: Call | None = None,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
    ) -> RawReply:
        """Post JSON to a path below the base URL and return the reply as it came.

        Chat, responses and embeddings paths are priced and held like every call. What the provider
        does not bill (files, models, moderations and kin) goes as it is. Every other path may cost
        what no price book knows: name it, `dure.Call(price="0.04")`, or send it outside the
        account, `dure.Call(metered=False)`.

        Raises:
            UnknownPriceError: The path may cost money nobody named.
        """
        from dure.aio.resources import Group, Request, billed

        given = {} if body is None else body
        options = {
            "dure": dure,
            "timeout": timeout,
            "extra_headers": extra_headers,
            "extra_query": extra_query,
            **{name: value for name, value in given.items() if name not in OF_CALL},
        }
        sent = await Group(self._view)._send(Request(None, options), "POST", path, given)
        answer: RawReply = billed(RawReply, sent)
        return answer

    async def get(
        self,
        path: str,
        *,
        timeout: float | Timeout | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
    ) -> RawReply:
        """Get a path below the base URL and return the reply as it came."""
        return RawReply(
            await self._call(
                path,
                None,
                method="GET",
                timeout=timeout,
                extra_headers=extra_headers,
                extra_query=extra_query,
            )
        )

    async def map(
        self,
        requests: Iterable[Mapping[str, Any]],
        limit: int = 64,
        *,
        to: str = "chat.completions",
        progress: Progress = None,
    ) -> list[ChatCompletion | CreateEmbeddingResponse | DureError]:
        """Make many calls, `limit` at a time; results in the order of the requests.

        One awaitable for all of them: the queue, the resends and the parsing are native. A failure
        stays in its own place and stops nothing. A streamed one comes whole.

        Args:
            requests: Dicts of arguments of `to`.create; `dure=` and `timeout=` may be among them.
            limit: Calls under way at once.
            to: `chat.completions` or `embeddings`.
            progress: True draws a bar; a callable gets (done, total, unit).

        Raises:
            InvalidArgumentError: `to` or `limit`; what is wrong in a request is in its place.
            UnavailableError: this client is closed.
        """
        if to not in PATHS:
            raise InvalidArgumentError(f"to must be one of {sorted(PATHS)}", argument="to")
        self._view.native()  # a closed client reads no request
        slots: list[Any] = []  # a refusal, or None where an answer goes
        bodies, options = [], []
        for index, request in enumerate(requests):
            try:
                body, option = self._split(request, to, f"requests[{index}]")
            except DureError as refused:
                slots.append(refused)
                continue
            slots.append(None)
            bodies.append(body)
            options.append(option)
        refusals = len(slots) - len(bodies)
        results = await self._batch(PATHS[to], bodies, options, limit, progress, refusals)
        answers = zip(bodies, results, strict=True)
        return [answer_of(to, *next(answers)) if slot is None else slot for slot in slots]

    async def map_raw(
        self,
        bodies: Iterable[bytes],
        limit: int = 64,
        *,
        path: str = "/chat/completions",
        progress: Progress = None,
    ) -> list[bytes | DureError]:
        """Like `map`, with JSON bytes in and bytes out: nothing is parsed in Python.

        Raises:
            UnknownPriceError: `path` may cost money that no price book knows.
        """
        if not is_metered("POST", path) and not is_free("POST", path):
            raise unpriced("POST", path, None)
        given = [bytes(body) for body in bodies]
        results = await self._batch(
            path_of(path, None), given, [self._view.options()] * len(given), limit, progress
        )
        return [r if isinstance(r, DureError) else r.body for r in results]

    def _split(
        self, request: Mapping[str, Any], to: str, path: str
    ) -> tuple[dict[str, Any], core.Options]:
        """Return body and limits of one request of a batch."""
        check_names(request, to, OF_BATCH, path=path)
        body = dict(request)
        call, timeout = body.pop("dure", None), body.pop("timeout", None)
        extra = body.pop("extra_body", None)
        if to == "embeddings":
            body.setdefault("encoding_format", "base64")
        return body_of(body, extra), self._view.options(call, timeout)

    async def _batch(
        self,
        path: str,
        bodies: list[Any],
        options: list[core.Options],
        limit: int,
        progress: Progress,
        refused: int = 0,
    ) -> list[core.Reply | DureError]:
        """Run the bodies; `refused` requests, known to fail, count as done."""
        if isinstance(limit, bool) or limit < 1:
            raise InvalidArgumentError("limit must be 1 or more", argument="limit")
        view = self._view
        native = view.native()
        report = reporter(progress)
        batch = native.batch(view.endpoint, path, bodies, options, limit)

        def tell() -> None:
            if report is not None:
                report(batch.done + refused, batch.total + refused, "requests")

        await bridge.wait_batch(batch, tell if report is not None else None)
        tell()
        return batch.take()

    async def close(self) -> None:
        """Refuse further calls with `UnavailableError`. Idempotent.

        Calls and batches under way go on. Streams that were not read to their end are cancelled
        and settled by what came of them: nobody is left to read them. Clients made by
        `with_options` are closed on their own.
        """
        self._view.close()

    aclose = close  # async only

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"


def answer_of(
    to: str, body: dict[str, Any], result: core.Reply | DureError
) -> ChatCompletion | CreateEmbeddingResponse | DureError:
    """Return the answer of one request of a batch to `to`."""
    if isinstance(result, DureError):
        return result
    return ChatCompletion(result) if to == "chat.completions" else vectors_of(body, result)


def vectors_of(body: dict[str, Any], result: core.Reply) -> CreateEmbeddingResponse | DureError:
    """Return the answer of one embeddings request of a batch; a bad one is its own failure."""
    try:
        return CreateEmbeddingResponse(
            result,
            count_inputs(body["input"]),
            as_sent=body["encoding_format"] != "base64",
        )
    except DureError as wrong:
        return wrong
