"""Migrations: from an empty database, or from any earlier revision, to this version and back.

Each upgrade is one transaction under a lock, so several processes may start at once. A table that
dure did not make is never touched: its name being taken is an error that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, event, exc, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from dure.db import HEAD
from dure.db.base import Base
from dure.db.engine import Database, connect_arguments, prepare_sqlite, sync_url
from dure.errors import InvalidArgumentError, StorageError, StoreVersionError

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["VERSION_TABLE", "current", "downgrade", "ensure", "upgrade"]

VERSION_TABLE = "dure_alembic_version"  # another program's `alembic_version` is its own
_LOCK = 8_244_001


async def ensure(database: Database) -> None:
    """Bring the database to this version if it is older; look with one query if it is not.

    Raises:
        StoreVersionError: a newer dure wrote it; it is left untouched.
        InvalidArgumentError: a table of ours exists that dure did not make.
        StorageError: the database cannot be reached.
    """
    import asyncio

    async with database.read() as work:
        found = await (await work.connection()).run_sync(_version)
    if found == HEAD:
        return
    await asyncio.to_thread(upgrade, database.url, schema=database.schema)


def upgrade(url: str | URL, *, schema: str | None = None, revision: str = "head") -> str:
    """Bring the database to a revision; return it.

    Raises:
        StoreVersionError: a newer dure wrote it.
        InvalidArgumentError: a table of ours exists that dure did not make.
        StorageError: the database cannot be reached.
    """
    from alembic import command

    with _connection(url, schema) as connection:
        found = _version(connection)
        _refuse_unknown(found)
        if found is None:
            _refuse_foreign(connection, schema)
        command.upgrade(_config(connection), revision)
        return _version(connection) or ""


def downgrade(url: str | URL, revision: str, *, schema: str | None = None) -> str:
    """Take the database back to an earlier revision (`base`: empty); what it adds is lost.

    Raises:
        StoreVersionError: a newer dure wrote it.
        StorageError: the database cannot be reached.
    """
    from alembic import command

    with _connection(url, schema) as connection:
        _refuse_unknown(_version(connection))
        command.downgrade(_config(connection), revision)
        return _version(connection) or ""


def current(url: str | URL, *, schema: str | None = None) -> str | None:
    """Return the revision of the database; None: dure never used it."""
    with _connection(url, schema) as connection:
        return _version(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def _refuse_unknown(found: str | None) -> None:
    if found is None or found in _revisions():
        return
    raise StoreVersionError(
        f"the database is of revision {found}, this dure knows {HEAD}: upgrade dure, or take the "
        "database back with the newer one"
    )


def _revisions() -> set[str]:
    """Return the revisions that this version has; their order is that of landing, not of number."""
    folder = Path(__file__).parent / "migrations" / "versions"
    return {path.name[1:5] for path in folder.glob("r[0-9]*_*.py")}


def _refuse_foreign(connection: Connection, schema: str | None) -> None:
    """Refuse a database in which a name of ours is taken."""
    taken = sorted(set(inspect(connection).get_table_names()) & set(Base.metadata.tables))
    if not taken:
        return
    advice = "name another database"
    if connection.dialect.name == "postgresql":
        where = f"another schema than {schema}" if schema else "a schema of its own"
        advice = f"give dure {where}: DURE_DATABASE_SCHEMA=dure"
    raise InvalidArgumentError(
        f"the database has tables that dure did not make ({', '.join(taken)}): {advice}",
        argument="database_url",
    )


@contextmanager
def _connection(url: str | URL, schema: str | None) -> Iterator[Connection]:
    """Give a connection in one transaction that nobody else migrates in."""
    import dure.db.tables  # noqa: F401 - fills the metadata

    known = sync_url(url)
    sqlite = known.get_backend_name() == "sqlite"
    arguments = {} if sqlite else connect_arguments(schema)
    engine = create_engine(known, poolclass=NullPool, connect_args=arguments)
    if sqlite:
        event.listen(engine, "connect", prepare_sqlite)
        event.listen(engine, "begin", lambda one: one.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            if not sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                if schema is not None:
                    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema.lower()}"))
            yield connection
    except (exc.OperationalError, exc.InterfaceError):
        raise StorageError(
            "the database cannot be opened: look at its address, its server and its disk"
        ) from None
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    found = Config()
    folder = str(Path(__file__).parent / "migrations")
    found.set_main_option("script_location", folder.replace("%", "%%"))
    found.set_main_option("path_separator", "os")
    found.attributes["connection"] = connection
    return found
