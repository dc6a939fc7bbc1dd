"""People and tenants: administrators act in their own tenant, operators in all."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import MembershipModel, OrgModel, UserModel
from dure.errors import InvalidArgumentError, NotFoundError
from dure.service.auth.repository import IdentityRepository
from dure.service.auth.service import LOCAL_ISSUER
from dure.service.auth.subject import Role, Subject
from dure.service.errors import ConflictError, ForbiddenError
from dure.service.kit import audit
from dure.service.kit.state import State

from .repository import OrgRepository, UserRepository
from .schemas import OrgCreate, OrgUpdate, UserCreate, UserOut, UserUpdate

__all__ = [
    "add_org",
    "add_user",
    "change_org",
    "change_user",
    "join",
    "leave",
    "one_org",
    "set_password",
    "shown",
]


def shown(member: tuple[UserModel, MembershipModel]) -> UserOut:
    """Return what an administrator sees of a person."""
    user, membership = member
    return UserOut(
        id=user.id,
        email=user.email,
        name=user.name,
        role=membership.role,
        operator=user.operator,
        disabled=user.disabled_at is not None,
        created_at=user.created_at,
    )


async def add_user(
    work: AsyncSession, state: State, who: Subject, asked: UserCreate, password_hash: str
) -> UserOut:
    """Make a person of the caller's tenant.

    Raises:
        ConflictError: somebody logs in with that address already.
    """
    now, account = state.clock.now(), asked.email.lower()
    repository = IdentityRepository(work)
    if await repository.by_identity(LOCAL_ISSUER, account) is not None:
        raise ConflictError("somebody logs in with that e-mail address already")
    try:
        user = await repository.add_user(
            LOCAL_ISSUER,
            account,
            now,
            email=asked.email,
            name=asked.name or asked.email,
            password_hash=password_hash,
        )
    except IntegrityError:  # two administrators at once
        raise ConflictError("somebody logs in with that e-mail address already") from None
    await repository.set_role(who.org_id, user.id, asked.role, now)
    await audit.tell(work, state, who, "user.create", user.id, role=asked.role)
    member = await UserRepository(work, who.org_id).one(user.id)
    assert member is not None
    return shown(member)


async def change_user(
    work: AsyncSession, state: State, who: Subject, user_id: str, asked: UserUpdate
) -> UserOut:
    """Change a person of the caller's tenant; who is disabled is logged out everywhere.

    Raises:
        NotFoundError: there is no such person in the tenant.
        ForbiddenError: it is the caller, or the person is of other tenants too.
    """
    member = await UserRepository(work, who.org_id).one(user_id)
    if member is None:
        raise NotFoundError("no such user")
    user, membership = member
    if user_id == who.user_id and (asked.role is not None or asked.disabled is not None):
        raise ForbiddenError("Nobody changes their own rights.", code="own_rights")
    repository = IdentityRepository(work)
    whole = asked.disabled is not None or asked.name is not None
    shared = whole and len(await repository.memberships(user_id)) > 1
    if (shared or (whole and user.operator)) and not who.operator:
        raise ForbiddenError("This person is not of your organisation alone.", code="operator_only")
    if asked.role is not None:
        membership.role = asked.role
    if asked.name is not None:
        user.name = asked.name
    if asked.disabled is not None:
        user.disabled_at = state.clock.now() if asked.disabled else None
        await repository.end_logins(user_id, state.clock.now())
    changed = asked.model_dump(exclude_none=True)
    await audit.tell(work, state, who, "user.change", user_id, **changed)
    return shown(member)


async def add_org(work: AsyncSession, state: State, who: Subject, asked: OrgCreate) -> OrgModel:
    """Make a tenant.

    Raises:
        ConflictError: there is one of that id.
        InvalidArgumentError: there is no such time zone.
    """
    _check_zone(asked.zone)
    repository = IdentityRepository(work)
    if await repository.org(asked.id) is not None:
        raise ConflictError("there is an organisation of that id already")
    row = await repository.add_org(asked.id, asked.name, state.clock.now())
    row.zone = asked.zone
    await audit.tell(work, state, who, "org.create", row.id)
    return row


async def change_org(
    work: AsyncSession, state: State, who: Subject, org_id: str, asked: OrgUpdate
) -> OrgModel:
    """Change a tenant: an administrator their own, an operator any.

    Raises:
        NotFoundError: there is no such tenant, or it is not the caller's.
        InvalidArgumentError: there is no such time zone.
    """
    row = await OrgRepository(work).one(org_id) if _may(who, org_id) else None
    if row is None:
        raise NotFoundError("no such organisation")
    if asked.zone is not None:
        _check_zone(asked.zone)
    changed = asked.model_dump(exclude_none=True)
    for name, value in changed.items():
        setattr(row, name, value)
    await audit.tell(work, state, who, "org.change", org_id, **changed)
    return row


async def one_org(work: AsyncSession, who: Subject, org_id: str) -> OrgModel:
    """Return a tenant: one's own, for operators any.

    Raises:
        NotFoundError: there is no such tenant, or it is not the caller's.
    """
    row = await OrgRepository(work).one(org_id) if _may(who, org_id) else None
    if row is None:
        raise NotFoundError("no such organisation")
    return row


async def join(
    work: AsyncSession, state: State, who: Subject, org_id: str, user_id: str, role: Role
) -> UserOut:
    """Let a person join a tenant, or change their role in it.

    Raises:
        NotFoundError: there is no such tenant or person.
    """
    repository = IdentityRepository(work)
    if await repository.org(org_id) is None or await repository.user(user_id) is None:
        raise NotFoundError("no such organisation or user")
    await repository.set_role(org_id, user_id, role, state.clock.now())
    await audit.tell(work, state, who, "role.set", user_id, org=org_id, role=role)
    member = await UserRepository(work, org_id).one(user_id)
    assert member is not None
    return shown(member)


async def leave(work: AsyncSession, state: State, who: Subject, user_id: str) -> None:
    """Let a person leave the caller's tenant: keys and logins in it end, figures stay.

    Raises:
        NotFoundError: there is no such person in the tenant.
        ForbiddenError: it is the caller.
    """
    member = await UserRepository(work, who.org_id).one(user_id)
    if member is None:
        raise NotFoundError("no such user")
    if user_id == who.user_id:
        raise ForbiddenError("Nobody changes their own rights.", code="own_rights")
    await UserRepository(work, who.org_id).remove(member[1], state.clock.now())
    await audit.tell(work, state, who, "user.leave", user_id)


async def set_password(
    work: AsyncSession, state: State, who: Subject, user_id: str, password_hash: str
) -> None:
    """Set a person's password; they are logged out everywhere.

    Raises:
        NotFoundError: there is no such person in the tenant.
        ForbiddenError: they are of other tenants too, or an operator.
        ConflictError: they log in elsewhere.
    """
    member = await UserRepository(work, who.org_id).one(user_id)
    if member is None:
        raise NotFoundError("no such user")
    user = member[0]
    repository = IdentityRepository(work)
    shared = len(await repository.memberships(user_id)) > 1
    if (shared or user.operator) and not who.operator:
        raise ForbiddenError("This person is not of your organisation alone.", code="operator_only")
    if user.password_hash is None:
        raise ConflictError("this person logs in by an issuer", code="no_password")
    user.password_hash = password_hash
    await repository.end_logins(user_id, state.clock.now())
    await audit.tell(work, state, who, "user.password", user_id)


def _may(who: Subject, org_id: str) -> bool:
    return who.operator or who.org_id == org_id


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgumentError(
            f"unknown time zone {zone!r}: name one like Asia/Seoul", argument="zone"
        ) from None
