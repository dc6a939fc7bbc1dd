"""Windows of budgets as the core takes them: UTC edges, computed here with the zones' rules."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dure._core.money import Account, _BudgetState

__all__ = ["CALENDAR", "OF_FLEET", "renew_all", "renew_due", "window_edges"]

CALENDAR = ("day", "week", "month")
OF_FLEET = " of the fleet"  # ends the window of a budget that only `dure.integrations` reads
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AHEAD = timedelta(days=400)
_RENEW_BELOW = timedelta(days=300)
_DAY_US = timedelta(days=1) // _MICROSECOND


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


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
        edge = _us(start)
        if not edges or edge > edges[-1]:
            edges.append(edge)
    while len(edges) > 1 and edges[1] <= _us(now):
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
