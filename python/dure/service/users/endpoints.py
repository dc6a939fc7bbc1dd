"""People and tenants: `/api/admin/users`, `/api/admin/orgs`."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from dure.errors import NotFoundError
from dure.service.auth.identities import Identities
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.service import Logins
from dure.service.auth.subject import Who
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork, WriteWork

from . import service
from .repository import OrgRepository, UserRepository
from .schemas import (
    Membership,
    OrgCreate,
    OrgList,
    OrgOut,
    OrgUpdate,
    PasswordReset,
    UserCreate,
    UserList,
    UserOut,
    UserUpdate,
)

router = APIRouter(prefix="/api/v1/admin", tags=["users"], route_class=PolicyRoute)


@router.get("/users")
@requires(role="admin", scope="users:read", owner="org")
async def list_users(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> UserList:
    """List the people of the organisation."""
    after = read_cursor(cursor, str)
    found = await UserRepository(work, who.org_id).page(limit, after)
    users = [service.shown(member) for member in found[:limit]]
    return UserList(users=users, next=cursor_of(users[-1].id) if len(found) > limit else None)


@router.post("/users", status_code=201)
@requires(role="admin", scope="users:write", owner="org")
async def create_user(who: Who, asked: UserCreate, work: WriteWork, request: Request) -> UserOut:
    """Make a person who logs in with e-mail address and password."""
    logins = cast("Logins", request.app.state.logins)
    return await service.add_user(
        work, state_of(request), who, asked, await logins.hash(asked.password)
    )


@router.get("/users/{user_id}")
@requires(role="admin", scope="users:read", owner="org")
async def get_user(who: Who, user_id: str, work: ReadWork) -> UserOut:
    """Return one person."""
    found = await UserRepository(work, who.org_id).one(user_id)
    if found is None:
        raise NotFoundError("no such user")
    return service.shown(found)


@router.patch("/users/{user_id}")
@requires(role="admin", scope="users:write", owner="org")
async def change_user(who: Who, user_id: str, asked: UserUpdate, request: Request) -> UserOut:
    """Change role or name, disable or enable."""
    state = state_of(request)
    async with state.database.write() as work:
        changed = await service.change_user(work, state, who, user_id, asked)
    cast("Identities", request.app.state.identities).forget()
    return changed


@router.get("/orgs")
@requires(role="admin", operator=True)
async def list_orgs(who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None) -> OrgList:
    """List all organisations; for operators."""
    del who
    after = read_cursor(cursor, str)
    found = await OrgRepository(work).page(limit, after)
    orgs = [OrgOut.model_validate(row) for row in found[:limit]]
    return OrgList(orgs=orgs, next=cursor_of(orgs[-1].id) if len(found) > limit else None)


@router.post("/orgs", status_code=201)
@requires(role="admin", operator=True)
async def create_org(who: Who, asked: OrgCreate, work: WriteWork, request: Request) -> OrgOut:
    """Make an organisation; for operators."""
    row = await service.add_org(work, state_of(request), who, asked)
    return OrgOut.model_validate(row)


@router.patch("/orgs/{org_id}")
@requires(role="admin", scope="orgs:write", owner="org")
async def change_org(who: Who, org_id: str, asked: OrgUpdate, request: Request) -> OrgOut:
    """Change name, time zone, or what is logged; an operator any organisation's."""
    state = state_of(request)
    async with state.database.write() as work:
        row = await service.change_org(work, state, who, org_id, asked)
    await request.app.state.contents.look()
    return OrgOut.model_validate(row)


@router.get("/orgs/{org_id}")
@requires(role="admin", scope="orgs:read", owner="org")
async def get_org(who: Who, org_id: str, work: ReadWork) -> OrgOut:
    """Return an organisation: one's own, for operators any."""
    return OrgOut.model_validate(await service.one_org(work, who, org_id))


@router.put("/orgs/{org_id}/users/{user_id}")
@requires(role="admin", operator=True)
async def join_org(
    who: Who, org_id: str, user_id: str, asked: Membership, request: Request
) -> UserOut:
    """Let a person join an organisation, or change their role in it; for operators."""
    state = state_of(request)
    async with state.database.write() as work:
        found = await service.join(work, state, who, org_id, user_id, asked.role)
    cast("Identities", request.app.state.identities).forget()
    return found


@router.delete("/users/{user_id}", status_code=204)
@requires(role="admin", scope="users:write", owner="org")
async def remove_user(who: Who, user_id: str, request: Request) -> Response:
    """Let a person leave the organisation; what they used stays in its figures."""
    state = state_of(request)
    async with state.database.write() as work:
        await service.leave(work, state, who, user_id)
    cast("Identities", request.app.state.identities).forget()
    return Response(status_code=204)


@router.put("/users/{user_id}/password", status_code=204)
@requires(role="admin", scope="users:write", owner="org")
async def reset_password(
    who: Who, user_id: str, asked: PasswordReset, request: Request
) -> Response:
    """Set a new password for a person who logs in here; their logins end."""
    logins = cast("Logins", request.app.state.logins)
    hashed = await logins.hash(asked.password)
    state = state_of(request)
    async with state.database.write() as work:
        await service.set_password(work, state, who, user_id, hashed)
    cast("Identities", request.app.state.identities).forget()
    return Response(status_code=204)
