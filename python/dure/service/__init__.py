"""The HTTP service: an OpenAI-shaped gateway over one shared client.

Needs the extra `service`: pip install "dure[service]". Start it with `dure serve`, or give
`dure.service.app:app` to uvicorn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dure.service.app import create_app as create_app
    from dure.service.settings import Settings as Settings

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> object:
    if name == "create_app":
        from dure.service.app import create_app

        return create_app
    if name == "Settings":
        from dure.service.settings import Settings

        return Settings
    raise AttributeError(f"module 'dure.service' has no attribute {name!r}")
