"""What calls cost, who may spend, what was spent: exact, in integer pico-dollars (1e-12 $).

Money goes in as `str | int | Decimal` dollars, never as float; it comes out as `int` pico-dollars
or `Decimal` dollars.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, cast

from dure import _core
from dure._check import refuse, text
from dure._dollars import to_dollars
from dure._price_files import ImportedPrices, import_prices
from dure.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "Alert",
    "AsyncBudgets",
    "Budget",
    "Budgets",
    "Cost",
    "ImportedPrices",
    "LedgerReport",
    "Line",
    "PriceBook",
    "averify_ledger",
    "cost",
    "data_folder",
    "import_prices",
    "ledger_records",
    "replay_ledger",
    "verify_ledger",
]

Money = str | int | Decimal
Unit = Literal["usd", "tokens", "requests"]
WindowName = Literal["day", "week", "month", "lifetime"]
OnLimit = Literal["block", "shrink", "queue", "warn", "approval"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AHEAD = timedelta(days=400)
_RENEW_BELOW = timedelta(days=300)
_LONGEST_ROLLING = timedelta(days=3660) // _MICROSECOND
_MOST = 2**63 - 1
UNITS = ("usd", "tokens", "requests")
WINDOWS = ("day", "week", "month", "lifetime")
POLICIES = ("block", "shrink", "queue", "warn", "approval")


def data_folder() -> str:
    """Return the data folder: `DURE_DATA`, else the user's (`$XDG_DATA_HOME/dure`)."""
    if given := os.environ.get("DURE_DATA"):
        return given
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return f"{base}/dure"


# Money and time ----------------------------------------------------------------------------------


def to_pico(amount: Money, argument: str = "amount") -> int:
    """Return dollars as pico-dollars.

    Raises:
        InvalidArgumentError: A float, no number, or finer than a pico-dollar.
    """
    if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
        raise InvalidArgumentError(
            f'{argument} must be a str, int or Decimal of dollars, for example "250.00": '
            f"a {type(amount).__name__} is not exact",
            argument=argument,
        )
    return _core.money.parse_dollars(str(amount))


def to_us(at: datetime | None, argument: str = "at") -> int:
    """Return microseconds UTC; None: now.

    Raises:
        InvalidArgumentError: No time zone.
    """
    if at is None:
        return _core.money.wall_us()
    if not isinstance(at, datetime):
        refuse(at, argument, "datetime")
    if at.tzinfo is None:
        raise InvalidArgumentError(
            f"{argument} needs a time zone: datetime(..., tzinfo=UTC)", argument=argument
        )
    return (at - _EPOCH) // _MICROSECOND


def _to_datetime(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


# Cost --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a cost: `quantity` units at `rate_pico` for `rate_per` units."""

    unit: str
    quantity: int
    rate_pico: int
    rate_per: int
    pico: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call cost, to the last pico-dollar."""

    pico: int
    lines: tuple[Line, ...]
    price_version: str
    flags: tuple[str, ...]

    @property
    def usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_dollars(self.pico)

    def to_dict(self) -> dict[str, object]:
        """Return plain values; `usd` as a decimal text."""
        return {**asdict(self), "usd": f"{self.usd:f}"}

    @classmethod
    def of(cls, found: tuple[int, list[tuple[str, int, int, int, int]], str, int]) -> Cost:
        """Build from the core's tuple."""
        pico, lines, version, flags = found
        names = tuple(_core.money.flag_names(flags))
        return cls(pico, tuple(Line(*line) for line in lines), version, names)


# Our field -> where a usage body has it (path of keys); the first that is there counts.
_FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "input": (("prompt_tokens",), ("input_tokens",), ("promptTokenCount",), ("inputTokens",)),
    "output": (
        ("completion_tokens",),
        ("output_tokens",),
        ("candidatesTokenCount",),
        ("outputTokens",),
    ),
    "cache_read": (
        ("cache_read_input_tokens",),
        ("cachedContentTokenCount",),
        ("cacheReadInputTokens",),
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
    ),
    "cache_write": (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
    ),
    "cache_write_1h": (("cache_creation", "ephemeral_1h_input_tokens"),),
    "input_audio": (
        ("prompt_tokens_details", "audio_tokens"),
        ("input_tokens_details", "audio_tokens"),
        ("input_token_details", "audio_tokens"),
    ),
    "input_image": (
        ("prompt_tokens_details", "image_tokens"),
        ("input_tokens_details", "image_tokens"),
        ("input_token_details", "image_tokens"),
    ),
    "output_reasoning": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("thoughtsTokenCount",),
    ),
    "output_audio": (
        ("completion_tokens_details", "audio_tokens"),
        ("output_tokens_details", "audio_tokens"),
        ("output_token_details", "audio_tokens"),
    ),
    "output_image": (("output_tokens_details", "image_tokens"),),
    "web_searches": (("server_tool_use", "web_search_requests"),),
}


def _get(body: object, name: str) -> object:
    if hasattr(body, "get"):
        return body.get(name)
    return getattr(body, name, None)


def _number(body: object, path: tuple[str, ...]) -> int | None:
    for name in path:
        body = _get(body, name)
        if body is None:
            return None
    if isinstance(body, bool) or not isinstance(body, int):
        raise InvalidArgumentError(
            f"usage.{'.'.join(path)} must be an int, not {type(body).__name__}",
            argument="usage",
            path=".".join(path),
        )
    return body


def _read_usage(usage: object) -> tuple[dict[str, int], bool]:
    """Return our fields and whether input contains its parts (OpenAI: yes, Anthropic: no)."""
    fields: dict[str, int] = {}
    for name, paths in _FIELDS.items():
        for path in paths:
            if (found := _number(usage, path)) is not None:
                fields[name] = found
                break
    created = _number(usage, ("cache_creation_input_tokens",))
    if created is None:
        created = _number(usage, ("cacheWriteInputTokens",))
    if created is not None:
        fields["cache_write"] = created - fields.get("cache_write_1h", 0)
    if _get(usage, "promptTokenCount") is not None:
        # Gemini counts thoughts beside the candidates; what tools put in is billed as input.
        fields["output"] = fields.get("output", 0) + fields.get("output_reasoning", 0)
        fields["input"] += _number(usage, ("toolUsePromptTokenCount",)) or 0
    if (seconds := _get(usage, "seconds")) is not None:
        fields["milliseconds"] = int(Decimal(str(seconds)) * 1000)
    if not fields:
        raise InvalidArgumentError(
            "no usage in there: give a response, its .usage, or a provider's usage dict",
            argument="usage",
        )
    excluded = ("cache_read_input_tokens", "cacheReadInputTokens")  # Anthropic, Bedrock
    apart = created is not None or any(_get(usage, name) is not None for name in excluded)
    return fields, not apart


class PriceBook:
    """Effective-dated prices: the shipped snapshot, and above it your own layers."""

    __slots__ = ("_book", "_layers")

    def __init__(
        self,
        overlay: str | os.PathLike[str] | Mapping[str, object] | Sequence[object] | None = None,
    ) -> None:
        """Build a book.

        Args:
            overlay: Prices that stand before the shipped ones, a model at a time: a path to JSON,
                a list of records `{"id", "aliases", "prices": [{"from", "until", "when", "rates",
                "source"}]}` with rates in pico-dollars per unit, or a mapping
                `{model: {"input": "0.15", "output": "0.60"}}` in dollars per million tokens.

        Raises:
            InvalidArgumentError: Overlapping dates, negative rates, floats, unknown fields; `.path`
                says where.
        """
        self._stack([("overlay", _read_overlay(overlay))] if overlay is not None else [])

    def _stack(self, layers: list[_core.catalog._Layer]) -> None:
        self._layers = layers
        self._book = _core.catalog.PriceBook(layers)

    def with_layer(
        self,
        overlay: str | os.PathLike[str] | Mapping[str, object] | Sequence[object],
        *,
        name: str,
    ) -> PriceBook:
        """Return a book in which `overlay` stands before all layers of this one.

        The first layer that knows a model prices it: put a user's file on the snapshot, a contract
        on the file, a call's own prices on the contract.

        Raises:
            InvalidArgumentError: As for the overlay of `PriceBook`.
        """
        above = PriceBook.__new__(PriceBook)
        above._stack([(name, _read_overlay(overlay)), *self._layers])
        return above

    @property
    def layers(self) -> dict[str, str]:
        """Name and version of each layer, in the order in which they are asked."""
        return dict(self._book.layers)

    def rows(self, model: str) -> list[dict[str, object]]:
        """Return every row that can price `model`, with its source; empty: no price is known.

        Rates are `(pico-dollars, per)` by unit, times microseconds UTC.
        """
        return [dict(row) for row in self._book.rows(model)]

    @property
    def price_version(self) -> str:
        """Twelve hexadecimal digits over every price of every layer."""
        return self._book.price_version

    @property
    def native(self) -> _core.catalog.PriceBook:
        """The core's book, for the client."""
        return self._book

    def cost(
        self,
        usage: object,
        *,
        model: str,
        at: datetime | None = None,
        service_tier: str | None = None,
        region: str | None = None,
    ) -> Cost:
        """Return the exact cost of `usage`.

        Args:
            usage: A response, its `.usage`, or any provider's usage dict.
            model: The model, in any spelling.
            at: When the request was sent; None: now.
            service_tier: None: the one the response names, else the default tier.
            region: The provider's region; None: the one the response names, else any.

        Raises:
            UnknownPriceError: No price for the model, unit, tier or date. Never taken as zero.
            InvalidArgumentError: There is no usage in `usage`.
        """
        inner = _get(usage, "usage")
        tier = service_tier or _get(usage, "service_tier") or _get(inner, "service_tier") or ""
        body = usage if inner is None else inner
        fields, contains = _read_usage(body)
        place = region or _get(body, "inference_geo") or ""
        batch = tier == "batch"  # Anthropic names its batches among the tiers
        found = _core.money.cost(
            self._book,
            fields,
            contains,
            model=model,
            at_us=to_us(at),
            service_tier="" if batch else str(tier),
            mode="batch" if batch else "",
            region=str(place),
        )
        return Cost.of(found)


def _read_overlay(overlay: object) -> list[_core.catalog._Prices]:
    if overlay is None:
        return []
    if isinstance(overlay, str | os.PathLike):
        import json
        from pathlib import Path

        try:
            overlay = json.loads(Path(overlay).read_text("utf-8"), parse_float=Decimal)
        except ValueError as error:
            raise InvalidArgumentError(
                f"{overlay} is no JSON: {error}", argument="overlay", path=str(overlay)
            ) from None
    if hasattr(overlay, "items") and "models" in overlay:  # type: ignore[operator]
        overlay = overlay["models"]  # type: ignore[index]
    if hasattr(overlay, "items"):
        return [_short_record(str(model), prices) for model, prices in overlay.items()]
    if not isinstance(overlay, list | tuple):
        raise InvalidArgumentError("overlay must be a path, dict or list", argument="overlay")
    return [_record(entry) for entry in overlay]


def _wrong(model: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"price book, {model}: {what}", argument="overlay", path=model)


def _short_record(model: str, prices: object) -> _core.catalog._Prices:
    names = {"input": "input.text", "output": "output.text", "cache_read": "input.text.cache_read"}
    if not hasattr(prices, "items"):
        raise _wrong(model, 'prices must be a dict like {"input": "0.15", "output": "0.60"}')
    rates = []
    for name, dollars in prices.items():
        if name not in names:
            raise _wrong(model, f"{name!r} is none of {', '.join(names)}")
        rates.append((names[name], to_pico(dollars, f"{model}.{name}"), 1_000_000))
    row = (None, None, "default", "standard", "*", 0, (0, 0), rates, "overlay")
    return model, [], [row]


def _record(entry: object) -> _core.catalog._Prices:
    if not hasattr(entry, "items"):
        raise InvalidArgumentError("a price record must be a dict", argument="overlay")
    record = cast("dict[str, object]", entry)
    model = str(record.get("id", ""))
    given = [cast("dict[str, object]", row) for row in _list(record, "prices")]
    rows = [_row(model, _with_factor(model, row, given)) for row in given]
    return model, [str(alias) for alias in _list(record, "aliases")], rows


def _with_factor(
    model: str, row: dict[str, object], rows: list[dict[str, object]]
) -> dict[str, object]:
    """Return a region's row with `factor: [num, den]` as rates: those of any region times it."""
    if "factor" not in row:
        return row
    factor = row["factor"]
    if (
        not isinstance(factor, list | tuple)
        or len(factor) != 2
        or not all(isinstance(part, int) and part > 0 for part in factor)
    ):
        raise _wrong(model, "factor must be two ints above zero: [numerator, denominator]")
    num, den = factor

    def conditions(of: dict[str, object]) -> dict[str, object]:
        when = cast("dict[str, object]", of.get("when") or {})
        return {"from": of.get("from"), "until": of.get("until"), **when, "region": "*"}

    for base in rows:
        if "factor" in base or conditions(base) != conditions(row):
            continue
        if (cast("dict[str, object]", base.get("when") or {})).get("region", "*") != "*":
            continue
        rates = {}
        for unit, value in cast("dict[str, object]", base.get("rates") or {}).items():
            pico, per = value if isinstance(value, list | tuple) else (value, 1)
            rates[unit] = [cast("int", pico) * num, cast("int", per) * den]
        return {**row, "rates": rates}
    raise _wrong(model, "a factor needs a row of any region with the same conditions")


def _list(record: dict[str, object], name: str) -> list[object]:
    found = record.get(name) or []
    if not isinstance(found, list):
        raise _wrong(str(record.get("id")), f"{name} must be a list")
    return found


def _row(model: str, row: dict[str, object]) -> _core.catalog._PriceRow:
    when = cast("dict[str, object]", row.get("when") or {})
    if unknown := when.keys() - {"service_tier", "mode", "region", "input_over", "hours"}:
        raise _wrong(model, f"unknown conditions {sorted(unknown)}")
    rates = []
    for unit, value in cast("dict[str, object]", row.get("rates") or {}).items():
        pico, per = value if isinstance(value, list | tuple) else (value, 1)
        if isinstance(pico, bool) or not isinstance(pico, int) or not isinstance(per, int):
            raise _wrong(model, f"rates.{unit} must be an int of pico-dollars, or [int, per]")
        rates.append((unit, pico, per))
    return (
        _moment(model, row.get("from")),
        _moment(model, row.get("until")),
        str(when.get("service_tier", "default")),
        str(when.get("mode", "standard")),
        str(when.get("region", "*")),
        cast("int", when.get("input_over", 0)),
        _hours(model, when.get("hours")),
        rates,
        str(row.get("source", "overlay")),
    )


def _hours(model: str, text: object) -> tuple[int, int]:
    """Return `"16:30-00:30"` (UTC) as seconds after midnight; (0, 0): all day."""
    if text is None:
        return 0, 0
    try:
        first, last = (time.fromisoformat(part) for part in str(text).split("-"))
    except ValueError:
        raise _wrong(model, f"{text!r} are no hours like 16:30-00:30") from None
    return first.hour * 3600 + first.minute * 60, last.hour * 3600 + last.minute * 60


def _moment(model: str, text: object) -> int | None:
    if text is None:
        return None
    try:
        return to_us(datetime.fromisoformat(str(text)))
    except ValueError as error:
        raise _wrong(model, f"{text!r} is no time like 2026-01-31T00:00:00Z ({error})") from None


_shipped: PriceBook | None = None


def shipped() -> PriceBook:
    """Return the book of shipped prices."""
    global _shipped  # noqa: PLW0603 - an immutable cache
    if _shipped is None:
        _shipped = PriceBook()
    return _shipped


def cost(
    usage: object,
    *,
    model: str,
    at: datetime | None = None,
    service_tier: str | None = None,
    region: str | None = None,
) -> Cost:
    """Return the exact cost of `usage` at shipped prices; see `PriceBook.cost`."""
    return shipped().cost(usage, model=model, at=at, service_tier=service_tier, region=region)


# Budgets -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in use, read at one moment. Amounts are dollars, tokens or requests by `unit`."""

    scope: str
    unit: str
    window: str | timedelta
    zone: str
    limit: Decimal | int
    granted: Decimal | int
    used: Decimal | int
    held: Decimal | int
    left: Decimal | int
    resets_at: datetime | None
    on_limit: str
    alerts: tuple[int, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain values: decimals and times as text."""
        plain: dict[str, object] = {}
        for name, value in asdict(self).items():
            if isinstance(value, Decimal):
                plain[name] = f"{value:f}"
            elif isinstance(value, datetime):
                plain[name] = value.isoformat()
            elif isinstance(value, timedelta):
                plain[name] = value.total_seconds()
            else:
                plain[name] = value
        return plain


@dataclass(frozen=True, slots=True)
class Alert:
    """The use of a budget reached `percent` of its limit; dollars, tokens or requests by `unit`."""

    scope: str
    unit: str
    window: str
    percent: int
    used: Decimal | int
    limit: Decimal | int


def window_edges(window: str, zone: str, now: datetime) -> list[int]:
    """Return the UTC starts of the running window and of those of the next 400 days.

    A day begins at its first existing local instant, so a night without midnight and a night with
    two are both one edge. Weeks begin on Monday (ISO 8601).

    Raises:
        InvalidArgumentError: Unknown window or zone, or no zone data: install tzdata.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        local = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidArgumentError(
            f"unknown time zone {zone!r}: name one like Asia/Seoul; without zone data on this "
            "machine: pip install tzdata",
            argument="zone",
        ) from error
    today = now.astimezone(local).date()
    edges: list[int] = []
    for day in _first_days(window, today):
        # fold=0: before a gap this is the instant of the gap, in a repeated hour the first.
        start = datetime(day.year, day.month, day.day, tzinfo=local).astimezone(UTC)
        edge = to_us(start)
        if not edges or edge > edges[-1]:
            edges.append(edge)
    while len(edges) > 1 and edges[1] <= to_us(now):
        del edges[0]
    return edges


def _first_days(window: str, today: date) -> Iterator[date]:
    last = today + _AHEAD
    if window == "day":
        day, step = today - timedelta(days=1), timedelta(days=1)
    elif window == "week":
        day, step = today - timedelta(days=today.weekday() + 7), timedelta(days=7)
    elif window == "month":
        month = today.year * 12 + today.month - 2
        while (day := date(month // 12, month % 12 + 1, 1)) <= last:
            yield day
            month += 1
        return
    else:
        raise InvalidArgumentError(
            f"unknown window {window!r}: day, week, month, lifetime or a timedelta",
            argument="window",
        )
    while day <= last:
        yield day
        day += step


def one_of(value: object, names: tuple[str, ...], argument: str) -> None:
    """Check that a value is one of the names.

    Raises:
        InvalidArgumentError: It is none of them.
    """
    if value not in names:
        raise InvalidArgumentError(
            f"{argument} must be {', '.join(names[:-1])} or {names[-1]}"
            + (" or a timedelta" if argument == "window" else "")
            + f", not {value!r}",
            argument=argument,
        )


def _count(amount: object, argument: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidArgumentError(
            f"{argument} must be an int, not {type(amount).__name__}", argument=argument
        )
    if not 0 <= amount <= _MOST:
        raise InvalidArgumentError(f"{argument} must be 0 to {_MOST}", argument=argument)
    return amount


def amount_in_unit(amount: object, unit: str, argument: str) -> int:
    """Return dollars as pico-dollars, tokens and requests as they are.

    Raises:
        InvalidArgumentError: A float, or no amount of the unit.
    """
    if unit == "usd":
        pico = to_pico(cast("Money", amount), argument)
        if pico < 0:
            raise InvalidArgumentError(f"{argument} cannot be negative", argument=argument)
        return pico
    return _count(amount, argument)


def _moment_of(until: object) -> datetime:
    if not isinstance(until, datetime):
        refuse(until, "until", "datetime")
    return until


class Budgets:
    """The budgets of one data folder: `client.budgets`. Thread-safe."""

    def __init__(self, account: _core.money.Account) -> None:
        """Wrap the core's account; windows are renewed for the next 400 days."""
        self._account = account
        self._renew()

    @property
    def account(self) -> _core.money.Account:
        """The core's account, for `dure.integrations`."""
        return self._account

    def set(
        self,
        scope: str,
        *,
        limit: Money,
        window: WindowName | timedelta,
        unit: Unit = "usd",
        zone: str = "UTC",
        on_limit: OnLimit = "block",
        alerts: Sequence[int] = (80, 90, 100),
    ) -> None:
        """Create the budget or change it; what was used and held stays.

        A budget counts from the moment it is first set. It is named by scope, unit and window, so
        a scope can have several. The running window of a changed zone keeps its end.

        Args:
            scope: `"org:acme"`; kinds: user team org key execution service model tag conversation
                provider. A call must pass every budget of every scope that it names.
            limit: Dollars (`"250.00"`), or an int of tokens or requests.
            window: `day`, `week` (from Monday), `month`, `lifetime`, or a rolling `timedelta`.
            unit: `usd`, `tokens` or `requests`.
            zone: IANA zone of calendar windows.
            on_limit: What happens to a call that does not fit: `block` (429), `approval` (403,
                lifted by `grant`), `shrink` (a smaller answer if the call gave no maximum, else
                block), `queue` (it waits for room until its deadline, first come, first served),
                `warn` (admitted and marked).
            alerts: Percentages of the limit at which `alerts()` tells it, once a window.

        Raises:
            InvalidArgumentError: Bad scope, zone, limit or window.
            StorageError: The ledger cannot be written.
        """
        text(scope, "scope")
        text(zone, "zone")
        one_of(unit, UNITS, "unit")
        one_of(on_limit, POLICIES, "on_limit")
        rolling_us, name = 0, str(window)
        if isinstance(window, timedelta):
            rolling_us, name = window // _MICROSECOND, "rolling"
            if not 1_000_000 <= rolling_us <= _LONGEST_ROLLING:
                raise InvalidArgumentError(
                    "a rolling window is 1 s to 10 years long", argument="window"
                )
        else:
            one_of(window, WINDOWS, "window")
        percents = list(alerts)
        for percent in percents:
            if not 0 < _count(percent, "alerts") <= 255:
                raise InvalidArgumentError(
                    "alerts are percentages of the limit, 1 to 255", argument="alerts"
                )
        calendar = name not in {"rolling", "lifetime"}
        now = _to_datetime(_core.money.wall_us())
        self._account.set_budget(
            scope,
            limit=amount_in_unit(limit, unit, "limit"),
            unit=unit,
            window=name,
            zone=zone,
            edges_us=window_edges(name, zone, now) if calendar else [],
            rolling_us=rolling_us,
            on_limit=on_limit,
            alerts=percents,
        )

    def read(
        self,
        scope: str,
        *,
        window: WindowName | timedelta | None = None,
        unit: Unit | None = None,
    ) -> Budget:
        """Return the scope's budget as it stands now, other processes included.

        Raises:
            NotFoundError: The scope has no such budget.
            InvalidArgumentError: It has several: name `window=` or `unit=`.
        """
        found = [
            budget
            for budget in self.list(scope)
            if window in (None, budget.window) and unit in (None, budget.unit)
        ]
        if not found:
            raise NotFoundError(f"no budget for {scope}: set one with budgets.set")
        if len(found) > 1:
            names = ", ".join(f"{budget.unit} per {budget.window}" for budget in found)
            raise InvalidArgumentError(
                f"{scope} has several budgets ({names}): name window= or unit=", argument="scope"
            )
        return found[0]

    def list(self, scope: str | None = None) -> list[Budget]:
        """Return every budget of `scope`, or all, in order of creation."""
        return [_to_budget(state) for state in self._account.budgets(scope or "")]

    def grant(
        self, scope: str, *, amount: Money, until: datetime, unit: Unit | None = None
    ) -> None:
        """Raise that scope's limit by `amount` until `until`; no other scope's.

        Raises:
            NotFoundError: The scope has no budget.
            InvalidArgumentError: It has budgets in several units: name `unit=`.
        """
        until_us = to_us(_moment_of(until), "until")
        if until_us <= _core.money.wall_us():
            raise InvalidArgumentError("until must lie ahead", argument="until")
        units: set[str] = {budget.unit for budget in self.list(scope)}
        if unit is None and len(units) > 1:
            raise InvalidArgumentError(
                f"{scope} has budgets in {', '.join(sorted(units))}: name unit=", argument="unit"
            )
        chosen: str = unit or next(iter(units), "usd")
        self._account.grant(
            scope,
            unit=chosen,
            amount=amount_in_unit(amount, chosen, "amount"),
            until_us=until_us,
        )

    def alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that calls of this process set off since the last time.

        Each percentage of a budget is told once a window among all processes on the data folder;
        `ALERT` records of the ledger keep them all.
        """
        found = []
        for alert in self._account.take_alerts():
            usd = alert["unit"] == "usd"
            used, limit = alert["used"], alert["limit"]
            found.append(
                Alert(
                    scope=alert["scope"],
                    unit=alert["unit"],
                    window=alert["window"],
                    percent=alert["percent"],
                    used=to_dollars(used) if usd else used,
                    limit=to_dollars(limit) if usd else limit,
                )
            )
        return tuple(found)

    def _renew(self) -> None:
        now = _to_datetime(_core.money.wall_us())
        for state in self._account.budgets(""):
            last = state["last_edge_us"]
            if (
                state["window"] not in {"day", "week", "month"}
                or _to_datetime(last) - now > _RENEW_BELOW
            ):
                continue
            self._account.set_budget(
                state["scope"],
                limit=state["limit"],
                unit=state["unit"],
                window=state["window"],
                zone=state["zone"],
                edges_us=window_edges(state["window"], state["zone"], now),
                rolling_us=0,
                on_limit=state["on_limit"],
                alerts=state["alerts"],
            )


def _to_budget(state: _core.money._BudgetState) -> Budget:
    def amount(units: int) -> Decimal | int:
        return to_dollars(units) if state["unit"] == "usd" else units

    resets = state["resets_at_us"]
    rolling = state["rolling_ns"]
    return Budget(
        scope=state["scope"],
        unit=state["unit"],
        window=timedelta(microseconds=rolling // 1000) if rolling else state["window"],
        zone=state["zone"],
        limit=amount(state["limit"]),
        granted=amount(state["granted"]),
        used=amount(state["used"]),
        held=amount(state["held"]),
        left=amount(state["left"]),
        resets_at=None if resets is None else _to_datetime(resets),
        on_limit=state["on_limit"],
        alerts=tuple(state["alerts"]),
    )


class AsyncBudgets:
    """`Budgets` for `AsyncClient`: the same arguments, awaited; the disk is touched in a thread."""

    def __init__(self, account: _core.money.Account) -> None:
        """Wrap the core's account."""
        self._account = account
        self._sync: Budgets | None = None

    @property
    def account(self) -> _core.money.Account:
        """The core's account, for `dure.integrations`."""
        return self._account

    def _budgets(self) -> Budgets:
        if self._sync is None:
            self._sync = Budgets(self._account)
        return self._sync

    async def set(
        self,
        scope: str,
        *,
        limit: Money,
        window: WindowName | timedelta,
        unit: Unit = "usd",
        zone: str = "UTC",
        on_limit: OnLimit = "block",
        alerts: Sequence[int] = (80, 90, 100),
    ) -> None:
        """Create the budget or change it; see `Budgets.set`."""
        import asyncio

        await asyncio.to_thread(
            lambda: self._budgets().set(
                scope,
                limit=limit,
                window=window,
                unit=unit,
                zone=zone,
                on_limit=on_limit,
                alerts=alerts,
            )
        )

    async def read(
        self,
        scope: str,
        *,
        window: WindowName | timedelta | None = None,
        unit: Unit | None = None,
    ) -> Budget:
        """Return the scope's budget as it stands now; see `Budgets.read`."""
        import asyncio

        return await asyncio.to_thread(
            lambda: self._budgets().read(scope, window=window, unit=unit)
        )

    async def list(self, scope: str | None = None) -> list[Budget]:
        """Return every budget of `scope`, or all."""
        import asyncio

        return await asyncio.to_thread(lambda: self._budgets().list(scope))

    async def grant(
        self, scope: str, *, amount: Money, until: datetime, unit: Unit | None = None
    ) -> None:
        """Raise that scope's limit until `until`; see `Budgets.grant`."""
        import asyncio

        await asyncio.to_thread(
            lambda: self._budgets().grant(scope, amount=amount, until=until, unit=unit)
        )

    async def alerts(self) -> tuple[Alert, ...]:
        """Return the alerts since the last time; see `Budgets.alerts`."""
        import asyncio

        return await asyncio.to_thread(lambda: self._budgets().alerts())


# Ledger ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a replay of the ledger found; `first_difference` is None if everything adds up."""

    ok: bool
    files: int
    records: int
    open_holds: int
    spent_pico: int
    held_pico: int
    first_difference: str | None

    @property
    def spent_usd(self) -> Decimal:
        """Everything that was settled, in dollars."""
        return to_dollars(self.spent_pico)

    def to_dict(self) -> dict[str, object]:
        """Return plain values; `spent_usd` as a decimal text."""
        return {**asdict(self), "spent_usd": f"{self.spent_usd:f}"}


def _ledger_path(path: str | os.PathLike[str] | None) -> str:
    return data_folder() if path is None else os.fspath(path)


def verify_ledger(path: str | os.PathLike[str] | None = None) -> LedgerReport:
    """Replay the ledger and compare: every checksum, every hold ended once, every counter.

    Args:
        path: A data folder, its ledger folder, or one file; None: the data folder's.

    Returns:
        The report; damage is told in it, never raised.

    Raises:
        NotFoundError: There is no ledger.
        StorageError: It cannot be read, or was written by a newer dure.
    """
    return LedgerReport(**_core.money.verify_ledger(_ledger_path(path)))


async def averify_ledger(path: str | os.PathLike[str] | None = None) -> LedgerReport:
    """Return `verify_ledger(path)`, computed in a thread."""
    import asyncio

    return await asyncio.to_thread(verify_ledger, path)


def ledger_records(path: str | os.PathLike[str] | None = None) -> Iterator[dict[str, object]]:
    """Yield every record of the ledger as plain values, file by file, oldest first.

    Raises:
        NotFoundError: There is no ledger.
        StoreCorruptError: A file is damaged before its end.
    """
    for file in _core.money.ledger_files(_ledger_path(path)):
        yield from _core.money.read_ledger(file)


def replay_ledger(path: str | os.PathLike[str] | None = None) -> dict[str, object]:
    """Rebuild the totals from the records alone: what was spent, by model, service and scope.

    Returns:
        `calls`, `spent_pico`, `tokens`, and `by_model`, `by_service`, `by_scope` with pico-dollars.
    """
    holds: dict[tuple[int, int], dict[str, object]] = {}
    by: dict[str, dict[str, int]] = {"model": {}, "service": {}, "scope": {}}
    spent = tokens = calls = 0
    ends: list[dict[str, object]] = []
    for record in ledger_records(path):
        if record["type"] == "RESERVE":
            holds[cast("tuple[int, int]", record["id"])] = record
        elif record["type"] in {"SETTLE", "ADJUST"}:
            ends.append(record)
    for end in ends:
        pico = cast("int", end["pico"])
        spent += pico
        tokens += cast("int", end["tokens"])
        calls += end["type"] == "SETTLE"
        hold = holds.get(cast("tuple[int, int]", end["id"]), {})
        names = [("model", str(hold.get("model", ""))), ("service", str(hold.get("service", "")))]
        names += [("scope", scope) for scope in cast("list[str]", hold.get("scopes", []))]
        for kind, name in names:
            if name:
                by[kind][name] = by[kind].get(name, 0) + pico
    totals: dict[str, object] = {"calls": calls, "spent_pico": spent, "tokens": tokens}
    return totals | {f"by_{kind}": sums for kind, sums in by.items()}
