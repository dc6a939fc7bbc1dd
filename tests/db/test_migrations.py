"""Every revision up and down, with data, on both databases; foreign tables are left alone."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from dure.db import HEAD, schema, tables
from dure.db.base import Base
from dure.db.engine import Database, connect_arguments, sqlite_url, sync_url
from dure.errors import InvalidArgumentError, StorageError, StoreVersionError
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

Place = tuple["str | URL", "str | None"]
REVISIONS = ["0001", "0002", "0003", "0010", "0020", "0021", "0022", "0023", "0024"]
ORG = (
    "INSERT INTO orgs (id, name, zone, log_content, created_at) "
    "VALUES ('acme', '두레', 'Asia/Seoul', 'off', 1700000000000001)"
)


def connected(place: Place) -> AbstractContextManager[Connection]:
    url, name = place
    known = sync_url(url)
    arguments = {} if known.get_backend_name() == "sqlite" else connect_arguments(name)
    return create_engine(known, connect_args=arguments, poolclass=NullPool).begin()


def tables_of(place: Place) -> set[str]:
    with connected(place) as connection:
        return set(inspect(connection).get_table_names()) - {schema.VERSION_TABLE}


def test_the_revisions_are_one_line_and_its_end_is_known() -> None:
    with schema._connection("sqlite://", None) as connection:
        found = ScriptDirectory.from_config(schema._config(connection))
        assert found.get_current_head() == HEAD
        assert [one.revision for one in found.walk_revisions()] == REVISIONS[::-1]


def test_what_migrations_make_is_what_the_rows_say(place: Place) -> None:
    assert schema.upgrade(place[0], schema=place[1]) == HEAD
    assert tables_of(place) == set(Base.metadata.tables)
    assert {"usage_statistics", "user_token_limits", "token_usage_alerts"} <= tables_of(place)
    with connected(place) as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": schema.VERSION_TABLE, "compare_type": True},
        )
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_revision_with_data_goes_up_and_comes_back(place: Place, revision: str) -> None:
    url, name = place
    assert schema.upgrade(url, schema=name, revision=revision) == revision
    before = tables_of(place)
    with connected(place) as connection:
        connection.execute(text(ORG))
    assert schema.upgrade(url, schema=name) == HEAD
    assert schema.upgrade(url, schema=name) == HEAD, "twice does nothing"
    assert schema.downgrade(url, revision, schema=name) == revision
    assert tables_of(place) == before
    with connected(place) as connection:
        row = connection.execute(text("SELECT id, name, created_at FROM orgs")).one()
    assert tuple(row) == ("acme", "두레", 1700000000000001)
    assert schema.downgrade(url, "base", schema=name) == ""
    assert tables_of(place) == set()


async def test_ensure_upgrades_once_and_then_only_looks(place: Place) -> None:
    database = Database(place[0], schema=place[1])
    try:
        await schema.ensure(database)
        assert schema.current(place[0], schema=place[1]) == HEAD
        await schema.ensure(database)
        async with database.write() as work:
            work.add(tables.LeaseModel(name="x", holder="y", until=_moment()))
        async with database.read() as work:
            found = await work.get(tables.LeaseModel, "x")
        assert found is not None
        assert found.until == _moment()
    finally:
        await database.close()


def _moment() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 11, 21, 12, 0, 0, 1, UTC)


def test_a_newer_database_is_left_untouched(place: Place) -> None:
    url, name = place
    schema.upgrade(url, schema=name)
    with connected(place) as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreVersionError, match="9999"):
        schema.upgrade(url, schema=name)
    with pytest.raises(StoreVersionError, match="9999"):
        schema.downgrade(url, "base", schema=name)
    assert tables_of(place) == set(Base.metadata.tables)


@pytest.fixture
def foreign(place: Place) -> Place:
    """A database in which another program has `users` and `usage_statistics`."""
    if place[1] is not None:
        with connected((place[0], None)) as connection:
            connection.execute(text(f"CREATE SCHEMA {place[1]}"))
    with connected(place) as connection:
        connection.execute(text("CREATE TABLE users (id INTEGER PRIMARY KEY, login TEXT)"))
        connection.execute(text("CREATE TABLE usage_statistics (day TEXT, total INTEGER)"))
        connection.execute(text("INSERT INTO users VALUES (7, 'kim')"))
        connection.execute(text("INSERT INTO usage_statistics VALUES ('2026-11-21', 42)"))
    return place


def as_before(place: Place) -> bool:
    with connected(place) as connection:
        users = connection.execute(text("SELECT * FROM users")).all()
        statistics = connection.execute(text("SELECT * FROM usage_statistics")).all()
        columns = [c["name"] for c in inspect(connection).get_columns("users")]
    return (
        [tuple(row) for row in users] == [(7, "kim")]
        and [tuple(row) for row in statistics] == [("2026-11-21", 42)]
        and columns == ["id", "login"]
    )


def test_foreign_tables_are_never_altered(foreign: Place) -> None:
    url, name = foreign
    with pytest.raises(InvalidArgumentError, match="usage_statistics, users"):
        schema.upgrade(url, schema=name)
    assert as_before(foreign)
    assert tables_of(foreign) == {"users", "usage_statistics"}


def test_a_schema_of_its_own_lives_beside_foreign_tables(
    foreign: Place, request: pytest.FixtureRequest
) -> None:
    url, name = foreign
    if name is None:
        pytest.skip("SQLite has no schemas: it gets a file of its own")
    own = (url, f"{name}_own")
    assert schema.upgrade(own[0], schema=own[1]) == HEAD
    assert tables_of(own) == set(Base.metadata.tables)
    assert as_before(foreign)
    assert schema.downgrade(own[0], "base", schema=own[1]) == ""
    assert as_before(foreign)
    del request


def _upgrade(url: str) -> None:
    schema.upgrade(url)


def test_several_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "service.db").render_as_string()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_upgrade, args=(url,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert schema.current(url) == HEAD


def test_an_upgrade_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sqlite_url(tmp_path / "service.db")
    schema.upgrade(url, revision="0001")
    with sqlite3.connect(tmp_path / "service.db") as raw:
        raw.execute(ORG)
    from alembic import op

    made = op.create_table

    def break_off(name: str, *columns: Any, **options: Any) -> Any:
        if name == "prompt_versions":
            raise RuntimeError("the power is gone")
        return made(name, *columns, **options)

    monkeypatch.setattr(op, "create_table", break_off)
    with pytest.raises(RuntimeError, match="power"):
        schema.upgrade(url)
    monkeypatch.undo()
    assert schema.current(url) == "0001"
    assert "llm_calls" not in tables_of((url, None))
    assert schema.upgrade(url) == HEAD


def test_addresses_that_cannot_work_say_so_and_show_no_password(tmp_path: Path) -> None:
    for address in ("mysql://root:hunter22@h/x", "no address", "redis://h"):
        with pytest.raises(InvalidArgumentError, match="sqlite:///PATH") as wrong:
            Database(address)
        assert "hunter22" not in str(wrong.value)
    with pytest.raises(InvalidArgumentError, match="schema"):
        Database(sqlite_url(tmp_path / "x"), schema="dure")
    with pytest.raises(InvalidArgumentError, match="ASCII"):
        Database("postgresql://h/x", schema="x; DROP TABLE users")
    with pytest.raises(StorageError, match="cannot be opened") as closed:
        schema.upgrade("postgresql://u:hunter22@127.0.0.1:9/x")
    assert "hunter22" not in str(closed.value)


def test_json_is_kept_with_sorted_names(place: Place) -> None:
    schema.upgrade(place[0], schema=place[1])
    with connected(place) as connection:
        connection.execute(text(ORG))
        connection.execute(
            tables.AuditLogModel.__table__.insert().values(  # type: ignore[attr-defined]
                org_id="acme", seq=1, at=_moment(), actor="a", action="b", target="c",
                detail={"z": 1, "a": "두레"}, mac="0",
            )
        )  # fmt: skip
        raw = connection.execute(text("SELECT detail FROM audit_log")).scalar_one()
    assert raw == json.dumps({"a": "두레", "z": 1}, ensure_ascii=False)
