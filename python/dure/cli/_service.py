"""What the service's own commands share: its settings, its database, its secret."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dure.errors import MissingExtraError

from .places import data_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from dure.db.engine import Database
    from dure.service.kit.secret import Secret
    from dure.service.settings import Settings

__all__ = ["database_of", "opened", "settings_of"]


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the service's settings.

    Raises:
        InvalidArgumentError: naming everything that is wrong.
        MissingExtraError: the extra is not installed.
    """
    try:
        from dure.service.settings import Settings
    except ModuleNotFoundError as missing:
        raise MissingExtraError.of("service", missing.name or "pydantic-settings") from None
    return Settings(data=data_folder(options))


def database_of(settings: Settings) -> Database:
    """Return the service's database."""
    from dure.service.app import database_of as found

    return found(settings)


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[tuple[Database, Secret]]:
    """Give the database, brought up to date, and the secret; close it at the end."""
    from dure.service.app import prepare
    from dure.service.kit.secret import Secret

    settings = settings_of(options)
    await prepare(settings)
    given = settings.secret_key
    secret = Secret.of(None if given is None else given.get_secret_value(), data_folder(options))
    database = database_of(settings)
    try:
        yield database, secret
    finally:
        await database.close()
