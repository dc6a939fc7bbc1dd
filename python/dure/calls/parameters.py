"""Which parameters the API knows: a misspelt one must not vanish into the body unseen.

Names are those of OpenAI's API description (the request bodies of each path) and of openai-python's
newest methods. Values are the provider's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dure.calls import Call

__all__ = ["OF_BATCH", "OF_CALL", "PARAMETERS", "check_names", "split_body"]

PARAMETERS: dict[str, frozenset[str]] = {
    "chat.completions": frozenset(
        [
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "messages",
            "metadata",
            "modalities",
            "model",
            "moderation",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "service_tier",
            "stop",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
            "web_search_options",
        ]
    ),
    "embeddings": frozenset(("dimensions", "encoding_format", "input", "model", "user")),
    "responses": frozenset(
        [
            "access_programs",
            "background",
            "background_options",
            "context_management",
            "conversation",
            "image",
            "include",
            "input",
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
            "model",
            "moderation",
            "parallel_tool_calls",
            "previous_response_id",
            "prompt",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "reasoning",
            "safety_identifier",
            "service_tier",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ]
    ),
    "images.generate": frozenset(
        [
            "background",
            "complexity",
            "frame_count",
            "frame_duration_ms",
            "model",
            "moderation",
            "n",
            "output_compression",
            "output_format",
            "partial_images",
            "prompt",
            "quality",
            "response_format",
            "safety_identifier",
            "size",
            "stream",
            "style",
            "svg",
            "user",
        ]
    ),
    "images.edit": frozenset(
        [
            "background",
            "complexity",
            "frame_count",
            "frame_duration_ms",
            "image",
            "images",
            "input_fidelity",
            "markup",
            "mask",
            "model",
            "moderation",
            "n",
            "output_compression",
            "output_format",
            "partial_images",
            "prompt",
            "quality",
            "response_format",
            "safety_identifier",
            "size",
            "stream",
            "svg",
            "user",
        ]
    ),
    "images.create_variation": frozenset(
        [
            "image",
            "model",
            "n",
            "response_format",
            "size",
            "user",
        ]
    ),
    "audio.speech": frozenset(
        [
            "input",
            "instructions",
            "model",
            "response_format",
            "speed",
            "stream_format",
            "voice",
        ]
    ),
    "audio.transcriptions": frozenset(
        [
            "chunking_strategy",
            "file",
            "include",
            "keywords",
            "known_speaker_names",
            "known_speaker_references",
            "language",
            "languages",
            "model",
            "prompt",
            "response_format",
            "stream",
            "temperature",
            "timestamp_granularities",
        ]
    ),
    "audio.translations": frozenset(
        [
            "file",
            "model",
            "prompt",
            "response_format",
            "temperature",
        ]
    ),
    "files": frozenset(
        [
            "expires_after",
            "file",
            "purpose",
        ]
    ),
    "batches": frozenset(
        [
            "completion_window",
            "endpoint",
            "input_file_id",
            "metadata",
            "output_expires_after",
        ]
    ),
    "moderations": frozenset(
        [
            "input",
            "model",
        ]
    ),
}
# Our own arguments: of one call, and of a request in a batch.
OF_CALL = frozenset(("dure", "timeout", "extra_headers", "extra_query", "extra_body"))
OF_BATCH = frozenset(("dure", "timeout", "extra_body"))


def check_names(
    given: Iterable[str],
    to: str,
    ours: frozenset[str] = frozenset(),
    *,
    path: str | None = None,
    call: Call | None = None,
) -> None:
    """Check that `to` has every given parameter.

    Args:
        given: Names of parameters.
        to: A key of `PARAMETERS`.
        ours: Arguments that are allowed beside the API's; none for a body off the wire.
        path: Where the names stand, if not in the call itself.
        call: Whose service's policy may let unknown names pass; `given` may have it as `dure`.

    Raises:
        InvalidArgumentError: a name is unknown; `.argument` is the name.
    """
    api = PARAMETERS[to]
    for name in given:
        if name not in api and name not in ours and not passes_unknown(call or given):
            raise unknown(str(name), to, api | ours, path)


def passes_unknown(given: object) -> bool:
    """Whether the policy of the service that a call names lets unknown parameters pass."""
    from dure import _core
    from dure.errors import NotFoundError

    call = given.get("dure") if isinstance(given, Mapping) else given
    service = getattr(call, "service", None)
    if not service:
        return False
    try:
        terms = _core.policy.find(service)[4]
    except NotFoundError:
        return False
    return terms[3]


def split_body(body: dict[str, Any], to: str) -> dict[str, Any]:
    """Return the arguments of `to`.create for a body off the wire.

    What the API's description does not have (a vendor's own parameters) goes into `extra_body`, so
    it reaches the provider as it came; the provider says what it thinks of it.

    Raises:
        InvalidArgumentError: the body has a name of our own arguments, which callers may not set.
    """
    known = PARAMETERS[to]
    for name in body:
        if name in OF_CALL:
            raise InvalidArgumentError(f"{to} has no parameter {name!r}", argument=name)
    arguments = {name: value for name, value in body.items() if name in known}
    extra = {name: value for name, value in body.items() if name not in known}
    return arguments | ({"extra_body": extra} if extra else {})


def unknown(name: str, to: str, known: frozenset[str], path: str | None) -> InvalidArgumentError:
    """Return the refusal of one name, with the nearest that is known."""
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    text = f"{to} has no parameter {name!r}"
    if near:
        text += f": did you mean {near[0]!r}?"
    if "extra_body" in known:
        text += " (extra_body= passes anything else through)"
    return InvalidArgumentError(text, argument=name, path=path)
