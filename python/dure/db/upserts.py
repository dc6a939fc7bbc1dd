"""Rows that may be there already: inserted, added to, or set; alike in both databases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["batches", "upserts"]

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


def batches(rows: list[Any]) -> Iterable[list[Any]]:
    """Return the rows in parts that one statement takes."""
    return (rows[i : i + _MANY] for i in range(0, len(rows), _MANY))
