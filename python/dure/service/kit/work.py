"""Units of work as dependencies: one request reads in one, or writes in one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from dure.service.kit.state import state_of

__all__ = ["ReadWork", "WriteWork"]


async def _read(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    async with state_of(connection).database.read() as work:
        yield work


async def _write(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    async with state_of(connection).database.write() as work:
        yield work


# Ended before the answer leaves: what a caller is told was done is in the database.
ReadWork = Annotated[AsyncSession, Depends(_read, scope="function")]
WriteWork = Annotated[AsyncSession, Depends(_write, scope="function")]
