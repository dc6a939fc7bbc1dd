"""The audit log of one tenant."""

from __future__ import annotations

from collections.abc import Sequence

from dure.db.repository import ScopedRepository
from dure.db.tables import AuditLogModel

__all__ = ["AuditRepository"]


class AuditRepository(ScopedRepository[AuditLogModel]):
    """Rows, newest first."""

    table = AuditLogModel

    async def page(self, limit: int, before: int | None) -> Sequence[AuditLogModel]:
        """Return rows before a number, one more than asked for if there are more."""
        query = self.rows().order_by(AuditLogModel.seq.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(AuditLogModel.seq < before)
        return await self.all(query)
