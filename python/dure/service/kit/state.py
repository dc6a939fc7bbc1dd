"""What the whole app shares, opened by the lifespan and closed by it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from starlette.requests import HTTPConnection

from dure.aio import AsyncClient
from dure.db.engine import Database
from dure.service.kit.clients import Clients
from dure.service.kit.clock import Clock
from dure.service.kit.envelope import Envelope
from dure.service.kit.secret import Secret
from dure.service.settings import Settings

__all__ = ["Drain", "State", "state_of"]


class Drain:
    """Whether the service was told to stop; readers ask, the server sets."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


@dataclass(frozen=True, slots=True)
class State:
    """Typed state of the app; routes get it by `state_of`."""

    settings: Settings
    data: Path
    clients: Clients
    database: Database
    secret: Secret
    clock: Clock
    drain: Drain
    envelope: Envelope

    @property
    def client(self) -> AsyncClient:
        """The client that a new call goes through; ask for it anew for each."""
        return self.clients.current


def state_of(connection: HTTPConnection) -> State:
    """Return the app's state."""
    return cast("State", connection.app.state.dure)
