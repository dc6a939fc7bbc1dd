"""How long a sound is, so that its price is known: exactly where the file says, else at most."""

from __future__ import annotations

import wave
from decimal import ROUND_CEILING, Decimal
from typing import BinaryIO

from dure.calls.replies import RawReply
from dure.errors import InvalidArgumentError

from .prices import Free, SettledPrice

__all__ = ["longest", "read"]

_SLOWEST = 750  # bytes a second: 6 kbit/s, below which no codec that providers take goes


def longest(file: BinaryIO, size: int) -> Decimal:
    """Return the seconds of a sound: a WAV's own, else the most that so many bytes can be."""
    seconds = Decimal(size) / _SLOWEST
    file.seek(0)
    try:
        with wave.open(file, "rb") as known:
            frame = known.getnchannels() * known.getsampwidth()
            frames = min(known.getnframes(), size // frame) if frame else 0
            if frames and known.getframerate():
                seconds = Decimal(frames) / known.getframerate()
    except (wave.Error, EOFError, ValueError):  # another kind, or damaged: the bound holds
        pass
    return seconds.quantize(Decimal("0.001"), ROUND_CEILING)


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
