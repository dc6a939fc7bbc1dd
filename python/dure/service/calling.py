"""For whom a call is made: the caller's tenant, person and key, and what the headers add."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from starlette.types import Scope

from dure.calls import Call
from dure.errors import InvalidArgumentError
from dure.service.auth.subject import Subject
from dure.service.errors import ForbiddenError
from dure.service.kit.frame import header_of

__all__ = ["KEY_TAG", "call_of", "check_model", "conversation_scope", "user_scope"]

KEY_TAG = "key/"
_NAME = re.compile(r"[0-9A-Za-z._-]{1,64}")
_MOST_TAGS = 8


def user_scope(org_id: str, user_id: str) -> str:
    """Return a person's name in budgets: limits belong to a person in a tenant."""
    return f"{org_id}/{user_id}"


def conversation_scope(org_id: str, conversation: str) -> str:
    """Return a conversation's name in budgets: no two tenants share one."""
    return f"{org_id}/{conversation}"


def call_of(who: Subject, scope: Scope, **more: Any) -> Call:  # noqa: ANN401 - Call's own
    """Return who pays for a call.

    The headers `x-dure-service`, `x-dure-conversation` and `x-dure-tags` (a list with commas) say
    what it is for.

    Raises:
        InvalidArgumentError: a header is no list of short plain names.
    """
    usual = _usual(who, metered=scope["app"].state.dure.settings.metered == "on")
    if not more and not any(name[:7] == b"x-dure-" for name, _ in scope["headers"]):
        return usual
    given: Mapping[str, str | None] = {
        name: header_of(scope, f"x-dure-{name}".encode())
        for name in ("service", "conversation", "tags")
    }
    conversation, tags = given["conversation"], given["tags"]
    for name in ("service", "conversation"):
        value = given[name]
        if value is not None and not _NAME.fullmatch(value):
            raise _bad(name)
    own = [tag.strip() for tag in tags.split(",")] if tags else []
    if len(own) > _MOST_TAGS or not all(_NAME.fullmatch(tag) for tag in own):
        raise _bad("tags")
    scoped = [f"{who.org_id}/{tag}" for tag in own]
    return replace(
        usual,
        service=given["service"],
        conversation=conversation and conversation_scope(who.org_id, conversation),
        tags=(*usual.tags, *scoped),
        **more,
    )


@lru_cache(maxsize=4096)
def _usual(who: Subject, *, metered: bool) -> Call:
    """Return who pays, without what headers add."""
    return Call(
        org=who.org_id,
        user=None if who.user_id is None else user_scope(who.org_id, who.user_id),
        tags=(f"{KEY_TAG}{who.key_id}",) if who.key_id else (),
        metered=metered,
    )


def check_model(who: Subject, model: object) -> None:
    """Let a key use its own models only.

    Raises:
        ForbiddenError: the key is not for this model.
    """
    if who.models and model not in who.models:
        raise ForbiddenError(f"This key is not for the model {model}.", code="model_not_allowed")


def _bad(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"x-dure-{name} takes letters, digits and . _ - (64 at most)", argument=f"x-dure-{name}"
    )
