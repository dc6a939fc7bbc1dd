"""Budgets that several machines share: each host leases slices and spends them by its own account.

The host's account admits and settles as ever, in microseconds; its limit is what the host has
leased. A store only leases and takes back, on the keeper's thread: a call that fits the slice waits
for no network. One that does not waits in the account's queue while the keeper leases it room and
calls back what other hosts do not use; only when there is none it is refused. What all hosts have
leased never exceeds the budget, so neither does what they spend.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from dure import _core
from dure._dollars import to_dollars
from dure._sync.closing import Closing
from dure._windows import OF_FLEET, window_edges
from dure.costs import POLICIES, amount_in_unit, one_of, to_us
from dure.errors import DureError, InvalidArgumentError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from dure.costs import Alert, Money, Unit, WindowName

__all__ = ["Fleet", "FleetBudget", "FleetPolicy", "LeaseStore"]

FleetPolicy = Literal["block", "queue", "shrink", "warn", "approval"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RECALL = 1.0  # seconds in which the other hosts give back what they do not use
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
        """Return the budget's limit, without grants."""

    def grant(self, key: str, amount: int, until_us: int) -> None:
        """Let `amount` more be leased until then."""

    def granted(self, key: str, now_us: int) -> int:
        """Return what is granted, after those grants that have ended were taken back."""

    def report(self, key: str, host: str, used: int) -> int:
        """Note what the host has used; return what all have."""

    def tell_once(self, key: str, percent: int) -> bool:
        """Whether the asker is the first, of all hosts, to tell this alert."""

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
    granted: Decimal | int = 0


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
    on_limit: FleetPolicy = "block"  # of calls that do not fit once there is no room anywhere
    alerts: tuple[int, ...] = ()
    granted: int = 0
    reported: int = -1  # what of this host's use the store knows
    lost: bool = False  # the store is: nobody is admitted beyond what is leased, whatever policy
    open: bool = True  # a call may wait for room; else there was none anywhere a moment ago
    since: float | None = None  # when calls began to wait in vain, or were refused
    asked: bool = False  # this host asked the others for theirs

    @property
    def queues(self) -> bool:
        """Whether who does not fit waits for as long as it may."""
        return self.on_limit == "queue"

    @property
    def last_resort(self) -> str:
        """The account's policy for what the whole fleet could never admit, or no longer."""
        return "block" if self.queues else self.on_limit

    @property
    def key(self) -> str:
        return f"{self.scope}|{self.unit}|{self.window}|{self.start_us}"

    @property
    def local(self) -> str:
        """The name of the account's window: no calendar window, whose edges would be renewed."""
        return f"fleet {self.window}"

    @property
    def whole(self) -> str:
        """The window of the budget that knows the limit of the whole fleet."""
        return f"{self.window}{OF_FLEET}"

    @property
    def edges_us(self) -> list[int]:
        """One edge: the account goes on in this window until the next slice is leased."""
        return [] if self.end_us is None else [self.start_us]


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
        self._alerts: list[Alert] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._recall = max(_RECALL, 5 * interval)
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
        on_limit: FleetPolicy = "block",
        alerts: Sequence[int] = (80, 90, 100),
    ) -> None:
        """Share a budget of `limit` among all hosts that set it; the last limit told is in force.

        Args:
            scope: As in `client.budgets.set`.
            limit: Of the whole fleet.
            window: `day`, `week`, `month` or `lifetime`.
            unit: `usd`, `tokens` or `requests`.
            zone: IANA zone of calendar windows.
            slice: What is leased at a time; None: a hundredth of the limit. Near the limit less,
                and more for a call that needs more.
            on_limit: `block`: a call that does not fit waits while other hosts are asked for what
                they do not use (a second), then it is refused (429). `queue`: it waits for room
                until its deadline. `shrink`, `warn`, `approval`: as in `client.budgets.set`, after
                the same second. Larger than the limit of the whole fleet: at once.
            alerts: Percentages of the limit at which `alerts()` of one host tells it, once a
                window, by what all hosts have used.

        Raises:
            InvalidArgumentError: Bad scope, zone, limit, window or policy.
            UnavailableError: The store cannot be reached.
        """
        one_of(on_limit, POLICIES, "on_limit")
        most = amount_in_unit(limit, unit, "limit")
        part = most // 100 if slice is None else amount_in_unit(slice, unit, "slice")
        shared = _Shared(
            scope, unit, window, zone, most, max(1, part), on_limit=on_limit, alerts=tuple(alerts)
        )
        with self._lock, self._told_when_lost():
            self._enter(shared)
            self._shared[scope, unit, window] = shared

    def need(self, scope: str, amount: Money, *, unit: Unit = "usd", timeout: float = 5.0) -> bool:
        """Wait until this host has `amount` to spend in every shared budget of the scope.

        Calls of a client do so by themselves. Slices that others do not use are called back first,
        so a False means that the fleet's budget is spent or held, or that the store is down (fail
        closed).
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
        with self._lock, self._told_when_lost():
            for shared in self._shared.values():
                if (shared.scope, shared.unit) != (scope, unit):
                    continue
                if window not in (None, shared.window):
                    continue
                store = self._stored()
                left, limit = store.left(shared.key) or 0, store.limit(shared.key)
                granted = store.granted(shared.key, _core.money.wall_us())

                def shown(units: int) -> Decimal | int:
                    return to_dollars(units) if unit == "usd" else units

                return FleetBudget(
                    scope, unit, shown(limit), shown(limit + granted - left), shown(left),
                    {host: shown(part) for host, part in store.slices(shared.key).items()},
                    shown(granted),
                )  # fmt: skip
        raise NotFoundError(f"no shared budget of {scope} in {unit}: set one first")

    def grant(self, scope: str, *, amount: Money, until: datetime, unit: Unit = "usd") -> None:
        """Raise the fleet's limit of that scope by `amount` until `until`, for every host.

        Raises:
            NotFoundError: Nothing is shared under that scope.
            UnavailableError: The store cannot be reached.
        """
        more, until_us = amount_in_unit(amount, unit, "amount"), to_us(until, "until")
        if until_us <= _core.money.wall_us():
            raise InvalidArgumentError("until must lie ahead", argument="until")
        with self._lock, self._told_when_lost():
            mine = [s for s in self._shared.values() if (s.scope, s.unit) == (scope, unit)]
            if not mine:
                raise NotFoundError(f"no shared budget of {scope} in {unit}: set one first")
            for shared in mine:
                self._stored().grant(shared.key, more, until_us)
                self._look_at_limit(shared)

    def alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that this host's keeper was the first to see, since the last time.

        Each percentage of a budget is told once a window among all hosts.
        """
        with self._lock:
            told, self._alerts = tuple(self._alerts), []
        return told

    def write_off(self, scope: str, host: str, *, unit: Unit = "usd") -> None:
        """Free the slices of a host that is lost for good; what it spent of them is not known.

        Only for a host that will not come back: it would spend them a second time.
        """
        with self._lock, self._told_when_lost():
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
            for _ in range(2):  # once more with a new connection, which tells what is leased
                try:
                    for shared in self._shared.values():
                        self._give_back(shared)
                        self._limit_to(shared, shared.leased, open=False)  # nobody leases more
                    break
                except UnavailableError:
                    self._lost()
                except DureError:
                    break
            # else: the slices stay charged to this host's name
            self._lost()
        self._alone.close()

    def _ask_no_more(self, scope: str, unit: str) -> None:
        with self._lock:
            for shared in self._shared.values():
                if (shared.scope, shared.unit) == (scope, unit) and self._store is not None:
                    try:
                        self._store.ask_back(shared.key, 0)
                    except UnavailableError:
                        self._lost()

    def _have(self, mine: list[_Shared], wanted: int) -> bool:
        try:
            return all([self._lease(shared, wanted) for shared in mine])  # noqa: C419 - ask for each
        except UnavailableError:
            self._lost()
            return False

    # The keeper: all below with self._lock held, but `_keep` ------------------------------------

    def _keep(self) -> None:
        while not self._end.wait(self._interval):
            with self._lock:
                try:
                    for shared in self._shared.values():
                        self._tend(shared)
                except UnavailableError:
                    self._lost()  # what is leased can be spent; more is not given
                    self._refuse_waiters()
                except DureError:
                    continue  # a full disk: nothing was leased, the next look tries again

    def _lost(self) -> None:
        """Forget the connection: whether its last request was carried out is not known."""
        store, self._store = self._store, None
        if store is not None:
            with suppress(Exception):
                store.close()

    @contextmanager
    def _told_when_lost(self) -> Iterator[None]:
        try:
            yield
        except UnavailableError:
            self._lost()
            raise

    def _stored(self) -> LeaseStore:
        if self._store is None:
            self._store = self._connect()
            for shared in self._shared.values():
                self._take_up(shared, self._store)
        return self._store

    def _take_up(self, shared: _Shared, store: LeaseStore) -> None:
        """Have what the store says this host has leased: the answer to a lease may be lost.

        The keeper alone leases under the host's name, so what stands there is ours.
        """
        leased = store.slices(shared.key).get(self._host, 0)
        if leased != shared.leased:
            self._limit_to(shared, leased)

    def _window(self, shared: _Shared, now_us: int) -> tuple[int, int | None]:
        if shared.window == "lifetime":
            return 0, None
        edges = window_edges(shared.window, shared.zone, _EPOCH + now_us * _MICROSECOND)
        return edges[0], edges[1]

    def _enter(self, shared: _Shared) -> None:
        """Begin the running window of `shared` with what this host has leased in it already."""
        store = self._stored()
        shared.start_us, shared.end_us = self._window(shared, _core.money.wall_us())
        shared.granted, shared.reported = 0, -1
        store.set_limit(shared.key, shared.limit)
        self._limit_whole(shared)
        self._limit_to(shared, store.slices(shared.key).get(self._host, 0))
        self._lease(shared, min(shared.slice, store.left(shared.key) or 0), ask=False)

    def _limit_to(self, shared: _Shared, amount: int, *, open: bool | None = None) -> None:
        """Let the account admit up to `amount` in this window.

        The account is told one edge: past the end it goes on in this window, and a new one begins
        only together with the slice that was leased for it.
        """
        shared.open = shared.open if open is None else open
        self._set(shared, shared.local, amount, "queue" if shared.open else self._refusal(shared))
        shared.leased = amount

    @staticmethod
    def _refusal(shared: _Shared) -> str:
        return "block" if shared.lost else shared.last_resort

    def _limit_whole(self, shared: _Shared) -> None:
        """Let the account refuse at once what the whole fleet could never admit."""
        self._set(shared, shared.whole, shared.limit + shared.granted, shared.last_resort)

    def _look_at_limit(self, shared: _Shared) -> None:
        """Have the limit and the grants that the store knows: another host may have set them."""
        store = self._stored()
        granted = store.granted(shared.key, _core.money.wall_us())
        limit = store.limit(shared.key)
        if (limit, granted) != (shared.limit, shared.granted):
            shared.limit, shared.granted = limit, granted
            self._limit_whole(shared)

    def _look_at_use(self, shared: _Shared) -> None:
        """Tell the store what was used here, and whoever asks what all hosts together reached."""
        if not shared.alerts:
            return
        store, used = self._stored(), 0
        for state in self._account.budgets(shared.scope):
            if (state["unit"], state["window"]) == (shared.unit, shared.local):
                used = state["used"]
        if used == shared.reported:
            return
        of_all = store.report(shared.key, self._host, used)
        shared.reported = used
        limit = shared.limit + shared.granted
        for percent in shared.alerts:
            if (
                limit > 0
                and of_all * 100 >= limit * percent
                and store.tell_once(shared.key, percent)
            ):
                self._alerts.append(self._alert(shared, percent, of_all, limit))

    @staticmethod
    def _alert(shared: _Shared, percent: int, used: int, limit: int) -> Alert:
        from dure.costs import Alert

        usd = shared.unit == "usd"
        return Alert(
            shared.scope,
            shared.unit,
            shared.window,
            percent,
            to_dollars(used) if usd else used,
            to_dollars(limit) if usd else limit,
        )

    def _set(self, shared: _Shared, window: str, limit: int, on_limit: str) -> None:
        self._account.set_budget(
            shared.scope,
            limit=limit,
            unit=shared.unit,
            window=window,
            zone=shared.zone,
            edges_us=shared.edges_us,
            rolling_us=0,
            on_limit=on_limit,
            alerts=[],
        )

    def _state(self, shared: _Shared) -> tuple[int, int, list[int]]:
        """Return what is used or held of this window's slices, what is left of them, who waits.

        What is left is below zero if a call cost more than was held for it.
        """
        for state in self._account.budgets(shared.scope):
            if (state["unit"], state["window"]) == (shared.unit, shared.local):
                taken = state["used"] + state["held"]
                return taken, shared.leased - taken, state["waiting"]
        return 0, shared.leased, []

    def _tend(self, shared: _Shared) -> None:
        now = _core.money.wall_us()
        if shared.end_us is not None and now >= shared.end_us:
            self._give_back(shared)
            self._enter(shared)
        store = self._stored()
        shared.lost = False
        self._look_at_limit(shared)
        self._look_at_use(shared)
        _, spare, waiting = self._state(shared)
        wanted = store.wanted(shared.key)
        if waiting:
            self._serve(shared, waiting)
            return
        if shared.asked:  # whoever waited has gone
            store.ask_back(shared.key, 0)
            shared.asked, wanted = False, 0
        self._reopen(shared)
        if wanted and spare > 0:
            self._give_back(shared, wanted)  # who asked for it says when that is enough
        elif not wanted and spare < shared.slice // 2:
            left = store.left(shared.key) or 0
            self._lease(shared, min(shared.slice // 2 + 1, spare + left), ask=False)

    def _serve(self, shared: _Shared, waiting: list[int]) -> None:
        """Lease room for the calls that wait, for the first at least, or call it back.

        A host that cannot be served gives back what it has: of several that wait the store then has
        enough for one.
        """
        if not shared.open and shared.on_limit == "shrink":
            return  # what is left is here, for its next try
        store = self._stored()
        first, all_of_them = waiting[0], sum(waiting)
        _, spare, _ = self._state(shared)
        left = store.left(shared.key) or 0
        part = min(left, max(all_of_them - spare, min(shared.slice, left // 4)))
        if spare + left >= first and part > 0 and store.lease(shared.key, self._host, part):
            self._limit_to(shared, shared.leased + part)
            store.ask_back(shared.key, 0)
            shared.since, shared.asked = None, False
            return
        if spare >= first:
            return  # admitted at its next try
        given = self._give_back(shared)
        store.ask_back(shared.key, max(1, first - left - given))
        shared.asked = True
        self._waited_in_vain(shared)

    def _waited_in_vain(self, shared: _Shared) -> None:
        """Refuse those that wait once the others had their time to give back."""
        now = time.monotonic()
        if shared.since is None:
            shared.since = now
        elif not shared.queues and now - shared.since >= self._recall:
            self._take_the_rest(shared)
            self._limit_to(shared, shared.leased, open=False)
            shared.since = now

    def _take_the_rest(self, shared: _Shared) -> None:
        """Lease whatever is left: an answer that may be shrunk is shrunk to that."""
        if shared.on_limit != "shrink" or self._store is None:
            return
        left = self._store.left(shared.key) or 0
        if left > 0 and self._store.lease(shared.key, self._host, left):
            self._limit_to(shared, shared.leased + left)

    def _reopen(self, shared: _Shared) -> None:
        """Let calls wait again some time after there was no room: there may be by now."""
        if shared.open:
            shared.since = None
        elif shared.since is None or time.monotonic() - shared.since >= self._recall:
            self._limit_to(shared, shared.leased, open=True)
            shared.since = None

    def _refuse_waiters(self) -> None:
        """The store is down: nobody waits for long for what cannot come (fail closed)."""
        with suppress(DureError):
            for shared in self._shared.values():
                shared.lost = True
                if shared.open and self._state(shared)[2]:
                    self._waited_in_vain(shared)

    def _lease(self, shared: _Shared, amount: int, *, ask: bool = True) -> bool:
        """Have `amount` to spend; lease a slice for it, or all that it takes near the limit."""
        if self._state(shared)[1] >= amount:
            return True
        store = self._stored()  # a new connection tells what is leased
        missing = amount - self._state(shared)[1]
        if missing <= 0:
            return True
        left = store.left(shared.key) or 0
        part = min(left, max(missing, min(shared.slice, left // 4)))
        if left >= missing and store.lease(shared.key, self._host, part):
            self._limit_to(shared, shared.leased + part, open=True)
            if ask:
                store.ask_back(shared.key, 0)
            return True
        if ask and amount <= shared.limit + shared.granted:
            store.ask_back(shared.key, missing - left)
        return False

    def _give_back(self, shared: _Shared, most: int | None = None) -> int:
        """Give back what is not spent or held, up to `most`; return how much it was."""
        store = self._stored()  # first: a new connection tells what is leased
        _, spare, _ = self._state(shared)
        amount = spare if most is None else min(most, spare)
        if amount <= 0:
            return 0
        before = shared.leased
        self._limit_to(shared, before - amount)  # from here on nobody spends it
        taken, _, _ = self._state(shared)
        kept = max(taken, shared.leased)  # a call may have come between
        if kept > shared.leased:
            self._limit_to(shared, kept)
        if before > kept:
            store.give_back(shared.key, self._host, before - kept)
        return before - kept
