"""Answers shaped like openai-python's, read only when they are looked at.

An answer keeps the bytes that came; attributes parse them once, on first use. `.dure` says what
the call came to: cost, attempts, key id, latency.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from dure._core import client as core
from dure.calls.pieces import ComingReply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from numpy import float32
    from numpy.typing import NDArray

__all__ = [
    "ChatCompletion",
    "ChatCompletionChunk",
    "CreateEmbeddingResponse",
    "Facts",
    "ModelList",
    "RawReply",
    "WireObject",
]

# What openai-python's types give as None when the wire left it out.
OPTIONAL = frozenset(
    {
        "annotations",
        "audio",
        "completion_tokens_details",
        "content",
        "created",
        "delta",
        "finish_reason",
        "function_call",
        "id",
        "logprobs",
        "moderation",
        "name",
        "prompt_tokens_details",
        "reasoning_content",
        "refusal",
        "role",
        "service_tier",
        "system_fingerprint",
        "tool_calls",
        "type",
        "usage",
    }
)


class Facts:
    """What a call came to.

    Attributes:
        cost_pico: Settled cost of all attempts in pico-dollars (1e-12 $).
        cost_usd: The same in dollars.
        attempts: Requests sent.
        retries: Attempts beyond the first.
        possible_spend_attempts: Resends after a failure that the provider may have billed.
        key_id: Tells keys apart and says nothing about them.
        cached: The answer was kept from an earlier call.
        coalesced: Another caller's call at the same time served this one too.
        hedged: A second copy was sent; the cost is that of both.
        gathered: How many callers' inputs went in one request; 0: this one's alone.
        saved_pico: What an answer that was kept or shared would have cost.
        estimated: The provider reported no usage: tokens seen were counted.
        flags: What the ledger says about the cost; `shrunk`: a budget had room for a shorter
            answer only, and its maximum was lowered to that.
        warnings: Scopes whose budgets of policy `warn` are exceeded.
        latency: Seconds from start to end.
        first_event: Seconds from start to the first piece of a stream, else 0.
        call_id: Ours; the provider saw it as `X-Client-Request-Id`.
        model: Canonical model id, the one that was billed.
    """

    __slots__ = ("_record",)

    def __init__(self, record: core.Record) -> None:
        self._record = record

    @property
    def cost_pico(self) -> int:
        """Settled cost of all attempts in pico-dollars."""
        return self._record.cost_pico

    @property
    def cost_usd(self) -> Decimal:
        """Settled cost of all attempts in dollars."""
        from dure._dollars import to_dollars

        return to_dollars(self._record.cost_pico)

    @property
    def attempts(self) -> int:
        """Requests sent."""
        return self._record.attempts

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return max(0, self._record.attempts - 1)

    @property
    def possible_spend_attempts(self) -> int:
        """Resends after a failure that the provider may have billed."""
        return self._record.ambiguous

    @property
    def key_id(self) -> str:
        """Tells keys apart."""
        return self._record.key_id

    @property
    def cached(self) -> bool:
        """The answer came from a cache."""
        return self._record.cached

    @property
    def coalesced(self) -> bool:
        """Another caller's call at the same time served this one too."""
        return self._record.coalesced

    @property
    def hedged(self) -> bool:
        """A second copy was sent; the cost is that of both."""
        return self._record.hedged

    @property
    def gathered(self) -> int:
        """How many callers' inputs went in one request; 0: this one's alone."""
        return self._record.gathered

    @property
    def saved_pico(self) -> int:
        """What an answer that was kept or shared would have cost, in pico-dollars."""
        return self._record.saved_pico

    @property
    def saved_usd(self) -> Decimal:
        """The same in dollars."""
        from dure._dollars import to_dollars

        return to_dollars(self._record.saved_pico)

    @property
    def estimated(self) -> bool:
        """Tokens seen were counted: no usage was reported."""
        return "estimated" in self._record.flags

    @property
    def flags(self) -> list[str]:
        """What the ledger says about the cost."""
        return self._record.flags

    @property
    def warnings(self) -> list[str]:
        """Scopes whose budgets of policy `warn` are exceeded."""
        return self._record.warnings

    @property
    def latency(self) -> float:
        """Seconds from start to end."""
        return self._record.latency

    @property
    def first_event(self) -> float:
        """Seconds to the first piece of a stream."""
        return self._record.first_event

    @property
    def call_id(self) -> str:
        """Ours."""
        return self._record.call_id

    @property
    def model(self) -> str:
        """Canonical model id."""
        return self._record.model

    @property
    def input_tokens(self) -> int:
        """As billed."""
        return self._record.input_tokens

    @property
    def output_tokens(self) -> int:
        """As billed."""
        return self._record.output_tokens

    def to_dict(self) -> dict[str, object]:
        """Return every figure by name."""
        names = [name for name, kind in vars(Facts).items() if isinstance(kind, property)]
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        return f"Facts(cost_usd={self.cost_usd}, attempts={self.attempts}, model={self.model!r})"


class WireObject:
    """A JSON object with its members as attributes. Read-only."""

    __slots__ = ("_data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def _load(self) -> dict[str, Any]:
        return self._data

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what the wire says
        if name.startswith("_"):  # slots not filled yet among them
            raise AttributeError(name)
        data = self._load()
        if name in data:
            return wrap(data[name])
        if name in OPTIONAL:
            return None
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {sorted(data)}")

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - what the wire says
        return wrap(self._load()[name])

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WireObject) and self._load() == other._load()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self._load().items())
        return f"{type(self).__name__}({inside})"

    def model_dump(self, *, exclude_none: bool = False, **_: object) -> dict[str, Any]:
        """Return plain dicts and lists, a copy; other arguments of pydantic change nothing."""
        data = copy.deepcopy(self._load())
        return without_none(data) if exclude_none else data

    def model_dump_json(self, *, indent: int | None = None, **_: object) -> str:
        """Return JSON text."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self._load(), ensure_ascii=False, indent=indent, separators=separators)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, a copy."""
        return self.model_dump()

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return JSON text, indented."""
        return self.model_dump_json(indent=indent)


def wrap(value: Any) -> Any:  # noqa: ANN401 - what the wire says
    """Return objects as `WireObject`, lists of them likewise, everything else as it is."""
    if isinstance(value, dict):
        return WireObject(value)
    if isinstance(value, list):
        return [wrap(item) for item in value]
    return value


def without_none(value: Any) -> Any:  # noqa: ANN401 - what the wire says
    """Return a copy without the members that are None."""
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value


class RawReply:
    """A reply as it came: `.status`, `.headers`, `.content`, `.json()`, `.dure`."""

    __slots__ = ("_facts", "_reply")

    def __init__(self, reply: core.Reply) -> None:
        self._reply = reply
        self._facts = Facts(reply.record)

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._reply.status

    @property
    def headers(self) -> dict[str, str]:
        """Header lines by lower-case name; the last of equal names."""
        return {name.lower(): value for name, value in self._reply.headers}

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self._reply.body

    @property
    def text(self) -> str:
        """The body as text."""
        return self._reply.body.decode("utf-8", "replace")

    @property
    def dure(self) -> Facts:
        """What the call came to."""
        return self._facts

    @dure.setter
    def dure(self, facts: Facts) -> None:
        self._facts = facts

    def json(self) -> Any:  # noqa: ANN401 - what the wire says
        """Return the parsed body.

        Raises:
            InvalidArgumentError: the body is no JSON.
        """
        return core.read_json(self._reply.body)


class LazyReply(WireObject):
    """A whole answer. Its JSON is parsed when the first attribute is asked for.

    `.usage` alone does not make the rest into objects: it is what most callers read.
    """

    __slots__ = ("_loaded", "_reply", "_usage")

    def __init__(self, reply: core.Reply) -> None:
        self._reply = reply
        self._loaded: dict[str, Any] | None = None
        self._usage: Any = None

    def _load(self) -> dict[str, Any]:
        if self._loaded is None:
            self._data = self._loaded = self._read()
        return self._loaded

    def _read(self) -> dict[str, Any]:
        data: dict[str, Any] = self._reply.json()
        return data

    @property
    def dure(self) -> Facts:
        """What the call came to."""
        return Facts(self._reply.record)

    @property
    def usage(self) -> Any:  # noqa: ANN401 - what the wire says
        """Tokens as the provider reports them; None if it says nothing."""
        if self._usage is None:
            self._usage = wrap(
                self._reply.member("usage") if self._loaded is None else self._loaded.get("usage")
            )
        return self._usage

    @property
    def _request_id(self) -> str | None:
        headers = RawReply(self._reply).headers
        return headers.get("x-request-id") or headers.get("request-id")

    def raw(self) -> RawReply:
        """Return status, headers and bytes as they came."""
        return RawReply(self._reply)

    def __reduce__(self) -> tuple[object, ...]:
        return (WireObject, (self._load(),))


class ChatCompletion(LazyReply):
    """A chat answer: `.choices[0].message.content`, `.usage`, `.dure`."""

    __slots__ = ()


class ChatCompletionChunk(WireObject):
    """One piece of a streamed chat answer: `.choices[0].delta.content`."""

    __slots__ = ("_loaded", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._loaded: dict[str, Any] | None = None

    def _load(self) -> dict[str, Any]:
        if self._loaded is None:
            self._data = self._loaded = core.read_json(self._raw)
        return self._loaded

    def __reduce__(self) -> tuple[object, ...]:
        return (ChatCompletionChunk, (self._raw,))


class CreateEmbeddingResponse(LazyReply):
    """Embeddings in the order of the inputs: `.data[i].embedding`, or `.vectors` at once."""

    __slots__ = ("_as_sent", "_inputs", "_vectors")

    def __init__(self, reply: core.Reply, inputs: int, *, as_sent: bool) -> None:
        super().__init__(reply)
        self._inputs = inputs
        self._as_sent = as_sent
        self._vectors: NDArray[float32] | None = None
        # checked now, so that a bad reply fails the call and not its reader
        if not as_sent and not isinstance(reply, ComingReply):
            self._vectors = core.read_vectors(reply.body, inputs)

    @property
    def vectors(self) -> NDArray[float32]:
        """float32[n, dim], row i for input i; read-only, shared."""
        if self._vectors is None:
            self._vectors = core.read_vectors(self._reply.body, self._inputs)
        return self._vectors

    def _read(self) -> dict[str, Any]:
        data = super()._read()
        if not self._as_sent:
            data["data"].sort(key=lambda item: item["index"])
            for item, vector in zip(data["data"], self.vectors.tolist(), strict=True):
                item["embedding"] = vector
        return data


class ModelList(LazyReply):
    """The provider's models: `.data`, or iterate."""

    __slots__ = ()

    def __iter__(self) -> Iterator[WireObject]:
        return iter(self.data)
