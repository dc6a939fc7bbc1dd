"""API keys: nobody gives more than they have, nobody sees what is not theirs."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.tables import ApiKey
from dure.errors import NotFoundError
from dure.service.auth import api_keys
from dure.service.auth.subject import RANK, Subject
from dure.service.errors import ConflictError, ForbiddenError
from dure.service.kit import audit
from dure.service.kit.state import State

from .repository import KeyRepository
from .schemas import KeyCreate, KeyUpdate

__all__ = ["change", "create", "found", "listed", "revoke"]


async def create(
    work: AsyncSession, state: State, who: Subject, asked: KeyCreate
) -> tuple[str, ApiKey]:
    """Make a key for the caller; return it once, and its row.

    Raises:
        ForbiddenError: it would have more than the caller, or the caller is a key itself.
    """
    if who.user_id is None or who.key_id is not None:
        raise ForbiddenError("A key makes no keys: log in.", code="login_needed")
    if RANK[asked.role] > RANK[who.role]:
        raise ForbiddenError(f"You are no {asked.role} yourself.", code="role_too_low")
    key, parts = api_keys.make()
    now = state.clock.now()
    row = ApiKey(
        id=parts.id,
        org_id=who.org_id,
        owner_id=who.user_id,
        name=asked.name,
        mac=api_keys.mac_of(parts, state.secret),
        service_account=asked.service_account,
        role=asked.role,
        scopes=sorted(set(asked.scopes)),
        models=sorted(set(asked.models)),
        addresses=[str(one) for one in asked.addresses],
        rate=asked.rate,
        created_at=now,
        expires_at=now + timedelta(days=asked.days),
        last_used_at=None,
        revoked_at=None,
    )
    KeyRepository(work, who.org_id).add(row)
    await audit.tell(work, state, who, "key.create", row.id, name=row.name)
    return key, row


async def listed(
    work: AsyncSession, who: Subject, limit: int, after: tuple[int, str] | None
) -> tuple[list[ApiKey], tuple[int, str] | None]:
    """Return the caller's keys; an administrator's are all of the tenant."""
    rows, more = await KeyRepository(work, who.org_id).page(limit, after, _owner(who))
    return list(rows), more


async def found(work: AsyncSession, who: Subject, key_id: str) -> ApiKey:
    """Return a key.

    Raises:
        NotFoundError: there is no such key, or it is not the caller's.
    """
    row = await KeyRepository(work, who.org_id).one(key_id, _owner(who))
    if row is None:
        raise NotFoundError("no such key")
    return row


async def change(
    work: AsyncSession, state: State, who: Subject, key_id: str, asked: KeyUpdate
) -> ApiKey:
    """Change what is named of a key: here at once, elsewhere within thirty seconds.

    Raises:
        NotFoundError: there is no such key, or it is not the caller's.
        ForbiddenError: the caller is a key itself.
        ConflictError: it is revoked.
    """
    row = await found(work, who, key_id)
    if who.user_id is None or who.key_id is not None:
        raise ForbiddenError("A key changes no keys: log in.", code="login_needed")
    if row.revoked_at is not None:
        raise ConflictError("This key is revoked: make a new one.", code="revoked")
    changed = asked.model_dump(mode="json", exclude_unset=True)
    for name in changed.keys() & {"scopes", "models"}:
        changed[name] = sorted(set(changed[name]))
    for name in changed.keys() - {"days"}:
        setattr(row, name, changed[name])
    if "days" in changed:
        row.expires_at = state.clock.now() + timedelta(days=changed["days"])
    await audit.tell(work, state, who, "key.change", row.id, **changed)
    return row


async def revoke(work: AsyncSession, state: State, who: Subject, key_id: str) -> None:
    """Make a key worthless: here at once, elsewhere within thirty seconds. Idempotent.

    Raises:
        NotFoundError: there is no such key, or it is not the caller's.
    """
    row = await found(work, who, key_id)
    if row.revoked_at is None:
        row.revoked_at = state.clock.now()
        await audit.tell(work, state, who, "key.revoke", row.id, name=row.name)


def _owner(who: Subject) -> str | None:
    """Return whose keys the caller sees; None: everybody's in the tenant."""
    return None if who.role == "admin" else who.user_id or ""
