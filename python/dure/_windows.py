"""Windows of budgets as the core takes them: UTC edges, computed here with the zones' rules."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dure._core.money import Account, _BudgetState

__all__ = [
    "CALENDAR",
    "OF_FLEET",
    "checked_start",
    "renew_all",
    "renew_due",
    "window_edges",
    "zone_and_start",
    "zone_with",
]

CALENDAR = ("day", "week", "month")
OF_FLEET = " of the fleet"  # ends the window of a budget that only `dure.integrations` reads
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AHEAD = timedelta(days=400)
_RENEW_BELOW = timedelta(days=300)
_DAY_US = timedelta(days=1) // _MICROSECOND


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def checked_start(month_start: object, window: str) -> int:
    """Return the day on which a month begins.

    Raises:
        InvalidArgumentError: It is no day that every month has, or the window is no month.
    """
    if isinstance(month_start, bool) or not isinstance(month_start, int):
        raise InvalidArgumentError("month_start must be an int", argument="month_start")
    if not 1 <= month_start <= 28:
        raise InvalidArgumentError("month_start must be 1 to 28", argument="month_start")
    if month_start != 1 and window != "month":
        raise InvalidArgumentError(
            f"a {window} has no month_start: it is for window='month'", argument="month_start"
        )
    return month_start


def zone_with(zone: str, month_start: int) -> str:
    """Return what the ledger keeps for the renewal: the zone, and behind it another first day.

    Raises:
        InvalidArgumentError: The zone is no name.
    """
    if ";" in zone:
        raise InvalidArgumentError(
            f"unknown time zone {zone!r}: name one like Asia/Seoul", argument="zone"
        )
    return zone if month_start == 1 else f"{zone};{month_start}"


def zone_and_start(kept: str) -> tuple[str, int]:
    """Return the zone and the day on which its months begin."""
    zone, _, start = kept.partition(";")
    return zone, int(start) if start.isdecimal() else 1


def window_edges(window: str, zone: str, now: datetime) -> list[int]:
    """Return the UTC starts of the running window and of those of the next 400 days.

    The zone is as `zone_with` gives it: a change of a month's first day starts, as one of the zone
    does, with the next window. A day begins at its first existing local instant, so a night
    without midnight and a night with two are both one edge. Weeks begin on Monday (ISO 8601).

    Raises:
        InvalidArgumentError: Unknown window or zone, or no zone data: install tzdata.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    zone, month_start = zone_and_start(zone)
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
    for day in _first_days(window, today, month_start):
        # fold=0: before a gap this is the instant of the gap, in a repeated hour the first.
        start = datetime(day.year, day.month, day.day, tzinfo=local).astimezone(UTC)
        edge = _us(start)
        if not edges or edge > edges[-1]:
            edges.append(edge)
    while len(edges) > 1 and edges[1] <= _us(now):
        del edges[0]
    return edges


def _first_days(window: str, today: date, month_start: int) -> Iterator[date]:
    last = today + _AHEAD
    if window == "day":
        day, step = today - timedelta(days=1), timedelta(days=1)
    elif window == "week":
        day, step = today - timedelta(days=today.weekday() + 7), timedelta(days=7)
    elif window == "month":
        month = today.year * 12 + today.month - 2
        while (day := date(month // 12, month % 12 + 1, month_start)) <= last:
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


def renew_due(account: Account, states: Iterable[_BudgetState], now_us: int) -> bool:
    """Give the budgets whose last known edge comes near those of the next 400 days.

    Returns:
        Whether there was one: what was read of it may be out of date.

    Raises:
        StorageError: The ledger cannot be written.
    """
    now, renewed = _EPOCH + now_us * _MICROSECOND, False
    for state in states:
        ahead = (state["last_edge_us"] - now_us) * _MICROSECOND
        if state["window"] not in CALENDAR or ahead > _RENEW_BELOW:
            continue
        account.set_budget(
            state["scope"],
            limit=state["limit"],
            unit=state["unit"],
            window=state["window"],
            zone=state["zone"],
            edges_us=window_edges(state["window"], state["zone"], now),
            rolling_us=0,
            on_limit=state["on_limit"],
            alerts=state["alerts"],
            forbids_provider_side=state["forbids_provider_side"],
        )
        renewed = True
    return renewed


_seen: dict[str, int] = {}  # data folder -> when all of its budgets were looked at
_seen_lock = threading.Lock()


def renew_all(account: Account, now_us: int) -> None:
    """Renew every budget of the account that is due; looks once a day of this process.

    Raises:
        StorageError: The ledger cannot be written.
    """
    with _seen_lock:
        last = _seen.get(account.folder)
        if last is not None and last <= now_us < last + _DAY_US:
            return
        _seen[account.folder] = now_us
    renew_due(account, account.budgets(""), now_us)
