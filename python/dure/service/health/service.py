"""Whether everything is there that a request needs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sqlalchemy import text

from dure.errors import DureError
from dure.service.kit.state import State

from .schemas import Readiness

__all__ = ["readiness"]


async def readiness(state: State) -> Readiness:
    """Ask the database, and look whether the ledger's folder takes a file."""
    database, ledger = await asyncio.gather(_database(state), _ledger(state.data))
    good = database == ledger == "ok" and not state.drain.begun
    status = "ready" if good else "draining" if state.drain.begun else "not ready"
    return Readiness(status=status, database=database, ledger=ledger)


async def _database(state: State) -> str:
    try:
        async with asyncio.timeout(2.0), state.database.read() as work:
            await work.execute(text("SELECT 1"))
    except TimeoutError:
        return "does not answer"
    except DureError:
        return "cannot be reached"
    return "ok"


async def _ledger(data: Path) -> str:
    folder = data / "ledger"
    writable = await asyncio.to_thread(os.access, folder if folder.is_dir() else data, os.W_OK)
    return "ok" if writable else "cannot be written"
