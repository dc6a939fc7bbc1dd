"""OpenAI's endpoints: a request becomes an answer, its usage, and one line of the log."""

from __future__ import annotations

import base64
import json
import struct
import traceback
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dure import tokens
from dure.errors import DureError
from dure.local import ExtractiveAnswerer, pieces
from dure.prompts import question_and_sources

from . import more
from .wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dure.local import HashEmbedder
    from dure.tokens import Encoding

    from .faults import FaultPlan

__all__ = ["OpenAIShaped", "Settings"]

OWN_MODELS = ("dure-extractive", "dure-hash")
EMBEDDING_DIMS = {
    "dure-hash": 384,
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
MAX_INPUTS = 2048
SLOW_SECONDS = 0.5
RATE_WINDOW_SECONDS = 60.0


class _ApiError(Exception):
    """What the caller did wrong, in OpenAI's words."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param


@dataclass(slots=True)
class Settings:
    """How the server behaves.

    Attributes:
        faults: Which requests fail, and how.
        delay: Seconds before the first byte of each answer.
        pace: Seconds between two events of a stream.
        api_key: The only key that is let in; None lets everybody in.
        requests_per_minute: Above it: a true 429.
        tokens_per_minute: Above it: a true 429.
    """

    faults: FaultPlan
    delay: float = 0.0
    pace: float = 0.0
    api_key: str | None = None
    requests_per_minute: int = 10_000_000
    tokens_per_minute: int = 10_000_000_000


@dataclass(slots=True)
class _Made:
    """What an endpoint made: the reply and the tokens for log and rate headers."""

    reply: Reply
    model: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stream: bool = False
    parameters: tuple[str, ...] = ()


class OpenAIShaped:
    """Answers requests. Owner thread only: the event loop's.

    `now` gives monotonic seconds, `wall` seconds since 1970, `log` takes one line per request
    before the first byte of its answer is sent.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        log: Callable[[dict[str, object]], None],
    ) -> None:
        self._settings, self._now, self._wall, self._log = settings, now, wall, log
        self._number, self._started = 0, int(wall())
        self._window = _RateWindow(settings, now=now)
        self._answerer = ExtractiveAnswerer()
        self._posts: dict[str, Callable[[dict[str, Any]], _Made]] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/embeddings": self._embeddings,
            "/v1/responses": self._responses,
            "/v1/moderations": self._moderations,
            "/v1/images/generations": self._images,
            "/v1/audio/speech": self._speech,
            "/v1/batches": self._batch,
        }
        self._more = more.More(self._line)

    # One request

    def answer(self, request: Request) -> Reply:
        """Answer one request; never raises."""
        self._number += 1
        fault = self._settings.faults.pick(self._number)
        made = self._fault(fault) if fault in {"429", "500", "503"} else self._guarded(request)
        reply = made.reply
        reply.fault = fault if fault in {"reset", "cut"} else None
        reply.delay = self._settings.delay + (SLOW_SECONDS if fault == "slow" else 0.0)
        reply.pace = self._settings.pace
        request_id = f"req_{self._number:08d}"
        reply.headers += [
            ("x-request-id", request_id),
            *self._window.headers(made.prompt_tokens + made.completion_tokens),
        ]
        self._log(
            {
                "id": request_id,
                "client_id": request.headers.get("x-client-request-id"),
                "method": request.method,
                "path": request.path,
                "status": 0 if fault == "reset" else reply.status,
                "fault": fault,
                "model": made.model,
                "stream": made.stream,
                "parameters": made.parameters,
                "prompt_tokens": made.prompt_tokens,
                "completion_tokens": made.completion_tokens,
            }
        )
        return reply

    def refuse(self, status: int, reason: str) -> Reply:
        """Answer what could not be read as HTTP."""
        return _error(_ApiError(status, reason))

    def _guarded(self, request: Request) -> _Made:
        try:
            self._authorize(request)
            self._window.admit()
            return self._route(request)
        except _ApiError as wrong:
            return _Made(
                _error(wrong, retry_after=self._window.left() if wrong.status == 429 else 0)
            )
        except DureError as wrong:
            return _Made(_error(_ApiError(wrong.http_status, str(wrong), code=wrong.code)))
        except Exception:  # noqa: BLE001 - a server answers; the trace is for whoever reads stderr
            traceback.print_exc()
            return _Made(_error(_ApiError(500, "The upstream has a bug; its stderr shows it.")))

    def _authorize(self, request: Request) -> None:
        key = self._settings.api_key
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            raise _ApiError(401, "Incorrect API key provided.", code="invalid_api_key")

    def _route(self, request: Request) -> _Made:
        if request.path in self._posts and (request.method, request.path) != ("GET", "/v1/batches"):
            if request.method != "POST":
                raise _ApiError(405, f"{request.path} wants POST, not {request.method}.")
            body = _json_object(request.body)
            made = self._posts[request.path](body)
            made.parameters = tuple(body)
            return made
        if (kept := self._kept(request)) is not None:
            return kept
        if request.method != "GET":
            raise _ApiError(404, f"Unknown request URL: {request.method} {request.path}.")
        if request.path == "/v1/models":
            return _Made(
                _json({"object": "list", "data": [self._model(name) for name in _models()]})
            )
        if request.path.startswith("/v1/models/"):
            name = request.path.removeprefix("/v1/models/")
            _encoding_of(name)
            return _Made(_json(self._model(name)))
        raise _ApiError(404, f"Unknown request URL: GET {request.path}.")

    def _fault(self, kind: str | None) -> _Made:
        if kind == "429":
            wait = 0.02 + 0.1 * self._settings.faults.chance(self._number)
            wrong = _ApiError(429, "Rate limit reached.", code="rate_limit_exceeded")
            return _Made(_error(wrong, retry_after=wait))
        if kind == "503":
            return _Made(_error(_ApiError(503, "The engine is currently overloaded.")))
        return _Made(_error(_ApiError(500, "The server had an error.")))

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "dure"}

    # Chat

    def _chat(self, body: dict[str, Any]) -> _Made:
        model, messages = _string(body, "model"), _messages(body)
        encoding = _encoding_of(model)
        if body.get("n") not in {None, 1}:
            raise _ApiError(400, "This server gives one choice.", param="n")
        text, finish = self._text(body, messages, encoding)
        prompt_tokens = int(tokens.count_messages(messages, model=_known(model)).tokens)
        usage = _usage(prompt_tokens, encoding.count(text))
        made = _Made(Reply(200), model, prompt_tokens, usage["completion_tokens"])
        frame = {
            "id": f"chatcmpl-{self._number:08d}",
            "created": int(self._wall()),
            "model": model,
            "system_fingerprint": "dure-extractive",
        }
        if body.get("stream"):
            options = body.get("stream_options") or {}
            made.stream = True
            made.reply.headers = [("content-type", "text/event-stream; charset=utf-8")]
            wanted = usage if options.get("include_usage") else None
            events = list(_events(frame, text, finish, wanted))
            cut = self._settings.faults.pick(self._number) == "cut"
            made.reply.events = iter(events[: max(1, len(events) // 2)] if cut else events)
        else:
            message = {"role": "assistant", "content": text, "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
            made.reply = _json(
                {**frame, "object": "chat.completion", "choices": [choice], "usage": usage}
            )
        return made

    def _text(
        self, body: dict[str, Any], messages: list[dict[str, Any]], encoding: Encoding
    ) -> tuple[str, str]:
        """Return answer and finish reason: `max_tokens` and `stop` are honoured."""
        question, sources = question_and_sources(messages)
        text, finish = self._answerer.answer(question, sources), "stop"
        stops = body.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.partition(stop)[0] if stop else text
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        if most is not None:
            if not isinstance(most, int) or most < 1:
                raise _ApiError(400, "max_tokens is not a positive integer.", param="max_tokens")
            if not encoding.fits(text, most):
                text, finish = encoding.truncate(text, most), "length"
        return text, finish

    # Text completions

    def _completion(self, body: dict[str, Any]) -> _Made:
        model, prompt = _string(body, "model"), body.get("prompt")
        encoding = _encoding_of(model)
        if not isinstance(prompt, str):
            raise _ApiError(400, "This server takes one text as its prompt.", param="prompt")
        messages = [{"role": "user", "content": prompt}]
        text, finish = self._text({"max_tokens": 16, **body}, messages, encoding)
        usage = _usage(encoding.count(prompt), encoding.count(text))
        made = _Made(Reply(200), model, usage["prompt_tokens"], usage["completion_tokens"])
        frame = {
            "id": f"cmpl-{self._number:08d}",
            "object": "text_completion",
            "created": int(self._wall()),
            "model": model,
        }
        if body.get("stream"):
            made.stream = True
            wanted = (body.get("stream_options") or {}).get("include_usage")
            events = list(
                more.completion_events(frame, list(pieces(text)), usage if wanted else None)
            )
            if self._settings.faults.pick(self._number) == "cut":
                events = events[: max(1, len(events) // 2)]
            kind = [("content-type", "text/event-stream; charset=utf-8")]
            made.reply = Reply(200, kind, events=iter(events))
            return made
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        made.reply = _json({**frame, "choices": [choice], "usage": usage})
        return made

    # Responses, and what is kept

    def _responses(self, body: dict[str, Any]) -> _Made:
        model = _string(body, "model")
        encoding = _encoding_of(model)
        messages = _messages({"messages": more.chat_messages(body)})
        wanted = {"max_tokens": body.get("max_output_tokens")}
        text, finish = self._text(wanted, messages, encoding)
        prompt = int(tokens.count_messages(messages, model=_known(model)).tokens)
        counts = (prompt, encoding.count(text))
        frame = {
            "id": f"resp_{self._number:08d}",
            "created_at": int(self._wall()),
            "model": model,
            "incomplete_details": {"reason": "max_output_tokens"} if finish == "length" else None,
        }
        response = more.response_of(frame, text, counts)
        if body.get("store") is not False:
            self._more.keep_response(response, messages)
        made = _Made(_json(response), model, *counts)
        if body.get("stream"):
            made.stream = True
            events = list(more.response_events(response, list(pieces(text))))
            if self._settings.faults.pick(self._number) == "cut":
                events = events[: len(events) // 2]
            kind = [("content-type", "text/event-stream; charset=utf-8")]
            made.reply = Reply(200, kind, events=iter(events))
        return made

    def _moderations(self, body: dict[str, Any]) -> _Made:
        given = body.get("input")
        texts: list[Any] = given if isinstance(given, list) else [given]
        if not all(isinstance(text, str) for text in texts):
            raise _ApiError(400, "'input' is not a text or a list of texts.", param="input")
        frame = {"id": f"modr-{self._number}", "model": "dure-words"}
        return _Made(_json({**frame, "results": more.moderation(texts)}))

    def _images(self, body: dict[str, Any]) -> _Made:
        shade = sum(_string(body, "prompt").encode()) % 256
        image = base64.b64encode(more.png(16, shade)).decode()
        data = [{"b64_json": image} for _ in range(body.get("n") or 1)]
        return _Made(_json({"created": int(self._wall()), "data": data}), _string(body, "model"))

    def _speech(self, body: dict[str, Any]) -> _Made:
        sound = more.wav(50 * len(_string(body, "input")))
        return _Made(Reply(200, [("content-type", "audio/wav")], sound), _string(body, "model"))

    def _batch(self, body: dict[str, Any]) -> _Made:
        for name in ("input_file_id", "endpoint", "completion_window"):
            _string(body, name)
        try:
            return _Made(_json(self._more.start_batch(body, int(self._wall()))))
        except more.NoSuchError as missing:
            raise _ApiError(404, f"No such file: {missing}.", param="input_file_id") from None

    def _line(self, url: str, body: dict[str, Any]) -> tuple[int, Any]:
        try:
            reply = self._posts[url](body).reply
        except _ApiError as wrong:
            reply = _error(wrong)
        return reply.status, json.loads(reply.body)

    def _kept(self, request: Request) -> _Made | None:
        """Answer what concerns files, batches, responses and forms; None: not ours."""
        kind, _, rest = request.path.removeprefix("/v1/").partition("/")
        item, _, action = rest.partition("/")
        created = int(self._wall())
        try:
            match request.method, kind, item, action:
                case "POST", "files", "", "":
                    return _Made(_json(self._more.upload(request, created)))
                case "GET", "files", "", "":
                    return _Made(_json(self._more.files(request.query)))
                case "GET", "files", _, "":
                    return _Made(_json(self._more.file(item)[0]))
                case "GET", "files", _, "content":
                    octets = [("content-type", "application/octet-stream")]
                    return _Made(Reply(200, octets, self._more.file(item)[1]))
                case "DELETE", "files", _, "":
                    return _Made(_json(self._more.delete_file(item)))
                case "GET", "batches", "", "":
                    return _Made(_json(self._more.batches(request.query)))
                case "GET", "batches", _, "":
                    return _Made(_json(self._more.batch(item)))
                case "POST", "batches", _, "cancel":
                    return _Made(_json({**self._more.batch(item), "status": "cancelling"}))
                case _, "responses", _, _:
                    return self._of_response(request, item, action)
                case "POST", "audio", "transcriptions" | "translations", "":
                    return self._transcription(request)
        except (more.NoSuchError, KeyError) as missing:
            raise _ApiError(404, f"No such object: {missing}.") from None
        return None

    def _of_response(self, request: Request, item: str, action: str) -> _Made | None:
        match request.method, item, action:
            case "GET", _, "":
                return _Made(_json(self._more.response(item)))
            case "GET", _, "input_items":
                return _Made(_json(self._more.input_items(item, request.query)))
            case "DELETE", _, "":
                return _Made(_json(self._more.delete_response(item)))
            case "POST", "input_tokens", "":
                asked = more.chat_messages(_json_object(request.body))
                count = int(tokens.count_messages(asked, model=_known("gpt-4o")).tokens)
                return _Made(_json({"object": "response.input_tokens", "input_tokens": count}))
        return None

    def _transcription(self, request: Request) -> _Made:
        """Say how much sound came: this server understands none."""
        fields = more.form_fields(request.headers.get("content-type", ""), request.body)
        name, sound = fields["file"]
        text = f"{len(sound)} bytes of sound in {name}"
        model = fields["model"][1].decode()
        if fields.get("response_format", ("", b""))[1] == b"text":
            return _Made(Reply(200, [("content-type", "text/plain")], f"{text}\n".encode()), model)
        return _Made(_json({"text": text}), model)

    # Embeddings

    def _embeddings(self, body: dict[str, Any]) -> _Made:
        model = _string(body, "model")
        encoding = _encoding_of(model)
        texts = _inputs(body.get("input"), encoding)
        counts = [int(n) for n in encoding.count_batch(texts)]
        if (index := next((i for i, n in enumerate(counts) if n > 8192), None)) is not None:
            raise _ApiError(
                400, f"input[{index}] has {counts[index]} tokens, more than 8192.", param="input"
            )
        dim = body.get("dimensions") or EMBEDDING_DIMS.get(model, 384)
        if not isinstance(dim, int) or not 1 <= dim <= 4096:
            raise _ApiError(400, "dimensions is not an integer from 1 to 4096.", param="dimensions")
        vectors = _embedder(dim).embed_documents(texts)
        plain = body.get("encoding_format", "float") != "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": vector.tolist() if plain else _base64(vector),
            }
            for index, vector in enumerate(vectors)
        ]
        total = sum(counts)
        usage = {"prompt_tokens": total, "total_tokens": total}
        reply = _json({"object": "list", "data": data, "model": model, "usage": usage})
        return _Made(reply, model, total)


class _RateWindow:
    """Requests and tokens of the running minute, told in headers and enforced."""

    def __init__(self, settings: Settings, *, now: Callable[[], float]) -> None:
        self._limits = (settings.requests_per_minute, settings.tokens_per_minute)
        self._now, self._start = now, now()
        self._used = [0, 0]

    def left(self) -> float:
        """Return the seconds until the window starts anew."""
        return max(0.0, self._start + RATE_WINDOW_SECONDS - self._now())

    def admit(self) -> None:
        """Raise 429 if the window is spent."""
        if self.left() == 0:
            self._start, self._used = self._now(), [0, 0]
        if any(used >= limit for used, limit in zip(self._used, self._limits, strict=True)):
            raise _ApiError(429, "Rate limit reached.", code="rate_limit_exceeded")

    def headers(self, spent: int) -> list[tuple[str, str]]:
        """Count one request with `spent` tokens; return the headers that say what is left."""
        self._used[0] += 1
        self._used[1] += spent
        reset = f"{self.left():.3f}s"
        pairs = []
        for name, used, limit in zip(("requests", "tokens"), self._used, self._limits, strict=True):
            pairs += [
                (f"x-ratelimit-limit-{name}", str(limit)),
                (f"x-ratelimit-remaining-{name}", str(max(0, limit - used))),
                (f"x-ratelimit-reset-{name}", reset),
            ]
        return pairs


# Bodies


def _json(value: object, status: int = 200) -> Reply:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, [("content-type", "application/json")], body)


def _error(wrong: _ApiError, *, retry_after: float = 0.0) -> Reply:
    kinds = {401: "authentication_error", 429: "requests"}
    kind = kinds.get(wrong.status) or (
        "server_error" if wrong.status >= 500 else "invalid_request_error"
    )
    fields = {"message": str(wrong), "type": kind, "param": wrong.param, "code": wrong.code}
    reply = _json({"error": fields}, wrong.status)
    if retry_after > 0:
        reply.headers += [
            ("retry-after", str(max(1, round(retry_after)))),
            ("retry-after-ms", str(max(1, round(retry_after * 1000)))),
        ]
    return reply


def _events(
    frame: dict[str, object], text: str, finish: str, usage: dict[str, Any] | None
) -> Iterator[bytes]:
    """Give the events of one streamed answer, `[DONE]` last."""
    start = json.dumps({**frame, "object": "chat.completion.chunk"}, ensure_ascii=False)[:-1]
    tail = "" if usage is None else ', "usage": null'

    def event(delta: dict[str, str], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        choices = json.dumps([choice], ensure_ascii=False)
        return f'data: {start}, "choices": {choices}{tail}}}\n\n'.encode()

    yield event({"role": "assistant", "content": ""}, None)
    for piece in pieces(text):
        yield event({"content": piece}, None)
    yield event({}, finish)
    if usage is not None:
        yield f'data: {start}, "choices": [], "usage": {json.dumps(usage)}}}\n\n'.encode()
    yield b"data: [DONE]\n\n"


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# Checks


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _ApiError(400, "We could not parse the JSON body of your request.")
    return value


def _string(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise _ApiError(400, f"you must provide a {name} parameter", param=name)
    return value


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _ApiError(
            400, "'messages' is not a list with at least one message.", param="messages"
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _ApiError(
                400,
                f"'messages[{index}].role' is not one of {sorted(ROLES)}.",
                param=f"messages[{index}].role",
            )
    return messages


def _inputs(value: object, encoding: Encoding) -> list[str]:
    """Return the texts of `input`: a text, texts, tokens, or lists of tokens."""
    items: list[Any] = value if isinstance(value, list) else [value]
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    texts = []
    for index, item in enumerate(items):
        is_tokens = isinstance(item, list) and all(isinstance(token, int) for token in item)
        if not (isinstance(item, str) or is_tokens) or not item:
            raise _ApiError(
                400, f"'input[{index}]' is not a text or a list of tokens.", param="input"
            )
        texts.append(item if isinstance(item, str) else encoding.decode(item))
    if not 1 <= len(texts) <= MAX_INPUTS:
        raise _ApiError(
            400, f"'input' has {len(texts)} items, not 1 to {MAX_INPUTS}.", param="input"
        )
    return texts


# Models


def _known(model: str) -> str:
    """Return the name under which tokens are counted: our own count as gpt-4o."""
    return "gpt-4o" if model in OWN_MODELS else model


@lru_cache(maxsize=256)
def _encoding_of(model: str) -> Encoding:
    try:
        return tokens.encoding_for_model(_known(model))
    except (KeyError, DureError):
        raise _ApiError(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
            param="model",
        ) from None


@lru_cache(maxsize=16)
def _embedder(dim: int) -> HashEmbedder:
    from dure.local import HashEmbedder

    return HashEmbedder(dim=dim)


def _models() -> list[str]:
    from dure.models import MODEL_CATALOG

    return sorted({*OWN_MODELS, *EMBEDDING_DIMS, *MODEL_CATALOG})
