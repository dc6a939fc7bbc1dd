"""Budgets that several machines share: each host leases slices and spends them by its own account.

The host's account admits and settles as ever, in microseconds; its limit is what the host has
leased. A store only leases and takes back, on the keeper's thread: no call waits for a network.
What all hosts have leased never exceeds the budget, so neither does what they spend.
"""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dure import _core
from dure._dollars import to_dollars
from dure._sync.closing import Closing
from dure._windows import window_edges
from dure.costs import amount_in_unit
from dure.errors import DureError, InvalidArgumentError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from dure.costs import Money, Unit, WindowName

__all__ = ["Fleet", "FleetBudget", "LeaseStore"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LeaseStore(Protocol):
    """What all hosts share: one row a budget and window, one row a host and its slice.

    Every method is one transaction and may be called from one thread at a time. A store that
    cannot be reached raises `UnavailableError`.
    """

    def set_limit(self, key: str, limit: int) -> None:
        """Create the budget or change its limit."""

    def lease(self, key: str, host: str, amount: int) -> bool:
        """Give the host `amount` more if that much is left, else nothing."""

    def give_back(self, key: str, host: str, amount: int) -> None:
        """Take `amount` of the host's slice back."""

    def left(self, key: str) -> int | None:
        """Return what nobody has leased; None: there is no such budget."""

    def slices(self, key: str) -> dict[str, int]:
        """Return what each host has leased."""

    def ask_back(self, key: str, amount: int) -> None:
        """Let the other hosts know that `amount` is missing; 0: nothing any more."""

    def wanted(self, key: str) -> int:
        """Return what is missing somewhere."""

    def limit(self, key: str) -> int:
        """Return the budget's limit."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True, slots=True)
class FleetBudget:
    """A shared budget, read at one moment; dollars, tokens or requests by `unit`."""

    scope: str
    unit: str
    limit: Decimal | int
    leased: Decimal | int
    left: Decimal | int
    slices: dict[str, Decimal | int]


@dataclass(slots=True)
class _Shared:
    scope: str
    unit: str
    window: str
    zone: str
    limit: int
    slice: int
    start_us: int = -1
    end_us: int | None = None
    leased: int = 0  # of this window, by this host: the account's limit

    @property
    def key(self) -> str:
        return f"{self.scope}|{self.unit}|{self.window}|{self.start_us}"

    @property
    def local(self) -> str:
        """The name of the account's window: no calendar window, whose edges would be renewed."""
        return f"fleet {self.window}"


class Fleet(Closing):
    """Keeps one host's slices of the budgets that it shares with others. Thread-safe.

    One keeper a data folder: it holds a lock file there. A host that dies keeps its slices charged;
    it finds them again when it starts under its name, or an administrator writes them off.
    """

    def __init__(
        self,
        account: _core.money.Account,
        connect: Callable[[], LeaseStore],
        *,
        host: str,
        interval: float = 0.1,
    ) -> None:
        """Connect and start the keeper's thread.

        Args:
            account: The data folder's account; `client.budgets` reads it too.
            connect: Opens the store; called again after it was lost.
            host: This host's name, the same after a restart.
            interval: Seconds between two looks at the store.

        Raises:
            UnavailableError: The store cannot be reached, or another process keeps this folder.
        """
        if not host:
            raise InvalidArgumentError("host must not be empty", argument="host")
        self._account = account
        self._connect = connect
        self._host = host
        self._interval = interval
        self._shared: dict[tuple[str, str, str], _Shared] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._alone = Path(account.folder, "fleet.lock").open("a")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._alone.close()
            raise UnavailableError(
                f"another process keeps the fleet's budgets of {account.folder}: use that one"
            ) from None
        try:
            self._store: LeaseStore | None = connect()
        except BaseException:
            self._alone.close()
            raise
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._keep, name="dure-fleet", daemon=True)
        self._thread.start()

    def set(
        self,
        scope: str,
        *,
        limit: Money,
        window: WindowName,
        unit: Unit = "usd",
        zone: str = "UTC",
        slice: Money | None = None,
    ) -> None:
        """Share a budget of `limit` among all hosts that set it; the last limit told is in force.

        Args:
            scope: As in `client.budgets.set`.
            limit: Of the whole fleet.
            window: `day`, `week`, `month` or `lifetime`.
            unit: `usd`, `tokens` or `requests`.
            zone: IANA zone of calendar windows.
            slice: What is leased at a time; None: a hundredth of the limit. Near the limit less.

        Raises:
            InvalidArgumentError: Bad scope, zone, limit or window.
            UnavailableError: The store cannot be reached.
        """
        most = amount_in_unit(limit, unit, "limit")
        if most < 0:
            raise InvalidArgumentError("a limit cannot be negative", argument="limit")
        part = most // 100 if slice is None else amount_in_unit(slice, unit, "slice")
        shared = _Shared(scope, unit, window, zone, most, max(1, part))
        with self._lock:
            self._enter(shared)
            self._shared[scope, unit, window] = shared

    def need(self, scope: str, amount: Money, *, unit: Unit = "usd", timeout: float = 5.0) -> bool:
        """Wait until this host has `amount` to spend in every shared budget of the scope.

        For a call that was refused: slices that others do not use are called back first, so a False
        means that the fleet's budget is spent or held, or that the store is down (fail closed).
        """
        wanted = amount_in_unit(amount, unit, "amount")
        deadline = threading.Event()
        timer = threading.Timer(timeout, deadline.set)
        timer.daemon = True
        timer.start()
        try:
            while True:
                with self._lock:
                    mine = [s for s in self._shared.values() if (s.scope, s.unit) == (scope, unit)]
                    if not mine:
                        raise NotFoundError(f"no shared budget of {scope} in {unit}: set one first")
                    if self._have(mine, wanted):
                        return True
                if deadline.wait(min(self._interval, timeout)):
                    self._ask_no_more(scope, unit)
                    return False
        finally:
            timer.cancel()

    def read(
        self, scope: str, *, unit: Unit = "usd", window: WindowName | None = None
    ) -> FleetBudget:
        """Return a shared budget as the store has it.

        Raises:
            NotFoundError: Nothing is shared under that scope.
            UnavailableError: The store cannot be reached.
        """
        with self._lock:
            for shared in self._shared.values():
                if (shared.scope, shared.unit) != (scope, unit):
                    continue
                if window not in (None, shared.window):
                    continue
                store = self._stored()
                left, limit = store.left(shared.key) or 0, store.limit(shared.key)

                def shown(units: int) -> Decimal | int:
                    return to_dollars(units) if unit == "usd" else units

                return FleetBudget(
                    scope, unit, shown(limit), shown(limit - left), shown(left),
                    {host: shown(part) for host, part in store.slices(shared.key).items()},
                )  # fmt: skip
        raise NotFoundError(f"no shared budget of {scope} in {unit}: set one first")

    def write_off(self, scope: str, host: str, *, unit: Unit = "usd") -> None:
        """Free the slices of a host that is lost for good; what it spent of them is not known.

        Only for a host that will not come back: it would spend them a second time.
        """
        with self._lock:
            for shared in self._shared.values():
                if (shared.scope, shared.unit) == (scope, unit):
                    part = self._stored().slices(shared.key).get(host, 0)
                    if part:
                        self._stored().give_back(shared.key, host, part)

    def close(self) -> None:
        """Give back what was not spent and stop. After fork: the parent's; does nothing."""
        if os.getpid() != self._pid or self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        with self._lock:
            try:
                for shared in self._shared.values():
                    self._give_back(shared, shared.leased)
            except DureError:
                pass  # the slices stay charged to this host's name
            if self._store is not None:
                self._store.close()
        self._alone.close()

    def _ask_no_more(self, scope: str, unit: str) -> None:
        with self._lock:
            for shared in self._shared.values():
                if (shared.scope, shared.unit) == (scope, unit) and self._store is not None:
                    try:
                        self._store.ask_back(shared.key, 0)
                    except UnavailableError:
                        self._store = None

    def _have(self, mine: list[_Shared], wanted: int) -> bool:
        try:
            return all([self._lease(shared, wanted) for shared in mine])  # noqa: C419 - ask for each
        except UnavailableError:
            self._store = None
            return False

    # The keeper: all below with self._lock held, but `_keep` ------------------------------------

    def _keep(self) -> None:
        while not self._end.wait(self._interval):
            with self._lock:
                try:
                    for shared in self._shared.values():
                        self._tend(shared)
                except UnavailableError:
                    self._store = None  # what is leased can be spent; more is not given
                except DureError:
                    continue  # a full disk: nothing was leased, the next look tries again

    def _stored(self) -> LeaseStore:
        if self._store is None:
            self._store = self._connect()
        return self._store

    def _window(self, shared: _Shared, now_us: int) -> tuple[int, int | None]:
        if shared.window == "lifetime":
            return 0, None
        edges = window_edges(shared.window, shared.zone, _EPOCH + now_us * _MICROSECOND)
        return edges[0], edges[1]

    def _enter(self, shared: _Shared) -> None:
        """Begin the running window of `shared` with what this host has leased in it already."""
        shared.start_us, shared.end_us = self._window(shared, _core.money.wall_us())
        store = self._stored()
        store.set_limit(shared.key, shared.limit)
        shared.leased = store.slices(shared.key).get(self._host, 0)
        self._limit_to(shared, shared.leased)
        self._lease(shared, min(shared.slice, store.left(shared.key) or 0), ask=False)

    def _limit_to(self, shared: _Shared, amount: int) -> None:
        """Let the account admit up to `amount` in this window.

        The account is told one edge: past the end it goes on in this window, and a new one begins
        only together with the slice that was leased for it.
        """
        self._account.set_budget(
            shared.scope,
            limit=amount,
            unit=shared.unit,
            window=shared.local,
            zone=shared.zone,
            edges_us=[] if shared.end_us is None else [shared.start_us],
            rolling_us=0,
            on_limit="block",
            alerts=[],
        )
        shared.leased = amount

    def _spare(self, shared: _Shared) -> tuple[int, int]:
        """Return what is used or held of this window's slices, and what is left."""
        for state in self._account.budgets(shared.scope):
            if (state["unit"], state["window"]) == (shared.unit, shared.local):
                taken = state["used"] + state["held"]
                return taken, max(0, shared.leased - taken)
        return 0, shared.leased

    def _tend(self, shared: _Shared) -> None:
        now = _core.money.wall_us()
        if shared.end_us is not None and now >= shared.end_us:
            self._give_back(shared, shared.leased)
            self._enter(shared)
        _, spare = self._spare(shared)
        wanted = self._stored().wanted(shared.key)
        if wanted and spare:
            given = self._give_back(shared, min(wanted, spare))
            self._stored().ask_back(shared.key, max(0, wanted - given))
        elif not wanted and spare < shared.slice // 2:
            self._lease(shared, shared.slice // 2 + 1, ask=False)

    def _lease(self, shared: _Shared, amount: int, *, ask: bool = True) -> bool:
        """Have `amount` to spend; lease a slice for it, or all that it takes near the limit."""
        _, spare = self._spare(shared)
        if spare >= amount:
            return True
        store, missing = self._stored(), amount - spare
        left = store.left(shared.key) or 0
        part = max(missing, min(shared.slice, left // 4))
        if left >= missing and store.lease(shared.key, self._host, part):
            self._limit_to(shared, shared.leased + part)
            if ask:
                store.ask_back(shared.key, 0)
            return True
        if ask and amount <= store.limit(shared.key):
            store.ask_back(shared.key, missing - left)
        return False

    def _give_back(self, shared: _Shared, amount: int) -> int:
        """Give back up to `amount` of what is not spent or held; return how much it was."""
        taken, spare = self._spare(shared)
        amount = min(amount, spare)
        if amount <= 0:
            return 0
        before = shared.leased
        self._limit_to(shared, before - amount)  # from here on nobody spends it
        taken, _ = self._spare(shared)
        kept = max(taken, shared.leased)  # a call may have come between
        if kept > shared.leased:
            self._limit_to(shared, kept)
        if before > kept:
            self._stored().give_back(shared.key, self._host, before - kept)
        return before - kept
