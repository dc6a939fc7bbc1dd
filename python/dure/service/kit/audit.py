"""The audit log: append-only, each row sealed with the one before it, one writer per tenant."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Table, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import AuditCheckpointModel, AuditLogModel, OrgModel
from dure.db.upserts import upserts
from dure.errors import NotFoundError, StoreCorruptError
from dure.service.kit.clock import microseconds
from dure.service.kit.secret import Secret
from dure.service.kit.state import State

__all__ = ["AuditReport", "prune", "record", "tell", "verify"]

_FIRST = "0" * 64
_MANY = 1000


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of a tenant's chain found."""

    ok: bool
    rows: int
    head: str
    first_difference: int | None


class _Doer(Protocol):
    """Who does something in a tenant."""

    @property
    def org_id(self) -> str: ...
    @property
    def actor(self) -> str: ...


async def tell(
    work: AsyncSession,
    state: State,
    who: _Doer,
    action: str,
    target: str,
    /,
    **detail: object,
) -> None:
    """Write a row about what somebody does now in their own tenant.

    Raises:
        NotFoundError: there is no such tenant.
    """
    await record(
        work,
        state.secret,
        state.clock.now(),
        org_id=who.org_id,
        actor=who.actor,
        action=action,
        target=target,
        **detail,
    )


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
    place = await _begin(work, secret, org_id) if last is None else (last.seq, last.mac)
    row = AuditLogModel(
        org_id=org_id,
        seq=place[0] + 1,
        at=now,
        actor=actor,
        action=action,
        target=target,
        detail=detail,
        mac="",
    )
    row.mac = _seal(secret, place[1], row)
    work.add(row)
    await work.flush()


async def verify(work: AsyncSession, secret: Secret, org_id: str) -> AuditReport:
    """Check a tenant's chain from its first row, or what was taken off before it, to its last."""
    try:
        seq, mac = await _begin(work, secret, org_id)
    except StoreCorruptError:
        return AuditReport(False, 0, _FIRST, 0)
    count = 0
    while rows := await _after(work, org_id, seq):
        for row in rows:
            seq, count = seq + 1, count + 1
            if row.seq != seq or not hmac.compare_digest(row.mac, _seal(secret, mac, row)):
                return AuditReport(False, count, mac, row.seq)
            mac = row.mac
        work.expunge_all()
    return AuditReport(True, count, mac, None)


async def prune(
    work: AsyncSession, secret: Secret, now: datetime, org_id: str, before: datetime
) -> int:
    """Take off a tenant's rows before a moment, but for the newest; return how many.

    What the chain was until there is sealed, so it can still be checked.

    Raises:
        StoreCorruptError: the chain is not whole: nothing is taken off it.
    """
    if not (await verify(work, secret, org_id)).ok:
        raise StoreCorruptError(
            f"the audit log of {org_id} was changed: nothing is taken off it (dure audit verify)"
        )
    mine = AuditLogModel.org_id == org_id
    newest = select(func.max(AuditLogModel.seq)).where(mine).scalar_subquery()
    old = (mine, AuditLogModel.at < before, AuditLogModel.seq < newest)
    upto = select(AuditLogModel).where(*old).order_by(AuditLogModel.seq.desc()).limit(1)
    last = await work.scalar(upto)
    if last is None:
        return 0
    row = {"org_id": org_id, "seq": last.seq, "mac": last.mac, "at": now}
    row["seal"] = _checkpoint(secret, org_id, last.seq, last.mac)
    table: Table = AuditCheckpointModel.__table__  # type: ignore[assignment]
    await upserts(work, table, [row], set_=("seq", "mac", "at", "seal"))
    gone = await work.execute(delete(AuditLogModel).where(mine, AuditLogModel.seq <= last.seq))
    return int(gone.rowcount)  # type: ignore[attr-defined]


async def _begin(work: AsyncSession, secret: Secret, org_id: str) -> tuple[int, str]:
    """Return number and seal that the first row follows.

    Raises:
        StoreCorruptError: what is said of them was changed.
    """
    found = await work.get(AuditCheckpointModel, org_id)
    if found is None:
        return 0, _FIRST
    seal = _checkpoint(secret, org_id, found.seq, found.mac)
    if not hmac.compare_digest(seal, found.seal):
        raise StoreCorruptError(f"the checkpoint of the audit log of {org_id} was changed")
    return found.seq, found.mac


def _checkpoint(secret: Secret, org_id: str, seq: int, mac: str) -> str:
    text = json.dumps([org_id, seq, mac], separators=(",", ":"))
    return hmac.digest(secret.key("audit-checkpoint"), text.encode(), "sha256").hex()


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
