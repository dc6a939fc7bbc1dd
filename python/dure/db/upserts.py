"""Rows that may be there already: inserted, added to, or set; alike in both databases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["batches", "inserts", "upserts"]

T = TypeVar("T")

_MANY = 500  # rows of one statement: SQLite takes 32,766 values


async def upserts(
    work: AsyncSession,
    table: Table,
    rows: list[dict[str, Any]],
    *,
    add: tuple[str, ...] = (),
    set_: tuple[str, ...] = (),
    key: tuple[str, ...] | None = None,
) -> None:
    """Insert rows; of those that are there, `add` to some columns and set others, or do nothing."""
    insert = sqlite_insert if work.get_bind().dialect.name == "sqlite" else postgres_insert
    names = list(key or (column.name for column in table.primary_key))
    for some in batches(rows):
        statement: Any = insert(table)
        values = {name: table.c[name] + statement.excluded[name] for name in add}
        values |= {name: statement.excluded[name] for name in set_}
        if values:
            statement = statement.on_conflict_do_update(index_elements=names, set_=values)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=names)
        await work.execute(statement, some)


async def inserts(work: AsyncSession, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows of all columns that are not there, their values as the driver takes them.

    For thousands of rows a second: the statement is made once, and nothing looks at a value.
    """
    if not rows:
        return
    dialect = work.get_bind().dialect
    insert = sqlite_insert if dialect.name == "sqlite" else postgres_insert
    keys = [column.name for column in table.primary_key]
    statement = insert(table).on_conflict_do_nothing(index_elements=keys)
    made = statement.compile(dialect=dialect, column_keys=list(rows[0]))
    connection = await work.connection()
    for some in batches(rows):
        given: Any = some
        if made.positiontup:
            given = [tuple(map(row.__getitem__, made.positiontup)) for row in some]
        await connection.exec_driver_sql(made.string, given)


def batches(rows: list[T], many: int = _MANY) -> Iterable[list[T]]:
    """Return the rows in parts, of what one statement takes if nothing else is said."""
    return (rows[i : i + many] for i in range(0, len(rows), many))
