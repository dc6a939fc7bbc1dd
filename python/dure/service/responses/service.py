"""What a streamed or whole response leaves in the provider's account."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from dure._core.client import read_json
from dure.errors import InvalidArgumentError
from dure.service.auth.subject import Subject
from dure.service.kit.state import State
from dure.service.passing.service import events_of
from dure.service.provider import service as objects
from dure.service.provider.service import Reference

__all__ = ["binding", "made_by"]

_NAMES_IT = (b"response.created", b"response.completed", b"response.incomplete")


def made_by(response: object) -> list[Reference]:
    """Return what a response names as kept: itself and its items; nothing of one not stored."""
    if not isinstance(response, dict) or response.get("store") is False:
        return []
    found: list[Reference] = []
    if isinstance(response.get("id"), str):
        found.append(("response", response["id"]))
    found.extend(
        ("item", item["id"])
        for item in response.get("output") or ()
        if isinstance(item, dict) and isinstance(item.get("id"), str)
    )
    conversation = response.get("conversation")
    if isinstance(conversation, dict) and isinstance(conversation.get("id"), str):
        found.append(("conversation", conversation["id"]))
    return found


async def binding(
    pieces: AsyncGenerator[bytes], state: State, who: Subject
) -> AsyncGenerator[bytes]:
    """Give the events; the response is noted as the caller's before its id is told."""
    async for event in events_of(pieces):
        if any(name in event[:200] for name in _NAMES_IT):
            await objects.bind(state, who, made_by(_response_in(event)))
        yield event


def _response_in(event: bytes) -> Any:  # noqa: ANN401 - what the wire says
    data = b"".join(
        line.removeprefix(b"data:").strip()
        for line in event.splitlines()
        if line.startswith(b"data:")
    )
    try:
        found = read_json(data)
    except InvalidArgumentError:
        return None
    return found.get("response") if isinstance(found, dict) else None
