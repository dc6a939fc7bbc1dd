"""The audit log: `/api/admin/audit`."""

from __future__ import annotations

from fastapi import APIRouter, Request

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.kit import audit
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from .repository import AuditRepository
from .schemas import AuditList, AuditRow, AuditVerified

router = APIRouter(prefix="/api/v1/admin/audit", tags=["audit"], route_class=PolicyRoute)


@router.get("")
@requires(role="admin", scope="audit:read", owner="org")
async def list_audit(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> AuditList:
    """List what was done in the organisation, newest first."""
    before = read_cursor(cursor, int)
    found = await AuditRepository(work, who.org_id).page(limit, before)
    rows = found[:limit]
    return AuditList(
        rows=[AuditRow.model_validate(row) for row in rows],
        next=cursor_of(rows[-1].seq) if len(found) > limit else None,
    )


@router.get("/verify")
@requires(role="admin", scope="audit:read", owner="org")
async def verify_audit(who: Who, work: ReadWork, request: Request) -> AuditVerified:
    """Check that no row of the organisation was changed, removed or put in."""
    report = await audit.verify(work, state_of(request).secret, who.org_id)
    return AuditVerified.model_validate(report)
