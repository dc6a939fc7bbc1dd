"""Other projects' price files as layers of a `PriceBook`: genai-prices, LiteLLM, Portkey.

Numbers are read as decimals, never as floats. What has no unit of ours is left out and named, a
price of 0 is taken for "not known", and a model whose prices are finer than a pico-dollar, in
another currency or in tiers of a shape we do not know is left out whole: nothing becomes cheaper by
being imported.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

Format = Literal["genai-prices", "litellm", "portkey"]
Rates = dict[str, list[int]]
Row = dict[str, object]

_PICO = Decimal(10) ** 12


@dataclass(frozen=True, slots=True)
class ImportedPrices:
    """Records for `PriceBook(overlay=...)`, and what was left out of which model."""

    records: list[dict[str, object]]
    skipped: dict[str, list[str]] = field(default_factory=dict)


class _LeftOutError(Exception):
    pass


def import_prices(
    source: str | os.PathLike[str] | Mapping[str, object] | list[object],
    *,
    format: Format,
    models: Collection[str] | None = None,
) -> ImportedPrices:
    """Read a price file of another project.

    Args:
        source: A path to its JSON, or the parsed JSON with `parse_float=Decimal`.
        format: `genai-prices` (its `data.json`), `litellm` (its flat dict) or `portkey` (one file
            of a provider, in cents per token).
        models: Only these ids, as the file spells them; None: all.

    Raises:
        InvalidArgumentError: It is no such file, or its numbers were parsed as floats.
    """
    readers: dict[str, Callable[[object], Iterator[tuple[str, list[Row], list[str]]]]] = {
        "genai-prices": _genai_prices,
        "litellm": _litellm,
        "portkey": _portkey,
    }
    if format not in readers:
        raise InvalidArgumentError(
            f"format must be one of {', '.join(readers)}, not {format!r}", argument="format"
        )
    data: object = source
    if isinstance(source, str | os.PathLike):
        try:
            data = json.loads(Path(source).read_text("utf-8"), parse_float=Decimal)
        except OSError as error:
            what = f"{source} cannot be read: {error.strerror or error}"
            raise InvalidArgumentError(what, argument="source", path=str(source)) from None
        except ValueError as error:
            what = f"{source} is no JSON: {error}"
            raise InvalidArgumentError(what, argument="source", path=str(source)) from None
    wanted = None if models is None else set(models)
    found = ImportedPrices([])
    try:
        for model, rows, skipped in readers[format](data):
            if wanted is not None and model not in wanted:
                continue
            for row in rows:
                row["source"] = format
            if rows:
                found.records.append({"id": model, "aliases": [], "prices": rows})
            else:
                skipped = [*skipped, "no price"]  # noqa: PLW2901
            if skipped:
                found.skipped[model] = skipped
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"this is no price file of {format}: {type(error).__name__} {error}", argument="source"
        ) from error
    return found


def _rate(price: object, scale: Decimal, per: int = 1) -> list[int] | None:
    """Return `[pico-dollars, per]` of a price in dollars times `scale`; None: not known."""
    if isinstance(price, float):
        raise InvalidArgumentError(
            "prices must be decimals: json.load(..., parse_float=Decimal)", argument="source"
        )
    if isinstance(price, bool) or not isinstance(price, int | Decimal):
        raise TypeError(f"{price!r} is no price")
    pico = Decimal(price) * scale * _PICO
    if pico == 0:
        return None
    if pico != int(pico) or pico < 0:
        raise _LeftOutError(f"{price} is finer than a pico-dollar, or negative")
    return [int(pico), per]


def _times(rates: Rates, factor: Decimal) -> Rates:
    num, den = factor.as_integer_ratio()
    return {unit: [pico * num, per * den] for unit, (pico, per) in rates.items()}


# LiteLLM ---------------------------------------------------------------------------------------

_LITELLM = {
    "input_cost_per_token": ("input.text", 1),
    "output_cost_per_token": ("output.text", 1),
    "cache_read_input_token_cost": ("input.text.cache_read", 1),
    "cache_creation_input_token_cost": ("input.text.cache_write", 1),
    "cache_creation_input_token_cost_above_1hr": ("input.text.cache_write_1h", 1),
    "input_cost_per_audio_token": ("input.audio", 1),
    "cache_read_input_audio_token_cost": ("input.audio.cache_read", 1),
    "output_cost_per_audio_token": ("output.audio", 1),
    "input_cost_per_image_token": ("input.image", 1),
    "cache_read_input_image_token_cost": ("input.image.cache_read", 1),
    "output_cost_per_image_token": ("output.image", 1),
    "output_cost_per_reasoning_token": ("output.reasoning", 1),
    "input_cost_per_character": ("character", 1),
    "input_cost_per_second": ("millisecond", 1000),
    "output_cost_per_image": ("image", 1),
    "input_cost_per_request": ("call", 1),
}
_LITELLM_KEY = re.compile(
    r"(?P<base>.*?)(?:_above_(?P<over>\d+)k_tokens)?(?:_(?P<when>batches|priority|flex))?"
)
_LITELLM_WHEN = {None: ("default", "standard"), "batches": ("default", "batch"),
                 "priority": ("priority", "standard"), "flex": ("flex", "standard")}  # fmt: skip
_Conditions = tuple[str, str, int]  # tier, mode, input over
_LITELLM_UPLIFT = "regional_processing_uplift_multiplier_"


def _litellm(data: object) -> Iterator[tuple[str, list[Row], list[str]]]:
    for model, entry in cast("dict[str, dict[str, object]]", data).items():
        if model != "sample_spec":
            try:
                yield (model, *_litellm_model(entry))
            except _LeftOutError as error:
                yield model, [], [str(error)]


def _litellm_model(entry: dict[str, object]) -> tuple[list[Row], list[str]]:
    rates: dict[_Conditions, Rates] = {}
    skipped = []
    for key, price in entry.items():
        if "cost" not in key or price is None:
            continue
        if key == "search_context_cost_per_query":
            sizes = {Decimal(size) for size in cast("dict[str, Decimal]", price).values()}
            rate = _rate(sizes.pop(), Decimal(1)) if len(sizes) == 1 else None
            if rate:
                rates.setdefault(("default", "standard", 0), {})["search.web"] = rate
            elif sizes:
                skipped.append(key)
        elif not _litellm_price(rates, key, price, 0):
            skipped.append(key)
    for number, tier in enumerate(_litellm_tiers(entry.get("tiered_pricing"))):
        over, prices = tier
        skipped += [
            f"tiered_pricing[{number}].{key}"
            for key, price in prices.items()
            if not _litellm_price(rates, key, price, over)
        ]
    rows = list(_rows_of(rates))
    for key, factor in entry.items():
        if key.startswith(_LITELLM_UPLIFT):
            region = key.removeprefix(_LITELLM_UPLIFT)
            for row in rows[: len(list(_rows_of(rates)))]:
                when = {**cast("dict[str, object]", row["when"]), "region": region}
                uplifted = _times(cast("Rates", row["rates"]), Decimal(cast("Decimal", factor)))
                rows.append({"when": when, "rates": uplifted})
    return rows, skipped


def _litellm_price(
    rates: dict[_Conditions, Rates], key: str, price: object, least_over: int
) -> bool:
    """Note one price under its conditions, the dearer of two; False: it has no unit of ours."""
    matched = _LITELLM_KEY.fullmatch(key)
    if matched is None or matched["base"] not in _LITELLM:
        return False
    unit, per = _LITELLM[matched["base"]]
    tier, mode = _LITELLM_WHEN[matched["when"]]
    over = max(least_over, int(matched["over"] or 0) * 1000)
    if rate := _rate(price, Decimal(1), per):
        own = rates.setdefault((tier, mode, over), {})
        own[unit] = max(own.get(unit, rate), rate, key=lambda one: Fraction(one[0], one[1]))
    return True


def _litellm_tiers(tiers: object) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the input above which each tier's prices hold, for the whole request, and the prices.

    Raises:
        _LeftOutError: They are of a shape that says more than that.
    """
    end: int | None = None
    for tier in cast("list[dict[str, object]]", tiers or []):
        limits = tier.get("range")
        if not isinstance(limits, list) or len(limits) != 2 or end not in (None, int(limits[0])):
            raise _LeftOutError("tiered_pricing of a shape we do not know")
        first, end = (int(limit) for limit in limits)
        yield first, {key: tier[key] for key in tier if key != "range"}


def _rows_of(rates: dict[_Conditions, Rates]) -> Iterator[Row]:
    """Yield a row for each condition: above a threshold the rest of its smaller row stays."""
    for (tier, mode, over), own in sorted(rates.items()):
        merged = dict(rates.get((tier, mode, 0), {})) if over else {}
        # What is no token costs the same in every tier.
        for unit, rate in rates.get(("default", "standard", 0), {}).items():
            if unit in {"search.web", "call"}:
                merged.setdefault(unit, rate)
        merged |= own
        if "input.text" not in merged and "output.text" in merged:
            continue  # half of a tier is none
        yield {"when": {"service_tier": tier, "mode": mode, "input_over": over}, "rates": merged}


# Portkey ---------------------------------------------------------------------------------------

_CENT = Decimal(1) / 100
_PORTKEY = {
    "request_token": "input.text",
    "response_token": "output.text",
    "cache_read_input_token": "input.text.cache_read",
    "cache_write_input_token": "input.text.cache_write",
    "request_audio_token": "input.audio",
    "response_audio_token": "output.audio",
    "cache_read_audio_input_token": "input.audio.cache_read",
    "request_image_token": "input.image",
    "response_image_token": "output.image",
    "cache_write_1h": "input.text.cache_write_1h",
    "web_search": "search.web",
}
_PORTKEY_PARTS = ("pay_as_you_go", "batch_config", "currency")


def _portkey(data: object) -> Iterator[tuple[str, list[Row], list[str]]]:
    for model, entry in cast("dict[str, dict[str, object]]", data).items():
        if model == "default":  # a template
            continue
        config = cast("dict[str, dict[str, object]]", entry["pricing_config"])
        rows: list[Row] = []
        # A formula, a price of training: what has no unit of ours is named.
        skipped = [name for name in config if name not in _PORTKEY_PARTS and config[name]]
        try:
            if (currency := config.get("currency") or "USD") != "USD":
                raise _LeftOutError(f"its prices are in {currency}, not in dollars")
            for name, mode in (("pay_as_you_go", "standard"), ("batch_config", "batch")):
                rates = _portkey_rates(config.get(name) or {}, skipped)
                if rates:
                    rows.append({"when": {"mode": mode}, "rates": rates})
        except _LeftOutError as error:
            rows, skipped = [], [str(error)]
        yield model, rows, skipped


def _portkey_rates(prices: dict[str, object], skipped: list[str]) -> Rates:
    rates: Rates = {}
    more = cast("dict[str, object]", prices.get("additional_units") or {})
    for name, price in (*prices.items(), *more.items()):
        if name == "additional_units":
            continue
        if name not in _PORTKEY or not isinstance(price, dict) or "price" not in price:
            skipped.append(name)
        elif rate := _rate(price["price"], _CENT):
            rates[_PORTKEY[name]] = rate
    return rates


# genai-prices ----------------------------------------------------------------------------------

_GENAI = {
    "input_mtok": ("input.text", 10**6),
    "output_mtok": ("output.text", 10**6),
    "cache_read_mtok": ("input.text.cache_read", 10**6),
    "cache_write_mtok": ("input.text.cache_write", 10**6),
    "cache_write_1h_mtok": ("input.text.cache_write_1h", 10**6),
    "input_audio_mtok": ("input.audio", 10**6),
    "cache_audio_read_mtok": ("input.audio.cache_read", 10**6),
    "output_audio_mtok": ("output.audio", 10**6),
    "input_image_mtok": ("input.image", 10**6),
    "output_image_mtok": ("output.image", 10**6),
    "web_searches_kcount": ("search.web", 10**3),
    "requests_kcount": ("call", 10**3),
}


def _genai_prices(data: object) -> Iterator[tuple[str, list[Row], list[str]]]:
    for provider in cast("list[dict[str, object]]", data):
        for model in cast("list[dict[str, object]]", provider["models"]):
            name = f"{provider['id']}/{model['id']}"
            try:
                yield (name, *_genai_model(model))
            except _LeftOutError as error:
                yield name, [], [str(error)]


def _genai_model(model: dict[str, object]) -> tuple[list[Row], list[str]]:
    spans = model["prices"]
    if isinstance(spans, dict):
        spans = [{"prices": spans}]
    dated: list[tuple[str | None, dict[str, object]]] = []
    hours: list[tuple[str, dict[str, object]]] = []
    for span in cast("list[dict[str, dict[str, object]]]", spans):
        constraint = span.get("constraint") or {}
        if "start_time" in constraint:
            first, last = str(constraint["start_time"])[:5], str(constraint["end_time"])[:5]
            hours.append((f"{first}-{last}", span["prices"]))
        else:
            start = constraint.get("start_date")
            dated.append((None if start is None else str(start), span["prices"]))
    dated.sort(key=lambda span: span[0] or "")
    rows: list[Row] = []
    skipped: list[str] = []
    for number, (start, prices) in enumerate(dated):
        until = dated[number + 1][0] if number + 1 < len(dated) else None
        dates: Row = {"from": _midnight(start), "until": _midnight(until)}
        rows += [dates | row for row in _genai_rows(prices, skipped)]
    for window, prices in hours:
        for row in _genai_rows(prices, skipped):
            when = cast("dict[str, object]", row["when"])
            rows.append({**row, "when": {**when, "hours": window}})
    return rows, sorted(set(skipped))


def _midnight(day: str | None) -> str | None:
    if day is None:
        return None
    return datetime.fromisoformat(day).replace(tzinfo=UTC).isoformat()


def _genai_rows(prices: dict[str, object], skipped: list[str]) -> Iterator[Row]:
    starts = {0}
    for price in prices.values():
        if isinstance(price, dict):
            starts |= {int(tier["start"]) for tier in price["tiers"]}
    for start in sorted(starts):
        rates: Rates = {}
        for name, price in prices.items():
            if name not in _GENAI:
                skipped.append(name)
                continue
            value = price
            if isinstance(price, dict):
                fitting = [t["price"] for t in price["tiers"] if t["start"] <= start]
                value = fitting[-1] if start and fitting else price["base"]
            unit, per = _GENAI[name]
            if rate := _rate(value, Decimal(1) / per):
                rates[unit] = rate
        if rates:
            yield {"when": {"input_over": start}, "rates": rates}
