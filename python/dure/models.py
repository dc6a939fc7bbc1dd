"""What models are, which of them a service may use, and which of those is the cheapest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from dure import _check, _core
from dure._dollars import to_dollars
from dure.errors import InvalidArgumentError, InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from decimal import Decimal

__all__ = [
    "MODEL_CATALOG",
    "Choice",
    "ModelCapability",
    "ModelConfig",
    "ModelTier",
    "Saving",
    "ServiceModelPolicy",
    "explain",
    "load_policies",
    "policies",
    "saving",
    "select",
]


class ModelTier(StrEnum):
    """Class of price and strength, ascending."""

    MINI = "mini"
    STANDARD = "standard"
    ADVANCED = "advanced"
    PREMIUM = "premium"


class ModelCapability(StrEnum):
    """Something that a model can do."""

    CHAT = "chat"
    CODE_GENERATION = "code_generation"
    ANALYSIS = "analysis"
    REASONING = "reasoning"
    VISION = "vision"
    FUNCTION_CALLING = "function_calling"
    STRUCTURED_OUTPUT = "structured_output"
    STREAMING = "streaming"
    EMBEDDING = "embedding"
    AUDIO = "audio"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model of the catalogue. Prices are floats for display only; `dure.cost` is exact.

    Attributes:
        max_tokens: The most output tokens; 0 for embeddings.
        max_input_tokens: The most input tokens.
        tokenizer: Name of the public encoding, None if there is none.
        deprecated_on: ISO date of retirement, None while in service.
    """

    model_id: str
    tier: ModelTier
    capabilities: tuple[ModelCapability, ...]
    input_price_per_1m: float
    output_price_per_1m: float
    max_tokens: int
    supports_rag: bool
    description: str
    max_input_tokens: int = 0
    tokenizer: str | None = None
    aliases: tuple[str, ...] = ()
    deprecated_on: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ServiceModelPolicy:
    """What one service may use: any model of these tiers with all of these capabilities.

    Attributes:
        store: Whether the provider may keep answers; if not, responses go out with `store=False`.
        remote_mcp: Whether a request may name an MCP server for the provider to talk to.
        server_tools: Whether the provider's own tools may be used: search, code, files.
        service_tiers: Tiers that may be asked for beside the default one: `flex`, `priority`.
        unknown_parameters: `refuse`, or `pass`: what the API's description lacks goes out as it is.
    """

    service_name: str
    allowed_tiers: tuple[ModelTier, ...]
    default_model: str
    required_capabilities: tuple[ModelCapability, ...] = ()
    store: bool = False
    remote_mcp: bool = False
    server_tools: bool = True
    service_tiers: tuple[str, ...] = ()
    unknown_parameters: str = "refuse"

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def _display_price(model: str, unit: str) -> float:
    from dure import costs

    found = costs.shipped().native.rate(model, unit, _core.money.wall_us())
    return 0.0 if found is None else found[0] / found[1] / 1_000_000


def _to_config(found: _core.catalog._ModelDict) -> ModelConfig:
    model = found["model_id"]
    return ModelConfig(
        model_id=model,
        tier=ModelTier(found["tier"]),
        capabilities=tuple(ModelCapability(name) for name in found["capabilities"]),
        input_price_per_1m=_display_price(model, "input.text"),
        output_price_per_1m=_display_price(model, "output.text"),
        max_tokens=found["max_tokens"],
        supports_rag=found["supports_rag"],
        description=found["description"],
        max_input_tokens=found["max_input_tokens"],
        tokenizer=found["tokenizer"] or None,
        aliases=tuple(found["aliases"]),
        deprecated_on=found["deprecated_on"] or None,
    )


class _Catalog(Mapping[str, ModelConfig]):
    """The catalogue by canonical id; every other spelling resolves too."""

    def __init__(self) -> None:
        self._models: dict[str, ModelConfig] = {}

    def _load(self) -> dict[str, ModelConfig]:
        if not self._models:
            self._models = {
                found["model_id"]: _to_config(found) for found in _core.catalog.models()
            }
        return self._models

    def __getitem__(self, name: str) -> ModelConfig:
        try:
            return self._load()[_core.catalog.canonical(name)]
        except (InvalidModelError, TypeError):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __repr__(self) -> str:
        return f"<MODEL_CATALOG of {len(self)} models>"


MODEL_CATALOG: Mapping[str, ModelConfig] = _Catalog()


def to_policy(found: _core.policy._Policy) -> ServiceModelPolicy:
    """Build from the core's tuple."""
    service, tiers, default, capabilities, terms = found
    store, remote_mcp, server_tools, pass_unknown, service_tiers = terms
    return ServiceModelPolicy(
        service,
        tuple(ModelTier(name) for name in tiers),
        default,
        tuple(ModelCapability(name) for name in capabilities),
        store=store,
        remote_mcp=remote_mcp,
        server_tools=server_tools,
        service_tiers=tuple(service_tiers),
        unknown_parameters="pass" if pass_unknown else "refuse",
    )


def policies() -> dict[str, ServiceModelPolicy]:
    """Return the policies in force, by service."""
    return {found[0]: to_policy(found) for found in _core.policy.policies()}


def load_policies(source: str | os.PathLike[str] | Mapping[str, object]) -> None:
    """Replace the policies of this process. On any error the last good ones stay.

    Args:
        source: A path to JSON or (with PyYAML installed) YAML, or a dict: `{service:
            {"allowed_tiers": [...], "default_model": "...", "required_capabilities": [...]}}`,
            and the further fields of `ServiceModelPolicy`.

    Raises:
        InvalidArgumentError: Unreadable, unknown tier or capability, or a default model that its
            own policy denies; the text names the file, `.path` service and field.
    """
    if not isinstance(source, str | os.PathLike):
        return _set_policies(source)
    try:
        _set_policies(_read(source))
    except InvalidArgumentError as wrong:
        if wrong.path == str(source):  # the file itself
            raise
        raise InvalidArgumentError(
            f"{source}: {wrong}", argument="source", path=wrong.path
        ) from None


def _set_policies(table: object) -> None:
    if not isinstance(table, Mapping):
        raise InvalidArgumentError("policies must be a mapping by service", argument="source")
    _core.policy.set_active([_policy_tuple(str(name), entry) for name, entry in table.items()])


def _read(path: str | os.PathLike[str]) -> object:
    import json
    from pathlib import Path

    text = Path(path).read_text("utf-8")
    try:
        if Path(path).suffix.lower() in {".yaml", ".yml"}:
            return _read_yaml(text)
        return json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{path} cannot be read: {error}", argument="source", path=str(path)
        ) from None


def _read_yaml(text: str) -> object:
    from importlib import import_module

    try:
        yaml = import_module("yaml")
    except ImportError:
        raise InvalidArgumentError(
            "reading YAML needs PyYAML: pip install pyyaml, or write the policies as JSON",
            argument="source",
        ) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _policy_tuple(service: str, entry: object) -> _core.policy._Policy:
    if isinstance(entry, ServiceModelPolicy):
        entry = entry.to_dict()
    if not isinstance(entry, Mapping):
        raise InvalidArgumentError(
            f"policy of {service}: it must be a mapping", argument="source", path=service
        )
    if unknown := sorted(map(str, entry.keys() - ServiceModelPolicy.__dataclass_fields__.keys())):
        raise InvalidArgumentError(
            f"policy of {service}: unknown fields {unknown}",
            argument="source",
            path=f"{service}.{unknown[0]}",
        )
    model = entry.get("default_model")
    if not isinstance(model, str):
        raise _wrong_field(service, "default_model", "the name of a model", model)
    if entry.get("service_name", service) != service:
        raise _wrong_field(service, "service_name", service, entry["service_name"])
    tiers = _names(service, "allowed_tiers", entry)
    needed = _names(service, "required_capabilities", entry)
    return service, tiers, model, needed, _terms(service, entry)


def _terms(service: str, entry: Mapping[str, object]) -> _core.policy._Terms:
    unknown = entry.get("unknown_parameters", "refuse")
    if unknown not in {"refuse", "pass"}:
        raise _wrong_field(service, "unknown_parameters", "refuse or pass", unknown)
    return (
        _flag(service, "store", entry, default=False),
        _flag(service, "remote_mcp", entry, default=False),
        _flag(service, "server_tools", entry, default=True),
        unknown == "pass",
        _names(service, "service_tiers", entry),
    )


def _flag(service: str, name: str, entry: Mapping[str, object], *, default: bool) -> bool:
    value = entry.get(name, default)
    if not isinstance(value, bool):
        raise _wrong_field(service, name, "true or false", value)
    return value


def _names(service: str, name: str, entry: Mapping[str, object]) -> list[str]:
    value = entry.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise _wrong_field(service, name, "a list of names", value)
    return [one.lower() for one in value]


def _wrong_field(service: str, name: str, wanted: str, given: object) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"policy of {service}: {name} must be {wanted}, not {given!r}",
        argument="source",
        path=f"{service}.{name}",
    )


# Selection ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """One model of the catalogue, considered for a request."""

    model_id: str
    dropped_because: str | None
    expected_cost: Decimal | None

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def explain(service: str, request: Mapping[str, object]) -> list[Choice]:
    """Say of every model what it would cost, or why it was dropped; usable ones first, by cost.

    Args:
        service: A service that has a policy.
        request: The arguments of a call (`messages`, `max_tokens`, `tools`, ...); `input_tokens`
            stands for a text that is not there, `expected_output_tokens` for what experience says.

    Raises:
        NotFoundError: No policy for the service.
    """
    from dure import costs

    found = _core.policy.explain(
        costs.shipped().native,
        service,
        _input_tokens(request),
        _int(request, "max_completion_tokens") or _int(request, "max_tokens"),
        _int(request, "expected_output_tokens"),
        [need.value for need in _needs(request)],
        _core.money.wall_us(),
    )
    return [
        Choice(model, reason or None, None if reason else to_dollars(pico))
        for model, reason, pico in found
    ]


def select(service: str, request: Mapping[str, object]) -> ModelConfig:
    """Return the cheapest model that `service` may use and that can serve `request`.

    Raises:
        NotFoundError: No policy for the service.
        InvalidModelError: No model fits; `explain` says why.
    """
    best = next(iter(explain(service, request)), None)
    if best is None or best.dropped_because is not None:
        raise InvalidModelError(
            f"No model fits service {service} and this request: ask models.explain why",
            service=service,
        )
    return MODEL_CATALOG[best.model_id]


# Saving ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Saving:
    """What one token log costs at two models, exactly.

    Attributes:
        calls: How many calls the log has.
        before: The model that was asked.
        after: The model that is asked in its place.
        before_usd: What the log costs at `before`.
        after_usd: What it costs at `after`.
    """

    calls: int
    before: str
    after: str
    before_usd: Decimal
    after_usd: Decimal

    @property
    def percent(self) -> Decimal:
        """The part of the cost that is saved, of a hundred; negative if it costs more."""
        if not self.before_usd:
            return self.before_usd
        return (1 - self.after_usd / self.before_usd) * 100

    def to_dict(self) -> dict[str, object]:
        """Return plain values; dollars as text."""
        return {
            "calls": self.calls,
            "before": self.before,
            "after": self.after,
            "before_usd": f"{self.before_usd:f}",
            "after_usd": f"{self.after_usd:f}",
            "saved_percent": f"{self.percent:.2f}",
        }


def saving(log: Iterable[object], *, before: str, after: str) -> Saving:
    """Price one token log at two models, call by call.

    Args:
        log: Of each call its response, its `.usage`, or any provider's usage dict.
        before: The model that was asked.
        after: The model that is asked in its place.

    Raises:
        InvalidModelError: There is no such model.
        UnknownPriceError: A model has no price for what the log holds.
        InvalidArgumentError: An entry holds no usage.
    """
    from dure import costs

    names = [_core.catalog.canonical(_check.text(name, "model")) for name in (before, after)]
    calls, sums = 0, [0, 0]
    for usage in log:
        calls += 1
        for i, name in enumerate(names):
            sums[i] += costs.cost(usage, model=name).pico
    return Saving(calls, names[0], names[1], to_dollars(sums[0]), to_dollars(sums[1]))


def _int(request: Mapping[str, object], name: str) -> int:
    value = request.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name} must be an int", argument=name)
    return value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key in ("content", "text"):
            yield from _texts(value.get(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _input_tokens(request: Mapping[str, object]) -> int:
    if request.get("input_tokens"):
        return _int(request, "input_tokens")
    from dure import tokens

    per_message = 4  # role and separators, as OpenAI's cookbook counts chat models
    total = 0
    for source in ("messages", "input", "prompt"):
        for text in _texts(request.get(source)):
            total += tokens.count(text) + per_message
    return total


def _needs(request: Mapping[str, object]) -> Iterator[ModelCapability]:
    if request.get("tools"):
        yield ModelCapability.FUNCTION_CALLING
    if request.get("stream"):
        yield ModelCapability.STREAMING
    shape = request.get("response_format")
    if isinstance(shape, Mapping) and shape.get("type") == "json_schema":
        yield ModelCapability.STRUCTURED_OUTPUT
    for message in cast("list[object]", request.get("messages") or []):
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if isinstance(content, list) else []
        if any(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts):
            yield ModelCapability.VISION
            return
