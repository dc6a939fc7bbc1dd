"""What a call came to, as headers of its answer."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from dure.calls.replies import Facts

__all__ = ["JSON", "bill"]

JSON = "application/json"


def bill(facts: Facts, scope: Scope) -> dict[str, str]:
    """Return model, cost, attempts, and what the service added to the provider's time."""
    added = max(0.0, perf_counter() - scope["state"]["arrived"] - facts.latency)
    return {
        "x-dure-model": facts.model,
        "x-dure-cost-usd": f"{facts.cost_usd:f}",
        "x-dure-attempts": str(facts.attempts),
        "x-dure-overhead-ms": f"{added * 1000:.3f}",
    }
