"""Limits of several hosts: one process of each data folder leases slices of every maximum.

PostgreSQL or Redis knows how much of a maximum each host has leased, so what all spend together
never exceeds it; calls spend slices in their own account and wait for no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from dure.costs import AsyncBudgets
    from dure.integrations._fleet import Fleet

__all__ = ["WITHOUT", "Maximum", "SharedLimits"]

WITHOUT = 2**60  # of a maximum that was taken away: the core knows no removal


@dataclass(frozen=True, slots=True)
class Maximum:
    """What all hosts together may spend of a scope in its month."""

    tokens: int
    zone: str


class SharedLimits:
    """Keeps the fleet's budgets, if this process is the one that does so for its data folder.

    One thread at a time; every method may wait for the network.
    """

    def __init__(self, budgets: AsyncBudgets, url: str, host: str) -> None:
        self._budgets, self._url, self._host = budgets, url, host
        self._fleet: Fleet | None = None
        self._told: dict[str, Maximum] = {}
        kind = url.partition("://")[0]
        if kind not in {"postgresql", "postgres", "redis", "rediss", "unix"}:
            raise InvalidArgumentError(
                "DURE_FLEET_URL begins with postgresql:// or redis://", argument="fleet_url"
            )

    def keep(self, wanted: Mapping[str, Maximum]) -> bool:
        """Share every maximum as it is now; return whether this process is the keeper.

        Raises:
            UnavailableError: the store cannot be reached; what is leased can still be spent.
        """
        if self._fleet is None and not self._open():
            return False
        assert self._fleet is not None
        gone = {scope: Maximum(WITHOUT, one.zone) for scope, one in self._told.items()}
        for scope, maximum in {**gone, **wanted}.items():
            if self._told.get(scope) != maximum:
                self._fleet.set(
                    scope, limit=maximum.tokens, window="month", unit="tokens", zone=maximum.zone
                )
                self._told[scope] = maximum
        return True

    def close(self) -> None:
        """Give back what was not spent."""
        if self._fleet is not None:
            with suppress(UnavailableError):
                self._fleet.close()
            self._fleet = None

    def _open(self) -> bool:
        """Become the keeper, unless another process of this data folder is."""
        try:
            if self._url.startswith("postgres"):
                from dure.integrations import postgres

                self._fleet = postgres.connect(self._budgets, self._url, host=self._host)
            else:
                from dure.integrations import redis

                self._fleet = redis.connect(self._budgets, self._url, host=self._host)
        except UnavailableError as refused:
            if "another process" in str(refused):
                return False
            raise
        return True


def folder_name(data: Path) -> str:
    """Return the name that tells data folders of one machine apart."""
    import hashlib

    return hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]
