"""The client that calls go through: exchanged when its keys change, while calls are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dure.aio import AsyncClient
from dure.costs import PriceBook
from dure.manager import OpenAIClientManager
from dure.service.kit.usual import UsualOptions
from dure.service.settings import Settings

__all__ = ["Clients"]

_DRAIN = 900.0  # seconds after which nothing can be under way on an exchanged client


class Clients:
    """Holds the client of today. Task-safe within one event loop.

    All of them share one native client: budgets, ledger, rates and answers are the same; only keys
    and their turns are each one's own.

    Attributes:
        options: Native limits of calls through the client of today.
    """

    def __init__(self, settings: Settings, data: Path) -> None:
        self._settings, self._data = settings, data
        self._keys: tuple[str, ...] = ()
        self._current = self._made(())
        self.options = UsualOptions(self._current.view)
        self._old: list[tuple[float, AsyncClient]] = []
        OpenAIClientManager().set_client(self._current)

    @property
    def current(self) -> AsyncClient:
        """The client for a new call."""
        return self._current

    async def use(self, keys: Sequence[str]) -> bool:
        """Make new calls with these keys, none: the environment's; return whether that is news.

        What is under way ends with the keys it began with.

        Raises:
            InvalidArgumentError: a key that no header can carry, or none for another machine; the
                client stays as it was.
        """
        await self._end_old()
        if tuple(keys) == self._keys:
            return False
        self._exchange(self._made(keys))
        self._keys = tuple(keys)
        return True

    async def renew(self, settings: Settings) -> None:
        """Read prices, policies and the environment's keys anew, for new calls.

        Raises:
            DureError: they cannot be used; the client stays as it was.
        """
        await self._end_old()
        before, self._settings = self._settings, settings
        try:
            self._exchange(self._made(self._keys))
        except BaseException:
            self._settings = before
            raise

    def _exchange(self, fresh: AsyncClient) -> None:
        self._old.append((asyncio.get_running_loop().time(), self._current))
        self._current, self.options = fresh, UsualOptions(fresh.view)
        OpenAIClientManager().set_client(fresh)

    def _made(self, keys: Sequence[str]) -> AsyncClient:
        overlay = self._settings.prices
        return AsyncClient(
            api_key=list(keys) or None,
            data=self._data,
            policy=self._settings.policies,
            prices=None if overlay is None else PriceBook(overlay),
        )

    async def _end_old(self) -> None:
        until = asyncio.get_running_loop().time() - _DRAIN
        ended = [client for since, client in self._old if since <= until]
        self._old = [one for one in self._old if one[0] > until]
        for client in ended:
            await client.close()

    async def close(self) -> None:
        """Close them all. Idempotent."""
        OpenAIClientManager().set_client(None)
        for _, client in self._old:
            await client.close()
        self._old = []
        await self._current.close()
