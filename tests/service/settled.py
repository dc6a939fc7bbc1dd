"""What the ledger of a running app has of each call that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure import costs

if TYPE_CHECKING:
    from tests.service.inside import Inside


def settled(app: Inside) -> list[dict[str, Any]]:
    """Return model, scopes, tokens and pico-dollars of each settled call, in their order."""
    holds: dict[Any, Any] = {}
    found = []
    for record in costs.ledger_records(app.data):
        if record["type"] == "RESERVE":
            holds[record["id"]] = record
        elif record["type"] == "SETTLE":
            hold = holds.pop(record["id"])
            found.append({**{name: hold[name] for name in ("model", "scopes")}, **record})
    assert not holds, "every hold has ended"
    return found
