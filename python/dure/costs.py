"""What calls cost, who may spend, what was spent: exact, in integer pico-dollars (1e-12 $).

Money goes in as `str | int | Decimal` dollars, never as float; it comes out as `int` pico-dollars
or `Decimal` dollars.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

from dure import _core
from dure._check import refuse, text
from dure._dollars import to_dollars
from dure._price_files import ImportedPrices, import_prices
from dure._usage_bodies import member, read_usage, usage_in
from dure._windows import (
    CALENDAR,
    OF_FLEET,
    checked_start,
    renew_all,
    renew_due,
    window_edges,
    zone_and_start,
    zone_with,
)
from dure.errors import InvalidArgumentError, NotFoundError, StoreVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "Alert",
    "AsyncBudgets",
    "Budget",
    "BudgetStore",
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
ProviderSide = Literal["allowed", "forbidden"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
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
            InvalidArgumentError: Overlapping dates or hours, gaps, negative rates, floats, unknown
                fields, tiers or units, a file that cannot be read; `.path` says file, record and
                field.
        """
        self._layers: list[_core.catalog._Layer] = []
        if overlay is None:
            self._book = _core.catalog.PriceBook([])
        else:
            self._stack("overlay", overlay, [])

    def _stack(self, name: str, overlay: object, below: list[_core.catalog._Layer]) -> None:
        from dure._overlays import Overlay

        read = Overlay(overlay)
        self._layers = [(name, read.prices), *below]
        try:
            self._book = _core.catalog.PriceBook(self._layers)
        except InvalidArgumentError as error:  # of the new layer: those below stood already
            raise read.located(error) from None

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
        above._stack(name, overlay, self._layers)
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
        quality: str | None = None,
        size: str | None = None,
    ) -> Cost:
        """Return the exact cost of `usage`.

        Args:
            usage: A response, its `.usage`, or any provider's usage dict.
            model: The model, in any spelling.
            at: When the request was sent; None: now.
            service_tier: None: the one the response names, else the default tier.
            region: The provider's region; None: the one the response names, else any.
            quality: Of images or a video; None: the one the response names.
            size: Likewise, as the provider writes it: `"1024x1024"`.

        Raises:
            UnknownPriceError: No price for the model, unit, tier or date, or `usage` counts what no
                unit is known for. Never taken as zero.
            InvalidArgumentError: There is no usage in `usage`.
        """
        body = usage_in(usage)
        tier = service_tier or member(usage, "service_tier") or member(body, "service_tier") or ""
        fields, contains = read_usage(usage, model)
        place = region or member(body, "inference_geo") or ""
        picture = [
            given or member(usage, name) or ""
            for name, given in (("quality", quality), ("size", size))
        ]
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
            quality=str(picture[0]),
            size=str(picture[1]),
        )
        return Cost.of(found)


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
    quality: str | None = None,
    size: str | None = None,
) -> Cost:
    """Return the exact cost of `usage` at shipped prices; see `PriceBook.cost`."""
    return shipped().cost(
        usage,
        model=model,
        at=at,
        service_tier=service_tier,
        region=region,
        quality=quality,
        size=size,
    )


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
    month_start: int = 1
    from_first_use: bool = False
    provider_side: str = "allowed"

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


@runtime_checkable
class BudgetStore(Protocol):
    """What a call asks before it is sent and tells when it ends; whatever lies behind.

    One object implements it, `_core.money.Account`, for a process alone, for all processes of a
    host, and for the hosts of a fleet, whose slices `dure.integrations.postgres` and `.redis`
    lease into it. Recall and reaping are part of `reserve`: nobody is refused before what the dead
    held and what others do not use was taken back.
    """

    def reserve(
        self,
        scopes: list[str],
        *,
        input_pico: int,
        input_tokens: int,
        output_rate: int,
        max_output: int,
        wait: float = 0.0,
    ) -> tuple[int, int]:
        """Hold the upper bound in every budget of every scope, or in none."""

    def sent(self, id: tuple[int, int]) -> None:
        """Note that the first byte is about to leave."""

    def progress(self, id: tuple[int, int], output_tokens: int) -> None:
        """Note what was received: a long stream's sign of life."""

    def settle(
        self, id: tuple[int, int], *, pico: int, input_tokens: int, output_tokens: int
    ) -> None:
        """Replace the hold by the cost, once."""

    def settle_by_rule(self, id: tuple[int, int]) -> None:
        """End a call of which nobody knows the cost."""

    def void_hold(self, id: tuple[int, int]) -> None:
        """Drop a hold that was never sent."""

    def budgets(self, scope: str) -> list[_core.money._BudgetState]:
        """Read the budgets of a scope at one moment."""


class Budgets:
    """The budgets of one data folder: `client.budgets`. Thread-safe."""

    def __init__(self, account: _core.money.Account) -> None:
        """Wrap the core's account; windows are renewed for the next 400 days."""
        self._account = account
        renew_all(account, _core.money.wall_us())

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
        on_limit: OnLimit | None = None,
        alerts: Sequence[int] = (80, 90, 100),
        month_start: int = 1,
        from_first_use: bool = False,
        provider_side: ProviderSide = "allowed",
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
                lifted by `grant`), `shrink` (a smaller answer of at least 256 tokens if the call
                gave no maximum, else block), `queue` (it waits for room until its deadline, first
                come, first served), `warn` (admitted and marked). None: `shrink` for tokens,
                else `block`.
            alerts: Percentages of the limit at which `alerts()` tells it, once a window.
            month_start: The day, 1 to 28, on which a `month` begins: the fiscal one's.
            from_first_use: A `timedelta` begins with the first call after the last one ended, and
                then resets as a whole, instead of rolling.
            provider_side: `forbidden` refuses (400) server-side tools, stored prompts and
                `previous_response_id`: the provider adds input that nobody can bound before.

        Raises:
            InvalidArgumentError: Bad scope, zone, limit or window.
            StorageError: The ledger cannot be written.
        """
        text(scope, "scope")
        text(zone, "zone")
        one_of(unit, UNITS, "unit")
        if on_limit is None:
            on_limit = "shrink" if unit == "tokens" else "block"
        one_of(on_limit, POLICIES, "on_limit")
        rolling_us, name = 0, str(window)
        if isinstance(window, timedelta):
            rolling_us, name = window // _MICROSECOND, "first use" if from_first_use else "rolling"
            if not 1_000_000 <= rolling_us <= _LONGEST_ROLLING:
                raise InvalidArgumentError(
                    "a rolling window is 1 s to 10 years long", argument="window"
                )
        else:
            one_of(window, WINDOWS, "window")
            if from_first_use:
                raise InvalidArgumentError(
                    "only a timedelta can begin with its first use", argument="from_first_use"
                )
        one_of(provider_side, ("allowed", "forbidden"), "provider_side")
        zone = zone_with(zone, checked_start(month_start, name))
        percents = list(alerts)
        for percent in percents:
            if not 0 < _count(percent, "alerts") <= 255:
                raise InvalidArgumentError(
                    "alerts are percentages of the limit, 1 to 255", argument="alerts"
                )
        now_us = _core.money.wall_us()
        renew_all(self._account, now_us)
        now = _to_datetime(now_us)
        self._account.set_budget(
            scope,
            limit=amount_in_unit(limit, unit, "limit"),
            unit=unit,
            window=name,
            zone=zone,
            edges_us=window_edges(name, zone, now) if name in CALENDAR else [],
            rolling_us=rolling_us,
            on_limit=on_limit,
            alerts=percents,
            forbids_provider_side=provider_side == "forbidden",
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
        states = self._account.budgets(scope or "")
        if renew_due(self._account, states, _core.money.wall_us()):
            states = self._account.budgets(scope or "")
        return [_to_budget(state) for state in states if not state["window"].endswith(OF_FLEET)]

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
        renew_all(self._account, _core.money.wall_us())
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


def _to_budget(state: _core.money._BudgetState) -> Budget:
    def amount(units: int) -> Decimal | int:
        return to_dollars(units) if state["unit"] == "usd" else units

    resets = state["resets_at_us"]
    rolling = state["rolling_ns"]
    zone, month_start = zone_and_start(state["zone"])
    return Budget(
        scope=state["scope"],
        unit=state["unit"],
        window=timedelta(microseconds=rolling // 1000) if rolling else state["window"],
        zone=zone,
        limit=amount(state["limit"]),
        granted=amount(state["granted"]),
        used=amount(state["used"]),
        held=amount(state["held"]),
        left=amount(state["left"]),
        resets_at=None if resets is None else _to_datetime(resets),
        on_limit=state["on_limit"],
        alerts=tuple(state["alerts"]),
        month_start=month_start,
        from_first_use=state["window"] == "first use",
        provider_side="forbidden" if state["forbids_provider_side"] else "allowed",
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
        on_limit: OnLimit | None = None,
        alerts: Sequence[int] = (80, 90, 100),
        month_start: int = 1,
        from_first_use: bool = False,
        provider_side: ProviderSide = "allowed",
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
                month_start=month_start,
                from_first_use=from_first_use,
                provider_side=provider_side,
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
        StorageError: It cannot be read.
    """
    return LedgerReport(**_core.money.verify_ledger(_ledger_path(path)))


async def averify_ledger(path: str | os.PathLike[str] | None = None) -> LedgerReport:
    """Return `verify_ledger(path)`, computed in a thread."""
    import asyncio

    return await asyncio.to_thread(verify_ledger, path)


def ledger_records(
    path: str | os.PathLike[str] | None = None,
    *,
    newer: Callable[[StoreVersionError], object] | None = None,
) -> Iterator[dict[str, object]]:
    """Yield every record of the ledger as plain values, file by file, oldest first.

    Args:
        path: A data folder, its ledger folder, or one file; None: the data folder's.
        newer: Told of each file that a newer dure wrote, which is then passed over; None: raises.

    Raises:
        NotFoundError: There is no ledger.
        StoreCorruptError: A file is damaged before its end.
        StoreVersionError: A newer dure wrote a file, and nobody is to be told.
    """
    for file in _core.money.ledger_files(_ledger_path(path)):
        try:
            yield from _core.money.read_ledger(file)
        except StoreVersionError as error:
            if newer is None:
                raise
            newer(error)


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
