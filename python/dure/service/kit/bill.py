"""What a call came to, as headers of its answer."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from dure.calls.replies import Facts

__all__ = ["JSON", "bill", "warnings"]

JSON = "application/json"


def warnings(scope: Scope) -> dict[str, str]:
    """Return what an answer says of a limit that is nearly used up."""
    told = scope["app"].state.budgets.warning(scope["state"]["subject"])
    return {} if told is None else {"x-usage-warning": told}


def bill(facts: Facts, scope: Scope) -> dict[str, str]:
    """Return model, cost, attempts, what the service added to the provider's time, and warnings."""
    added = max(0.0, perf_counter() - scope["state"]["arrived"] - facts.latency)
    return {
        **warnings(scope),
        "x-dure-model": facts.model,
        "x-dure-cost-usd": str(facts.cost_usd),
        "x-dure-attempts": str(facts.attempts),
        "x-dure-overhead-ms": f"{added * 1000:.3f}",
    }
