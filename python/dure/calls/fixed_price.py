"""The account of a call whose price its caller names: held before it is sent, then settled."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from dure import _core
from dure._dollars import to_dollars
from dure.calls import pico_of_dollars
from dure.errors import (
    BudgetExceededError,
    DeadlineError,
    DureError,
    InvalidModelError,
    UnavailableError,
    UnknownPriceError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from dure._core import client as core
    from dure._core.money import Account
    from dure.calls import Call

__all__ = ["FixedPrice", "unpriced", "without_price"]

_LONGEST_WAIT = 600.0  # seconds, of a call without a deadline
_AT_ONCE = 1e-6


def unpriced(method: str, path: str, model: str | None) -> UnknownPriceError:
    """Return the refusal of a call that costs money nobody can name."""
    what = f"{method} {path}" + (f" with {model}" if model else "")
    return UnknownPriceError(
        f"no price is known for {what}: name it, dure.Call(price='0.04'), or send it outside the "
        "account, dure.Call(metered=False)",
        model=model or "",
        unit="call",
    )


def without_price(call: Call) -> Call:
    """Return the limits of a call whose price is held apart: one hold, so no resend beyond it."""
    from dataclasses import replace

    return replace(call, price=None, max_cost=None, resend="proven")


class FixedPrice:
    """Holds the price of one call; leaving the block settles it.

    The ledger says that the call was sent before the block begins: a process that dies in it has
    spent the price. Good: the price. Refused by the provider (4xx), or nothing was accepted:
    nothing. Everything else may have been billed: the price, flagged `possible_spend`.

    A budget that queues lets it wait: `hold(patience)` before the block, in a thread that may.

    The call counts in the budget of every key of its endpoint: which one it goes out with is
    chosen later.

    Raises:
        BudgetExceededError: the price does not fit a budget, or exceeds the call's `max_cost`.
        StorageError: the ledger cannot be written; nothing is sent.
    """

    def __init__(
        self,
        account: Account,
        call: Call,
        model: str | None,
        key_ids: Sequence[str] = (),
        *,
        pico: int | None = None,
    ) -> None:
        if pico is None:
            pico = pico_of_dollars(call.price, argument="price")
        assert pico is not None
        self.pico = pico
        self._account = account
        self._model = canonical(model) if model else ""
        self._service = call.service or ""
        self._key_ids = [key for key in key_ids if key]
        self._lock = threading.Lock()  # guards the two below
        self._hold: tuple[int, int] | None = None
        self._left = False
        self._stop = _core.money.Stop()
        self.patience = call.deadline or _LONGEST_WAIT
        self._scopes = [
            *call.scopes(),
            *([f"model:{self._model}"] if self._model else []),
            *(f"key:{key}" for key in self._key_ids),
        ]
        most = pico_of_dollars(call.max_cost, argument="max_cost")
        if most is not None and pico > most:
            raise BudgetExceededError(
                f"the call costs ${to_dollars(pico):f}, its max_cost is ${call.max_cost}",
                scope="call",
                left_units=most,
            )

    def hold(self, wait: float = 0.0) -> bool:
        """Hold the price, in the queue of a budget that queues for at most `wait` seconds.

        Returns:
            Whether it is held; without a wait False means: ask again, with one.

        Raises:
            BudgetExceededError: it does not fit.
            StorageError: the ledger cannot be written.
        """
        try:
            held = self._account.reserve(
                self._scopes,
                input_pico=self.pico,
                input_tokens=0,
                output_rate=0,
                max_output=0,
                model=self._model,
                service=self._service,
                key_id=self._key_ids[0] if len(self._key_ids) == 1 else "",
                wait=wait,
                stop=self._stop,
            )
        except BudgetExceededError as error:
            if wait == 0.0 and getattr(error, "on_limit", "") == "queue":
                return False
            raise
        with self._lock:
            if not self._left:
                self._hold = held
                return True
        self._account.void_hold(held)  # who asked has left meanwhile
        return False

    def leave(self) -> None:
        """Give up a wait that another thread is in: nothing of it stays held."""
        self._stop.set()
        with self._lock:
            self._left, held, self._hold = True, self._hold, None
        if held is not None:
            self._account.void_hold(held)

    def __enter__(self) -> FixedPrice:
        account = self._account
        if self._hold is None:
            self.hold()
        if self._hold is None:  # a budget that queues, and nobody waited
            self.hold(_AT_ONCE)
        assert self._hold is not None
        try:
            account.sent(self._hold)
        except BaseException:
            with suppress(DureError):  # the caller's work does not begin
                account.settle(self._hold, pico=0, input_tokens=0, output_tokens=0)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        account, hold = self._account, self._hold
        assert hold is not None
        if error is None:
            self._settle(account, hold)
        elif was_refused(error) or not was_sent(error):
            account.settle(hold, pico=0, input_tokens=0, output_tokens=0)
        else:
            account.settle_possible_spend(hold)

    def heard(self, reply: core.Reply) -> None:
        """Take the answer, inside the block: its price is known without it."""

    def _settle(self, account: Account, hold: tuple[int, int]) -> None:
        account.settle(hold, pico=self.pico, input_tokens=0, output_tokens=0)


def canonical(model: str) -> str:
    """Return the id of any spelling, by which budgets of models go; an unknown one as it is."""
    try:
        return _core.catalog.canonical(model)
    except InvalidModelError:
        return model


def was_sent(error: BaseException) -> bool:
    """Whether a byte may have reached the provider."""
    if isinstance(error, DeadlineError):
        return getattr(error, "stage", "") not in {"queue", "connect"}
    if isinstance(error, UnavailableError):
        return False
    return not isinstance(error, DureError) or status_of(error) is not None or is_upstream(error)


def was_refused(error: BaseException) -> bool:
    """Whether the provider said no, so that nothing is billed."""
    status = status_of(error)
    return status is not None and 400 <= status < 500


def status_of(error: BaseException) -> int | None:
    """Return the provider's status, if it answered."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status else None


def is_upstream(error: DureError) -> bool:
    """Whether the error tells what the provider did, not what was refused here."""
    from dure.errors import TruncatedStreamError, UpstreamError

    return isinstance(error, UpstreamError | TruncatedStreamError)
