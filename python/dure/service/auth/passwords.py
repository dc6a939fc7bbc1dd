"""Passwords: Argon2id in a small pool, the same cost for known and unknown names."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from dure.errors import InvalidArgumentError, QueueFullError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["Passwords"]

Made = TypeVar("Made")

_SHORTEST, _LONGEST = 12, 256
_SLOTS, _WAITING = 2, 32  # a hash takes 26 ms and 19 MiB


class Passwords:
    """Makes and checks hashes. Task-safe; two at a time, and a bounded line of those who wait."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._hasher: PasswordHasher | None = None
        self._decoy: str | None = None
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Return what is kept of a password.

        Raises:
            InvalidArgumentError: it is too short or too long.
            QueueFullError: too many wait.
        """
        if not _SHORTEST <= len(password) <= _LONGEST:
            raise InvalidArgumentError(
                f"a password has {_SHORTEST} to {_LONGEST} characters", argument="password"
            )
        hasher = self._ready()
        return await self._run(hasher.hash, password)

    async def verify(self, password: str, kept: str | None) -> bool:
        """Whether the password is the one; `kept` None costs the same and is never.

        Raises:
            QueueFullError: too many wait.
        """
        hasher = self._ready()
        if self._decoy is None:
            self._decoy = await self._run(hasher.hash, secrets.token_hex(16))
        good = await self._run(_matches, hasher, kept or self._decoy, password[:_LONGEST])
        return good and kept is not None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _ready(self) -> PasswordHasher:
        if self._hasher is None:
            from argon2 import PasswordHasher, Type

            self._hasher = PasswordHasher(2, 19 * 1024, 1, type=Type.ID)
            self._pool = ThreadPoolExecutor(_SLOTS, "dure-passwords")
        return self._hasher

    async def _run(self, function: Callable[..., Made], *arguments: object) -> Made:
        if self._waiting >= _WAITING:
            raise QueueFullError("too many log in at once: come back later", retry_after=1.0)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, function, *arguments)
        finally:
            self._waiting -= 1


def _matches(hasher: PasswordHasher, kept: str, password: str) -> bool:
    from argon2.exceptions import VerificationError

    try:
        return hasher.verify(kept, password)
    except VerificationError:
        return False
