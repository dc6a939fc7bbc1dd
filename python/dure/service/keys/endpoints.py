"""API keys: `/api/keys`."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from dure.service.auth.identities import Identities
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork, WriteWork

from . import service
from .schemas import KeyCreate, KeyCreated, KeyList, KeyOut, KeyUpdate

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], route_class=PolicyRoute)


@router.get("")
@requires(role="viewer", scope="keys:read", owner="self")
async def list_keys(who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None) -> KeyList:
    """List the caller's keys, newest first; an administrator sees all of the organisation."""
    after = read_cursor(cursor, int, str)
    rows, more = await service.listed(work, who, limit, after)
    return KeyList(
        keys=[KeyOut.model_validate(row) for row in rows],
        next=None if more is None else cursor_of(*more),
    )


@router.post("", status_code=201)
@requires(role="user", scope="keys:write", owner="self")
async def create_key(who: Who, asked: KeyCreate, work: WriteWork, request: Request) -> KeyCreated:
    """Make a key. Its secret is in this answer and nowhere else."""
    key, row = await service.create(work, state_of(request), who, asked)
    return KeyCreated(key=key, **KeyOut.model_validate(row).model_dump())


@router.get("/{key_id}")
@requires(role="viewer", scope="keys:read", owner="self")
async def get_key(who: Who, key_id: str, work: ReadWork) -> KeyOut:
    """Return what a key may do; its secret is shown nowhere."""
    return KeyOut.model_validate(await service.found(work, who, key_id))


@router.patch("/{key_id}")
@requires(role="user", scope="keys:write", owner="self")
async def change_key(who: Who, key_id: str, asked: KeyUpdate, request: Request) -> KeyOut:
    """Change a key's name, rate, end, or what it is narrowed to."""
    state = state_of(request)
    async with state.database.write() as work:
        changed = KeyOut.model_validate(await service.change(work, state, who, key_id, asked))
    cast("Identities", request.app.state.identities).forget()
    return changed


@router.delete("/{key_id}", status_code=204)
@requires(role="user", scope="keys:write", owner="self")
async def revoke_key(who: Who, key_id: str, request: Request) -> Response:
    """Revoke a key for good."""
    state = state_of(request)
    async with state.database.write() as work:
        await service.revoke(work, state, who, key_id)
    cast("Identities", request.app.state.identities).forget()
    return Response(status_code=204)
