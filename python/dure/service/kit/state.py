"""What the whole app shares: its settings and the one client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from dure.aio import AsyncClient
from dure.service.settings import Settings

__all__ = ["State", "state_of"]


@dataclass(frozen=True, slots=True)
class State:
    """Opened by the lifespan, closed by it."""

    settings: Settings
    client: AsyncClient


def state_of(request: Request) -> State:
    """Return the app's state."""
    return cast("State", request.app.state.dure)
