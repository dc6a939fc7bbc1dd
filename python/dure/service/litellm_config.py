"""A LiteLLM proxy's `config.yaml` as settings of this service: what fits is taken, the rest named.

Every value of the file ends up either in what is taken or in what is left out, with the reason. No
secret is copied: keys are taken by the name of their environment variable only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from dure.errors import InvalidArgumentError

__all__ = ["Imported", "LeftOut", "convert", "read"]

_MOST_FILE = 1 << 20
_ENVIRONMENT = "os.environ/"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_DURATION = re.compile(r"(\d{1,4})(s|m|h|d|mo)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PICO = Decimal(10) ** 12

# Where it goes instead, for what this service does in another way.
_ADVICE = {
    "general_settings.master_key": (
        "there is no master key: the first administrator is made with the first-start token"
    ),
    "general_settings.alerting": "make a channel: POST /api/notifications/channels",
    "router_settings.routing_strategy": (
        "keys take turns, several addresses are chosen by latency and load"
    ),
    "router_settings.fallbacks": "per call: dure.Call(fallbacks=...)",
    "litellm_settings.fallbacks": "per call: dure.Call(fallbacks=...)",
    "litellm_settings.context_window_fallbacks": (
        'per call: dure.Call(fallbacks={"context_window": [...]})'
    ),
    "litellm_settings.drop_params": "parameters are passed on as they are",
    "litellm_settings.cache": "per call: dure.Call(cache=True)",
    "litellm_settings.callbacks": "figures are at /metrics, contents at /api/admin/content-logs",
    "litellm_settings.success_callback": "figures are at /metrics",
    "litellm_settings.failure_callback": "errors go to DURE_DISCORD_LOG_URL and the log",
    "litellm_settings.num_retries": "per call: dure.Call(max_attempts=...)",
    "router_settings.num_retries": "per call: dure.Call(max_attempts=...)",
    "litellm_settings.request_timeout": "per call: dure.Call(deadline=...)",
    "router_settings.timeout": "per call: dure.Call(deadline=...)",
    "environment_variables": "set it in the environment of the service",
}
_RATE = "the provider's rate of a model: client.rates.set(...)"
_MODEL_ADVICE = {"rpm": _RATE, "tpm": _RATE, "timeout": "per call: dure.Call(deadline=...)"}
_NO_PLACE = "there is nothing like it here"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One value that was not taken; `path` says where it stands, never what it is."""

    path: str
    reason: str


@dataclass(slots=True)
class Imported:
    """What a configuration came to.

    Attributes:
        environment: Variables of ours, and from which variable of the old proxy each comes.
        prices: A price file for `DURE_PRICES`.
        models: The models that are served, by the names that clients use.
        budgets: Arguments of `client.budgets.set`.
        left_out: All that was not taken.
        taken: Paths of all that was.
    """

    environment: dict[str, list[str]] = field(default_factory=dict)
    prices: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    budgets: list[dict[str, str]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)


def read(path: Path) -> Mapping[str, Any]:
    """Return the mapping of a file.

    Raises:
        InvalidArgumentError: it cannot be read, is too large, or is no such YAML.
    """
    import yaml

    try:
        if path.stat().st_size > _MOST_FILE:
            raise _bad(f"{path} is larger than 1 MiB")
        text = path.read_text("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise _bad(f"{path}: aliases are not taken")
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError):
        raise _bad(f"{path} cannot be read") from None
    except (yaml.YAMLError, RecursionError) as wrong:
        where = getattr(wrong, "problem_mark", None)
        raise _bad(f"{path}{f' line {where.line + 1}' if where else ''} is no YAML") from None
    if not isinstance(found, Mapping):
        raise _bad(f"{path} is no mapping")
    return found


def convert(config: Mapping[str, Any], knows: Callable[[str], bool]) -> Imported:
    """Return what a configuration comes to; nothing of it vanishes.

    Args:
        config: The mapping of a `config.yaml`.
        knows: Whether the price book knows a model.
    """
    found = Imported()
    for section, value in config.items():
        path = str(section)
        if path == "model_list" and isinstance(value, list) and value:
            for i, entry in enumerate(value):
                _take_model(found, f"model_list[{i}]", entry, knows)
        elif path == "general_settings" and isinstance(value, Mapping) and value:
            _take_general(found, value)
        elif path == "litellm_settings" and isinstance(value, Mapping) and value:
            _take_budget(found, value)
        else:
            _leave(found, path, value)
    return found


def _take_model(found: Imported, path: str, entry: object, knows: Callable[[str], bool]) -> None:
    params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
    name = entry.get("model_name") if isinstance(entry, Mapping) else None
    model = params.get("model") if isinstance(params, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(params, Mapping):
        _leave(found, path, entry, "it names no model")
        return
    reason = _unfit(name, model)
    if reason:
        _leave(found, path, entry, reason)
        return
    used = {"model_name", "litellm_params"}
    canonical = str(model).removeprefix("openai/")
    taken = _take_prices(found, path, str(name), canonical, params)
    if not taken and not (knows(canonical) and name == canonical):
        why = (
            f"no price is known for {canonical}: say input_cost_per_token and output_cost_per_token"
            if not knows(canonical)
            else f"another name needs prices beside it, or clients that say {canonical}"
        )
        _leave(found, path, entry, why)
        return
    found.models[str(name)] = canonical
    found.taken += [f"{path}.model_name", f"{path}.litellm_params.model", *taken]
    for key, value in params.items():
        at = f"{path}.litellm_params.{key}"
        if key == "model" or at in taken:
            continue
        if key == "api_key":
            _take_variable(found, at, value, "OPENAI_API_KEY", many=True)
        elif key == "api_base":
            _take_variable(found, at, value, "OPENAI_BASE_URL", many=False)
        else:
            _leave(found, at, value, _MODEL_ADVICE.get(str(key), _NO_PLACE))
    for key, value in entry.items():
        if key not in used:
            _leave(found, f"{path}.{key}", value)


def _unfit(name: object, model: object) -> str | None:
    """Return why a model cannot be served here."""
    if not isinstance(name, str) or not isinstance(model, str) or not name or not model:
        return "it names no model"
    if "*" in name or "*" in model:
        return "models are named one by one: prices are never guessed"
    provider, slash, _ = model.partition("/")
    if slash and provider != "openai":
        return f"the service speaks to one OpenAI-shaped address, not to {provider}"
    return None


def _take_prices(
    found: Imported, path: str, name: str, model: str, params: Mapping[str, Any]
) -> list[str]:
    """Take a model's own prices; return their paths, none: it has none that are exact."""
    rates, paths = {}, []
    for key, unit in (
        ("input_cost_per_token", "input.text"),
        ("output_cost_per_token", "output.text"),
    ):
        pico = _pico(params.get(key))
        if pico is None:
            return []
        rates[unit] = pico
        paths.append(f"{path}.litellm_params.{key}")
    for record in found.prices:
        if record["id"] == model:  # one model under several names, or with several keys
            if record["prices"][0]["rates"] != rates:
                return []
            if name != model and name not in record["aliases"]:
                record["aliases"].append(name)
            return paths
    found.prices.append(
        {
            "id": model,
            "aliases": [] if name == model else [name],
            "prices": [{"from": "1970-01-01T00:00:00Z", "rates": rates, "source": "litellm"}],
        }
    )
    return paths


def _pico(value: object) -> int | None:
    """Return dollars a token as whole pico-dollars; None: it is no such price."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        pico = Decimal(str(value)) * _PICO
    except InvalidOperation:
        return None
    return int(pico) if pico.is_finite() and pico >= 0 and pico == int(pico) else None


def _take_general(found: Imported, value: Mapping[Any, Any]) -> None:
    for key, one in value.items():
        path = f"general_settings.{key}"
        if key == "database_url":
            _take_variable(found, path, one, "DURE_DATABASE_URL", many=False)
        else:
            _leave(found, path, one)


def _take_budget(found: Imported, value: Mapping[Any, Any]) -> None:
    """Take the proxy's budget, which is one pair of values."""
    limit, duration = value.get("max_budget"), value.get("budget_duration")
    window = _window(duration)
    good = not isinstance(limit, bool) and isinstance(limit, (int, float)) and limit > 0
    for key, one in value.items():
        path = f"litellm_settings.{key}"
        if key in {"max_budget", "budget_duration"}:
            if good and window is not None:
                found.taken.append(path)
            else:
                _leave(found, path, one, "a budget is an amount above 0 and a duration like 30d")
        else:
            _leave(found, path, one)
    if good and window is not None:
        amount = f"{Decimal(str(limit)):f}"
        found.budgets.append(
            {"scope": "org:default", "limit": amount, "unit": "usd", "window": window}
        )


def _window(duration: object) -> str | None:
    """Return a window of ours: `month`, `lifetime`, or seconds; None: it is none."""
    if duration is None:
        return "lifetime"
    known = _DURATION.fullmatch(str(duration))
    if known is None or int(known[1]) == 0:
        return None
    if known[2] == "mo":
        return "month" if known[1] == "1" else None
    return str(int(known[1]) * _SECONDS[known[2]])


def _take_variable(found: Imported, path: str, value: object, ours: str, *, many: bool) -> None:
    """Take a value by the variable that holds it; a value in plain text is left, unseen."""
    name = str(value).removeprefix(_ENVIRONMENT)
    if not str(value).startswith(_ENVIRONMENT) or not _VARIABLE.fullmatch(name):
        what = "a secret in plain text" if ours != "OPENAI_BASE_URL" else "an address"
        _leave(found, path, value, f"{what}: put it into the environment as {ours}")
        return
    known = found.environment.setdefault(ours, [])
    if name not in known:
        if known and not many:
            _leave(found, path, value, f"{ours} comes from {known[0]} already")
            return
        known.append(name)
    found.taken.append(path)


def _leave(found: Imported, path: str, value: object, reason: str | None = None) -> None:
    """Name everything below a path as left out."""
    for leaf in _leaves(path, value):
        found.left_out.append(LeftOut(leaf, reason or _advice(leaf)))


def _advice(path: str) -> str:
    known = [text for start, text in _ADVICE.items() if re.match(rf"{re.escape(start)}\b", path)]
    return known[0] if known else _NO_PLACE


def _leaves(path: str, value: object) -> Iterator[str]:
    """Give the path of every value; an empty list or mapping is one."""
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _leaves(f"{path}.{key}", one)
    elif isinstance(value, list) and value:
        for i, one in enumerate(value):
            yield from _leaves(f"{path}[{i}]", one)
    else:
        yield path


def _bad(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(what, argument="config")
