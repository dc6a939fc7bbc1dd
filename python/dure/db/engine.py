"""Units of work on SQLite or PostgreSQL: one request reads in one, or writes in one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from dure.errors import InvalidArgumentError, MissingExtraError, StorageError

__all__ = ["Database", "async_url", "sqlite_url", "sync_url"]

_BUSY_MS = 30_000
_WRITES = "dure_writes"
_SQLITE = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={_BUSY_MS}",
)


class Database:
    """The service's database. Task-safe; opened on first use, closed by `close()`."""

    def __init__(self, url: str | URL, *, schema: str | None = None, pool: int = 5) -> None:
        """Check the address; nothing is opened.

        Args:
            url: `sqlite:///path` or `postgresql://...`.
            schema: PostgreSQL schema that holds our tables, None: the connection's default. Name
                one to live beside another program's tables.
            pool: Connections at most.

        Raises:
            InvalidArgumentError: the address names another kind of database, or SQLite a schema.
            MissingExtraError: the driver is not installed.
        """
        self.url = async_url(url)
        self.schema = schema
        self._engine = _engine(self.url, schema, pool)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, which has one writer at a time."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> AsyncEngine:
        """The engine, for what counts statements in tests."""
        return self._engine

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Give a session that only reads; nothing it does is kept.

        Raises:
            StorageError: the database cannot be reached, or has no room.
        """
        async with self._session({}) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Give a session whose changes are kept together when the block ends well.

        Raises:
            StorageError: the database cannot be reached, or has no room: nothing was kept.
        """
        async with self._session({_WRITES: True}) as session:
            yield session
            await session.commit()

    @asynccontextmanager
    async def _session(self, options: dict[str, Any]) -> AsyncIterator[AsyncSession]:
        try:
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                await session.connection(execution_options=options)
                yield session
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as failed:
            raise _storage(failed) from None

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._engine.dispose()


def sqlite_url(path: Path) -> URL:
    """Return the address of an SQLite file."""
    return URL.create("sqlite", database=str(path))


def async_url(url: str | URL) -> URL:
    """Return the address with the driver that the app uses.

    Raises:
        InvalidArgumentError: another kind of database; the address, which may hold a password, is
            not shown.
    """
    return _with_driver(url, {"sqlite": "aiosqlite", "postgresql": "psycopg"})


def sync_url(url: str | URL) -> URL:
    """Return the address with the driver that migrations use."""
    return _with_driver(url, {"sqlite": "pysqlite", "postgresql": "psycopg"})


def _with_driver(url: str | URL, drivers: dict[str, str]) -> URL:
    try:
        known = make_url(url)
    except exc.ArgumentError:
        raise _bad_address() from None
    backend = known.get_backend_name()
    if backend == "postgres":  # as some providers spell it
        backend = "postgresql"
    if backend not in drivers:
        raise _bad_address()
    return known.set(drivername=f"{backend}+{drivers[backend]}")


def _bad_address() -> InvalidArgumentError:
    return InvalidArgumentError(
        "the database address must be sqlite:///PATH or postgresql://USER@HOST/NAME",
        argument="database_url",
    )


def _engine(url: URL, schema: str | None, pool: int) -> AsyncEngine:
    options: dict[str, Any] = {"pool_size": pool, "max_overflow": 0, "pool_timeout": 30}
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        if schema is not None:
            raise InvalidArgumentError(
                "a schema is PostgreSQL's: give SQLite a file of its own", argument="schema"
            )
    else:
        arguments = connect_arguments(schema)
        options["pool_pre_ping"] = True
    try:
        engine = create_async_engine(url, connect_args=arguments, **options)
    except ModuleNotFoundError as missing:
        extra = "service" if missing.name == "aiosqlite" else "postgres"
        raise MissingExtraError.of(extra, missing.name or "the driver") from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def connect_arguments(schema: str | None) -> dict[str, Any]:
    """Return PostgreSQL's connection options: our schema is the only one looked at."""
    if schema is None:
        return {}
    if not schema.isidentifier() or not schema.isascii():
        raise InvalidArgumentError(
            "a schema is named by ASCII letters, digits and _", argument="schema"
        )
    return {"options": f"-csearch_path={schema.lower()}"}


def prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
    """Set a new SQLite connection up; transactions are begun by us, not by the driver."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for line in _SQLITE:
        cursor.execute(line)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock before the first read of a unit that writes: nobody waits in between."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _storage(failed: exc.SQLAlchemyError) -> StorageError:
    """Return the error without SQL, parameters or address."""
    text = str(getattr(failed, "orig", None) or "").lower()
    if "locked" in text or isinstance(failed, exc.TimeoutError):
        return StorageError("the database is busy: try again", retry_after=1.0)
    if "full" in text:
        return StorageError("the database's disk is full: make room")
    return StorageError("the database cannot be reached: look at its server and its disk")
