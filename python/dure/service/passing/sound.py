"""How long a sound is, so that its price is known: exactly where the file says, else at most."""

from __future__ import annotations

from decimal import Decimal

from dure.calls.replies import RawReply
from dure.calls.sound import longest
from dure.errors import InvalidArgumentError

from .prices import Free, SettledPrice

__all__ = ["longest", "read"]


def read(reply: RawReply, price: SettledPrice | Free, rate: Decimal | None) -> None:
    """Settle what the provider says it heard, where it says so and seconds have a price."""
    if isinstance(price, Free) or rate is None:
        return
    try:
        answer = reply.json()
    except InvalidArgumentError:  # subtitles: the bound stands
        return
    if not isinstance(answer, dict):
        return
    usage = answer.get("usage")
    told = usage.get("seconds") if isinstance(usage, dict) else None
    told = answer.get("duration") if told is None else told
    try:
        seconds = Decimal(str(told))
    except ArithmeticError:
        return
    if seconds.is_finite() and seconds >= 0:
        price.really(rate * seconds)
