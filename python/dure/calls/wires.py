"""Whose API is at the other end: OpenAI's, Anthropic's, or Azure's deployments of OpenAI's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Wire", "encoded", "wire_for"]

_ANTHROPIC_HOST = "api.anthropic.com"
DIALECTS = ("openai_chat", "anthropic_messages")


@dataclass(frozen=True, slots=True)
class Wire:
    """How requests look on their way; callers always use OpenAI's shapes.

    Attributes:
        name: `openai`, `anthropic` or `azure`, as the core calls them.
        key_variable: Where a key is read from if none is given.
        base_url: Where requests go if nothing else is said.
        bearer: The key goes as `Authorization` on every wire.
        deployments: Azure: which deployment serves a model; `*`: every other.
    """

    name: str = "openai"
    key_variable: str = "OPENAI_API_KEY"
    base_url: str = "https://api.openai.com/v1"
    bearer: bool = False
    deployments: Mapping[str, str] = field(default_factory=dict)

    def address(self, given: str | None) -> str:
        """Return the base URL: `given`, else the environment's, else the API's own."""
        if self.name == "openai":
            return given or os.environ.get("OPENAI_BASE_URL") or self.base_url
        if self.name == "azure":
            return given or self.base_url
        url = (given or os.environ.get("ANTHROPIC_BASE_URL") or self.base_url).rstrip("/")
        return url if url.endswith("/v1") else f"{url}/v1"

    def deployed(self, path: str, model: object) -> str:
        """Return the path at the deployment of a model, where the wire has such."""
        if self.name != "azure" or not isinstance(model, str):
            return path
        name = self.deployments.get(model) or self.deployments.get("*") or model
        return f"/deployments/{name}{path}"


OPENAI = Wire()
ANTHROPIC = Wire("anthropic", "ANTHROPIC_API_KEY", f"https://{_ANTHROPIC_HOST}/v1")


def wire_for(dialect: str | None, base_url: str | Sequence[str] | None) -> Wire:
    """Return the wire of a dialect; None: Anthropic's for its own host, else OpenAI's.

    Raises:
        InvalidArgumentError: there is no such dialect.
    """
    if dialect is None:
        return ANTHROPIC if _ANTHROPIC_HOST in str(base_url or "") else OPENAI
    if dialect not in DIALECTS:
        raise InvalidArgumentError(
            f"dialect {dialect!r} is unknown: one of {', '.join(DIALECTS)}", argument="dialect"
        )
    return OPENAI if dialect == "openai_chat" else ANTHROPIC


def encoded(query: Mapping[str, object] | None) -> str:
    """Return a query as it stands in a URL."""
    if not query:
        return ""
    from urllib.parse import urlencode

    return urlencode(query, doseq=True)
