"""What a call came to, as headers of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dure.calls.replies import Facts

__all__ = ["bill"]


def bill(facts: Facts) -> dict[str, str]:
    """Return model, cost in dollars and attempts of a call that has ended."""
    return {
        "x-dure-model": facts.model,
        "x-dure-cost-usd": f"{facts.cost_usd:f}",
        "x-dure-attempts": str(facts.attempts),
    }
