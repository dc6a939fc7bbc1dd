"""Once an hour: heads of the chains go to the log, what is too old is taken off."""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta

from sqlalchemy import select

from dure.db.tables import OrgModel
from dure.errors import StoreCorruptError
from dure.service.kit import audit, leases
from dure.service.kit.state import State

__all__ = ["Keeper"]

_logger = logging.getLogger("dure.audit")
_LEASE = timedelta(minutes=50)


class Keeper:
    """Keeps the audit logs of all tenants; one process of the fleet at a time."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._name = secrets.token_hex(8)

    async def work(self) -> None:
        """Tell every head, so that rows taken off an end are missed; take off what is too old.

        Raises:
            StorageError: the database cannot be reached.
        """
        now, days = self._state.clock.now(), self._state.settings.audit_days
        async with self._state.database.write() as work:
            if not await leases.held(work, "audit-keeper", self._name, now, _LEASE):
                return
            orgs = list(await work.scalars(select(OrgModel.id).order_by(OrgModel.id)))
        for org_id in orgs:
            try:
                if days is not None:
                    before = now - timedelta(days=days)
                    async with self._state.database.write() as work:
                        await audit.prune(work, self._state.secret, now, org_id, before)
                async with self._state.database.read() as work:
                    report = await audit.verify(work, self._state.secret, org_id)
            except StoreCorruptError as wrong:
                _logger.error("audit log changed", extra={"org": org_id, "reason": str(wrong)})
                continue
            facts = {"org": org_id, "rows": report.rows, "head": report.head}
            if report.ok:
                _logger.info("audit head", extra=facts)
            else:
                _logger.error("audit log changed", extra=facts)
