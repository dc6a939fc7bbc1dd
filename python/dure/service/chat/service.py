"""Conversation: from a request to the provider and back, piece by piece if asked."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from dure._core.catalog import canonical
from dure._core.client import Options
from dure.aio import AsyncClient
from dure.aio import _bridge as bridge
from dure.calls import Call
from dure.calls.parameters import split_body
from dure.calls.replies import ChatCompletion, RawReply
from dure.errors import DureError, InvalidArgumentError
from dure.service.errors import body_of
from dure.service.kit import sse
from dure.service.kit.body import read_plain
from dure.service.settings import Settings

from .schemas import ChatRequest

__all__ = ["answer", "model_of", "openai_events", "parse", "pieces", "whole"]


def parse(body: bytes) -> tuple[dict[str, Any], bool]:
    """Read an OpenAI-shaped body into arguments; a vendor's parameters are passed through.

    Returns:
        The arguments, and whether the body may go on as it came.

    Raises:
        InvalidArgumentError: it is no JSON object with a model and messages, or it names one of
            our own arguments.
    """
    value, plain = read_plain(body)
    if not isinstance(value.get("model"), str) or not value["model"]:
        raise InvalidArgumentError("you must provide a model parameter", argument="model")
    if not isinstance(value.get("messages"), list) or not value["messages"]:
        raise InvalidArgumentError(
            "'messages' is not a list with at least one message", argument="messages"
        )
    return split_body(value, "chat.completions"), plain


async def whole(client: AsyncClient, body: bytes, options: Options) -> RawReply:
    """Return the provider's answer to a body that goes on as it came: one crossing."""
    view = client.view
    path = "/chat/completions"
    return RawReply(
        await bridge.call(view.native(), view.endpoint, "POST", path, body, [], options)
    )


async def openai_events(
    client: AsyncClient, body: dict[str, Any], call: Call
) -> AsyncGenerator[bytes]:
    """Open a stream, then give its events in OpenAI's framing, as they came.

    What fails before the first event is raised here, so it gets its own status; what fails later
    is an `error` event, and the stream then ends without `[DONE]`.
    """
    stream = await client.chat.completions.create(**body, dure=call)

    async def events() -> AsyncGenerator[bytes]:
        try:
            while pieces := await stream.take():
                yield b"".join([b"data: %b\n\n" % piece for piece in pieces])
        except DureError as error:
            yield b"data: " + json.dumps(body_of(error), ensure_ascii=False).encode() + b"\n\n"
            return
        finally:
            await stream.close()
        yield b"data: [DONE]\n\n"

    return events()


async def answer(
    client: AsyncClient, request: ChatRequest, settings: Settings, call: Call
) -> ChatCompletion:
    """Return the answer, whole."""
    found: ChatCompletion = await client.chat.completions.create(
        **_body(request, settings), dure=call
    )
    return found


def model_of(request: ChatRequest, settings: Settings) -> str:
    """Return the model that is asked, under the catalogue's name.

    Raises:
        InvalidModelError: there is no such model.
    """
    return canonical(request.model or settings.chat_model)


async def pieces(
    client: AsyncClient, request: ChatRequest, settings: Settings, call: Call
) -> AsyncGenerator[bytes]:
    """Open a stream, then give one event per piece of text; it ends by closing."""
    stream = await client.chat.completions.create(
        **_body(request, settings), stream=True, dure=call
    )

    async def events() -> AsyncGenerator[bytes]:
        try:
            async for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield sse.frame(text)
        except DureError as error:
            yield sse.frame(json.dumps(body_of(error), ensure_ascii=False), event="error")
        finally:
            await stream.close()

    return events()


def _body(request: ChatRequest, settings: Settings) -> dict[str, Any]:
    system = [{"role": "system", "content": request.system}] if request.system else []
    body: dict[str, Any] = {
        "model": request.model or settings.chat_model,
        "messages": [*system, *request.history, *request.messages],
    }
    return body | ({"max_tokens": request.max_tokens} if request.max_tokens else {})
