"""Provider keys: `/api/admin/provider-keys`, for operators."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from . import service
from .repository import ProviderKeyRepository
from .schemas import ProviderKeyCreate, ProviderKeyList, ProviderKeyOut, ProviderKeyUpdate

router = APIRouter(
    prefix="/api/v1/admin/provider-keys", tags=["provider keys"], route_class=PolicyRoute
)


async def _used(request: Request) -> None:
    """Let a change count for the next call of this process."""
    await cast("service.ProviderKeys", request.app.state.provider_keys).look()


@router.get("")
@requires(role="admin", operator=True)
async def list_provider_keys(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> ProviderKeyList:
    """List the keys that this installation sends to providers; for operators."""
    after = read_cursor(cursor, str)
    rows = await ProviderKeyRepository(work, who.org_id).page(limit, after)
    return ProviderKeyList(
        keys=[ProviderKeyOut.model_validate(row) for row in rows[:limit]],
        next=cursor_of(rows[limit - 1].id) if len(rows) > limit else None,
    )


@router.post("", status_code=201)
@requires(role="admin", operator=True)
async def add_provider_key(who: Who, asked: ProviderKeyCreate, request: Request) -> ProviderKeyOut:
    """Add a key; calls take turns with all active ones, from the next call on."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.create(work, state, who, asked)
    await _used(request)
    return ProviderKeyOut.model_validate(row)


@router.patch("/{provider_key_id}")
@requires(role="admin", operator=True)
async def change_provider_key(
    who: Who, provider_key_id: str, asked: ProviderKeyUpdate, request: Request
) -> ProviderKeyOut:
    """Drain a key, use it again, or rename it; calls under way end with the key they have."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.change(work, state, who, provider_key_id, asked)
    await _used(request)
    return ProviderKeyOut.model_validate(row)


@router.delete("/{provider_key_id}", status_code=204)
@requires(role="admin", operator=True)
async def remove_provider_key(who: Who, provider_key_id: str, request: Request) -> Response:
    """Remove a drained key."""
    state = state_of(request)
    async with state.database.write() as work:
        await service.remove(work, state, who, provider_key_id)
    return Response(status_code=204)
