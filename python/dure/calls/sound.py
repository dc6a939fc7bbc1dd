"""How long a sound is: exactly where the file says so, else the most that it can be."""

from __future__ import annotations

import wave
from decimal import ROUND_CEILING, Decimal
from typing import BinaryIO

__all__ = ["known_length", "longest"]

_SLOWEST = 750  # bytes a second: 6 kbit/s, below which no codec that providers take goes
_MILLISECOND = Decimal("0.001")


def known_length(file: BinaryIO, size: int) -> Decimal | None:
    """Return the seconds of a WAV, rounded up to milliseconds; None: it is none."""
    file.seek(0)
    try:
        with wave.open(file, "rb") as known:
            frame = known.getnchannels() * known.getsampwidth()
            frames = min(known.getnframes(), size // frame) if frame else 0
            if frames and known.getframerate():
                seconds = Decimal(frames) / known.getframerate()
                return seconds.quantize(_MILLISECOND, ROUND_CEILING)
    except (wave.Error, EOFError, ValueError):  # another kind, or damaged
        pass
    return None


def longest(file: BinaryIO, size: int) -> Decimal:
    """Return the seconds of a sound: a WAV's own, else the most that so many bytes can be."""
    known = known_length(file, size)
    if known is not None:
        return known
    return (Decimal(size) / _SLOWEST).quantize(_MILLISECOND, ROUND_CEILING)
