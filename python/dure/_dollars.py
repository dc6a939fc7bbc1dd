"""Money as people read it: one form of dollars everywhere."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["to_dollars"]


def to_dollars(pico: int) -> Decimal:
    """Return pico-dollars (1e-12 $) as exact dollars, without trailing zeros."""
    digits = f"{abs(pico):013d}"  # as text: no context rounds it, and no zeros trail
    fraction = digits[-12:].rstrip("0")
    text = digits[:-12] + (f".{fraction}" if fraction else "")
    return Decimal(f"-{text}" if pico < 0 else text)
