"""`/v1/completions`, `/v1/images/generations`, `/v1/audio/*`: passed on as they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response

from dure.errors import InvalidArgumentError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import subject_of
from dure.service.calling import call_of, check_model
from dure.service.kit.body import read_object, require_type
from dure.service.kit.forms import field_of, file_of, read_form, written
from dure.service.kit.hot import hot
from dure.service.kit.state import state_of

from . import service, sound, text
from .service import Going, passed, send, streamed

router = APIRouter(route_class=PolicyRoute)


def _takes(*required: str, **example: Any) -> dict[str, Any]:  # noqa: ANN401 - plain values
    """Return how the API pages show a body that is passed on."""
    properties = {
        name: {} if name in {"prompt", "voice"} else {"type": "string"} for name in required
    }
    schema = {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": True,
    }
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _form(*required: str) -> dict[str, Any]:
    """Return how the API pages show a form with a file."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in required}
    properties["file"] = {"type": "string", "format": "binary"}
    schema = {
        "type": "object",
        "required": ["file", *required],
        "properties": properties,
        "additionalProperties": True,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


async def _body(request: Request, *required: str) -> dict[str, Any]:
    """Return a JSON body that has what it must.

    Raises:
        InvalidArgumentError: it is none, or lacks a parameter.
        MediaTypeError: it is of another type.
    """
    require_type(request.scope, "application/json")
    body = read_object(await request.body())
    for name in required:
        if name not in body or body[name] in (None, ""):
            raise InvalidArgumentError(f"you must provide a {name} parameter", argument=name)
    if not isinstance(body.get("model", ""), str):
        raise InvalidArgumentError("model must be a text", argument="model")
    return body


@router.post(
    "/v1/completions",
    tags=["completions"],
    openapi_extra=_takes("model", "prompt", model="gpt-3.5-turbo", prompt="Say hello."),
)
@requires(role="user", scope="completions")
@hot
async def create_text_completion(request: Request) -> Response:
    """Complete a text as OpenAI does, streamed or whole; held and settled by its tokens."""
    who = subject_of(request)
    body = await _body(request, "model", "prompt")
    check_model(who, body["model"])
    going = text.going(state_of(request), body, call_of(who, request.scope))
    if not body.get("stream"):
        return passed(await send(going, text.read), request.scope)
    wanted = bool((body.get("stream_options") or {}).get("include_usage"))

    def through(pieces: AsyncGenerator[bytes], price: Any) -> AsyncGenerator[bytes]:  # noqa: ANN401
        return text.counted(pieces, price, shown=wanted)

    return await streamed(going, request.scope, through)


@router.post(
    "/v1/images/generations",
    tags=["images"],
    openapi_extra=_takes("prompt", prompt="A village.", model="dall-e-3"),
)
@requires(role="user", scope="images")
@hot
async def create_image(request: Request) -> Response:
    """Draw as OpenAI does; priced by `DURE_CALL_PRICES`, each image or call."""
    who = subject_of(request)
    body = await _body(request, "prompt")
    model = body.get("model") or "dall-e-2"  # as OpenAI has it where none is named
    check_model(who, model)
    count = body.get("n") or 1
    if type(count) is not int or not 1 <= count <= 128:
        raise InvalidArgumentError("n must be a whole number from 1 to 128", argument="n")
    state, call = state_of(request), call_of(who, request.scope)
    price = service.fixed(state, call, model, image=count)
    going = Going(state.client, call, "POST", "/images/generations", body, model=model, price=price)
    if body.get("stream"):
        return await streamed(going, request.scope)
    return passed(await send(going), request.scope)


@router.post(
    "/v1/audio/speech",
    tags=["audio"],
    openapi_extra=_takes("model", "input", "voice", model="tts-1", input="Hello.", voice="alloy"),
)
@requires(role="user", scope="audio")
@hot
async def create_speech(request: Request) -> Response:
    """Speak as OpenAI does; the sound is passed on while it comes, and priced by its characters."""
    who = subject_of(request)
    body = await _body(request, "model", "input")
    check_model(who, body["model"])
    if not isinstance(body["input"], str):
        raise InvalidArgumentError("input must be a text", argument="input")
    state, call = state_of(request), call_of(who, request.scope)
    price = service.fixed(state, call, body["model"], character=len(body["input"]))
    going = Going(
        state.client, call, "POST", "/audio/speech", body, model=body["model"], price=price
    )
    return await streamed(going, request.scope)


@router.post("/v1/audio/transcriptions", tags=["audio"], openapi_extra=_form("model"))
@requires(role="user", scope="audio")
async def create_transcription(request: Request) -> Response:
    """Write down speech as OpenAI does; priced by its seconds."""
    return await _heard(request, "/audio/transcriptions")


@router.post("/v1/audio/translations", tags=["audio"], openapi_extra=_form("model"))
@requires(role="user", scope="audio")
async def create_translation(request: Request) -> Response:
    """Write down speech in English as OpenAI does; priced by its seconds."""
    return await _heard(request, "/audio/translations")


async def _heard(request: Request, path: str) -> Response:
    who = subject_of(request)
    form = await read_form(request)
    try:
        model, file = field_of(form, "model"), file_of(form, "file")
        if not model:
            raise InvalidArgumentError("you must provide a model parameter", argument="model")
        check_model(who, model)
        stream = field_of(form, "stream") in {"true", "1"}
        state, call = state_of(request), call_of(who, request.scope)
        price = service.fixed(state, call, model, second=sound.longest(file.file, file.size or 0))
        body, kind = await written(form)
    finally:
        await form.close()
    going = Going(state.client, call, "POST", path, body, kind, model, price)
    if stream:
        return await streamed(going, request.scope)
    rate = service.second_of(state, model)
    return passed(
        await send(going, lambda reply, held: sound.read(reply, held, rate)), request.scope
    )
