"""The audit log: append-only, each row sealed with the one before it, one writer per tenant."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import AuditLogModel, OrgModel
from dure.errors import NotFoundError
from dure.service.kit.clock import microseconds
from dure.service.kit.secret import Secret

__all__ = ["AuditReport", "record", "verify"]

_FIRST = "0" * 64
_MANY = 1000


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of a tenant's chain found."""

    ok: bool
    rows: int
    head: str
    first_difference: int | None


async def record(
    work: AsyncSession,
    secret: Secret,
    now: datetime,
    *,
    org_id: str,
    actor: str,
    action: str,
    target: str,
    **detail: Any,  # noqa: ANN401 - plain values
) -> None:
    """Write a row in the unit of work of what it tells: both are kept, or neither.

    Raises:
        NotFoundError: there is no such tenant.
    """
    locked = select(OrgModel.id).where(OrgModel.id == org_id).with_for_update()
    if await work.scalar(locked) is None:
        raise NotFoundError("no such organisation")
    await work.flush()
    last = await work.scalar(
        select(AuditLogModel)
        .where(AuditLogModel.org_id == org_id)
        .order_by(AuditLogModel.seq.desc())
        .limit(1)
    )
    row = AuditLogModel(
        org_id=org_id,
        seq=1 if last is None else last.seq + 1,
        at=now,
        actor=actor,
        action=action,
        target=target,
        detail=detail,
        mac="",
    )
    row.mac = _seal(secret, _FIRST if last is None else last.mac, row)
    work.add(row)
    await work.flush()


async def verify(work: AsyncSession, secret: Secret, org_id: str) -> AuditReport:
    """Check a tenant's chain from its first row to its last."""
    mac, count = _FIRST, 0
    while rows := await _after(work, org_id, count):
        for row in rows:
            count += 1
            if row.seq != count or not hmac.compare_digest(row.mac, _seal(secret, mac, row)):
                return AuditReport(False, count, mac, row.seq)
            mac = row.mac
        work.expunge_all()
    return AuditReport(True, count, mac, None)


async def _after(work: AsyncSession, org_id: str, seq: int) -> Sequence[AuditLogModel]:
    found = await work.scalars(
        select(AuditLogModel)
        .where(AuditLogModel.org_id == org_id, AuditLogModel.seq > seq)
        .order_by(AuditLogModel.seq)
        .limit(_MANY)
    )
    return found.all()


def _seal(secret: Secret, before: str, row: AuditLogModel) -> str:
    facts = [
        row.org_id,
        row.seq,
        microseconds(row.at),
        row.actor,
        row.action,
        row.target,
        row.detail,
    ]
    text = before + json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hmac.digest(secret.key("audit"), text.encode(), "sha256").hex()
