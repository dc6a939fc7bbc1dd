"""`dure.aio` carries the coroutines of all rooms under their bare names."""

from __future__ import annotations

import dure
import dure.aio as llm


async def test_bare_names() -> None:
    assert {name: getattr(llm, name) for name in ("ask", "ingest", "verify_ledger")} == {
        "ask": dure.aask,
        "ingest": dure.aingest,
        "verify_ledger": dure.averify_ledger,
    }
    assert await llm.count("many hands") == dure.tokens.count("many hands")
    assert (await llm.count_batch(["many", "hands"])).tolist() == [1, 1]
