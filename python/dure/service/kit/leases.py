"""Who does a periodic job now: one process of the whole fleet."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import LeaseModel
from dure.db.upserts import upserts

__all__ = ["held"]


async def held(work: AsyncSession, name: str, holder: str, now: datetime, keep: timedelta) -> bool:
    """Take or renew a lease; return whether it is the holder's until `now + keep`."""
    row = {"name": name, "holder": "", "until": now}
    await upserts(work, LeaseModel.__table__, [row])  # type: ignore[arg-type]
    changed = await work.execute(
        update(LeaseModel)
        .where(
            LeaseModel.name == name,
            (LeaseModel.holder == holder) | (LeaseModel.until <= now),
        )
        .values(holder=holder, until=now + keep)
        .returning(LeaseModel.name)
    )
    return changed.first() is not None
