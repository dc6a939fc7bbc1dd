"""What was asked and answered: `/api/admin/content-logs`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from dure.errors import NotFoundError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.kit import audit
from dure.service.kit.clock import microseconds
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork, WriteWork

from .repository import ContentRepository
from .schemas import ContentDetail, ContentList, ContentOut, Removed
from .tasks import place_of

router = APIRouter(
    prefix="/api/v1/admin/content-logs", tags=["content logs"], route_class=PolicyRoute
)
User = Annotated[str | None, Query(max_length=64)]


@router.get("")
@requires(role="admin", scope="contents:read", owner="org")
async def list_contents(
    who: Who, work: ReadWork, user_id: User = None, limit: Limit = 50, cursor: Cursor = None
) -> ContentList:
    """List requests to models, newest first, without their texts."""
    before = read_cursor(cursor, int, str)
    rows = await ContentRepository(work, who.org_id).page(limit, before, user_id)
    last = rows[limit - 1] if len(rows) > limit else None
    return ContentList(
        contents=[ContentOut.model_validate(row) for row in rows[:limit]],
        next=None if last is None else cursor_of(microseconds(last.at), last.id),
    )


@router.get("/{content_id}")
@requires(role="admin", scope="contents:read", owner="org")
async def get_content(
    who: Who, content_id: str, work: WriteWork, request: Request
) -> ContentDetail:
    """Show one with its texts; the audit log says who read it."""
    state = state_of(request)
    row = await ContentRepository(work, who.org_id).one(content_id)
    if row is None:
        raise NotFoundError("no such content")
    texts: dict[str, Any] = {
        name: None if sealed is None else state.envelope.open(sealed, place_of(row, name))
        for name, sealed in (("input", row.input), ("output", row.output))
    }
    await audit.tell(work, state_of(request), who, "content.read", content_id)
    return ContentDetail(**ContentOut.model_validate(row).model_dump(), **texts)


@router.delete("")
@requires(role="admin", scope="contents:write", owner="org")
async def delete_contents(
    who: Who, work: WriteWork, request: Request, user_id: User = None
) -> Removed:
    """Remove all that is kept, or what is kept of one person."""
    removed = await ContentRepository(work, who.org_id).remove(user_id)
    await audit.tell(
        work, state_of(request), who, "content.delete", user_id or "*", removed=removed
    )
    return Removed(removed=removed)
