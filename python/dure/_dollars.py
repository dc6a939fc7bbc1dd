"""Money as people read it: one form of dollars everywhere."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["Dollars", "to_dollars"]


class Dollars(Decimal):
    """A Decimal that is printed in plain digits: `0.0000001`, never `1E-7`.

    Arithmetic gives ordinary Decimals. Immutable.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return Decimal.__format__(self, "f")

    def __repr__(self) -> str:
        return f"Decimal('{self}')"

    def __format__(self, spec: str, /) -> str:  # type: ignore[override]
        return super().__format__(spec) if spec else str(self)


def to_dollars(pico: int) -> Dollars:
    """Return pico-dollars (1e-12 $) as exact dollars, without trailing zeros."""
    digits = f"{abs(pico):013d}"  # as text: no context rounds it, and no zeros trail
    fraction = digits[-12:].rstrip("0")
    text = digits[:-12] + (f".{fraction}" if fraction else "")
    return Dollars(f"-{text}" if pico < 0 else text)
