"""Provider keys: kept sealed, handed to the core whenever they change."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import new_id
from dure.db.tables import ProviderKeyModel
from dure.errors import DureError, InvalidArgumentError, NotFoundError
from dure.service.auth.subject import Subject
from dure.service.errors import ConflictError
from dure.service.kit import audit
from dure.service.kit.envelope import Place
from dure.service.kit.state import State

from .repository import ProviderKeyRepository, active_keys
from .schemas import ProviderKeyCreate, ProviderKeyUpdate

__all__ = ["ProviderKeys", "change", "create", "place_of", "remove"]

_logger = logging.getLogger("dure.service")
_PROVIDER = "openai"


class ProviderKeys:
    """Keeps the core's keys as the rows say. Task-safe within one event loop."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def look(self) -> None:
        """Let new calls use the active keys; without any, those of the environment.

        Raises:
            StorageError: the database cannot be reached.
        """
        async with self._state.database.read() as work:
            rows = await active_keys(work, _PROVIDER)
        keys = []
        for row in rows:
            try:
                keys.append(self._state.envelope.open(row.sealed, place_of(row)))
            except DureError as wrong:
                _logger.error(
                    "a provider key cannot be opened", extra={"key": row.id, "reason": str(wrong)}
                )
        if rows and not keys:
            return  # better the keys of before than those of nobody
        try:
            if await self._state.clients.use(keys):
                _logger.info("provider keys changed", extra={"keys": len(keys)})
        except DureError as wrong:
            _logger.error("provider keys stay as they were", extra={"reason": str(wrong)})


def place_of(row: ProviderKeyModel) -> Place:
    """Return where a provider key is sealed."""
    return Place("provider_keys", "sealed", row.org_id, row.id)


async def create(
    work: AsyncSession, state: State, who: Subject, asked: ProviderKeyCreate
) -> ProviderKeyModel:
    """Keep a key; calls use it from now on.

    Raises:
        InvalidArgumentError: no header can carry it; it is not shown.
    """
    key, now = asked.key.get_secret_value().strip(), state.clock.now()
    if len(key) < 8 or not all("!" <= sign <= "~" for sign in key):
        raise InvalidArgumentError(
            "key must be 8 or more characters of visible ASCII", argument="key", http_status=422
        )
    row = ProviderKeyModel(
        id=new_id("pvk"),
        org_id=who.org_id,
        owner_id=who.user_id or who.actor,
        provider=asked.provider,
        name=asked.name,
        sealed="",
        tail=key[-4:],
        state="active",
        created_at=now,
        changed_at=now,
    )
    row.sealed = state.envelope.seal(key, place_of(row))
    ProviderKeyRepository(work, who.org_id).add(row)
    await audit.tell(work, state, who, "provider-key.create", row.id, name=row.name)
    return row


async def change(
    work: AsyncSession, state: State, who: Subject, key_id: str, asked: ProviderKeyUpdate
) -> ProviderKeyModel:
    """Rename a key, drain it, or use it again.

    Raises:
        NotFoundError: there is no such key.
    """
    row = await _needed(work, who, key_id)
    changed = asked.model_dump(exclude_none=True)
    for name, value in changed.items():
        setattr(row, name, value)
    row.changed_at = state.clock.now()
    await audit.tell(work, state, who, "provider-key.change", row.id, changed=changed)
    return row


async def remove(work: AsyncSession, state: State, who: Subject, key_id: str) -> None:
    """Take a drained key away.

    Raises:
        NotFoundError: there is no such key.
        ConflictError: calls use it: drain it first.
    """
    row = await _needed(work, who, key_id)
    if row.state == "active":
        raise ConflictError("calls use this key: drain it first", code="drain_first")
    await work.delete(row)
    await audit.tell(work, state, who, "provider-key.delete", key_id, name=row.name)


async def _needed(work: AsyncSession, who: Subject, key_id: str) -> ProviderKeyModel:
    row = await ProviderKeyRepository(work, who.org_id).one(key_id)
    if row is None:
        raise NotFoundError("no such provider key")
    return row
