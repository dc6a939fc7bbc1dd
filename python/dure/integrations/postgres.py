"""Budgets shared through PostgreSQL: `pip install "dure[postgres]"`.

Example::

    fleet = dure.integrations.postgres.connect(client.budgets, "postgresql://...", host="web-1")
    fleet.set("org:acme", limit="250.00", window="month", zone="Asia/Seoul")
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from dure.errors import MissingExtraError, UnavailableError
from dure.integrations._fleet import Fleet, FleetBudget

try:
    import psycopg
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("postgres", "psycopg") from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dure.costs import AsyncBudgets, Budgets
    from dure.usage import UsageRow

__all__ = ["Fleet", "FleetBudget", "PostgresLeases", "PostgresSink", "connect"]

_TABLES = """
CREATE TABLE IF NOT EXISTS dure_budgets (
  key text PRIMARY KEY, most bigint NOT NULL, leased bigint NOT NULL DEFAULT 0,
  wanted bigint NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS dure_slices (
  key text NOT NULL, host text NOT NULL, amount bigint NOT NULL, PRIMARY KEY (key, host));
"""


class PostgresLeases:
    """A `LeaseStore`: one conditional UPDATE leases."""

    def __init__(self, dsn: str) -> None:
        """Connect and create the two tables if they are missing.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        try:
            self._db = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
            # Two that create the tables at once collide in the catalogue.
            with self._db.transaction():
                self._db.execute("SELECT pg_advisory_xact_lock(8243)")
                self._db.execute(_TABLES)
        except psycopg.Error as error:
            raise _unavailable(error) from error

    def set_limit(self, key: str, limit: int) -> None:
        """Create the budget or change its limit."""
        self._run(
            "INSERT INTO dure_budgets (key, most) VALUES (%s, %s) "
            "ON CONFLICT (key) DO UPDATE SET most = excluded.most",
            (key, limit),
        )

    def lease(self, key: str, host: str, amount: int) -> bool:
        """Give the host `amount` more if that much is left, else nothing."""
        rows = self._run(
            "WITH got AS (UPDATE dure_budgets SET leased = leased + %(n)s "
            "WHERE key = %(key)s AND leased <= most - %(n)s RETURNING key) "
            "INSERT INTO dure_slices (key, host, amount) SELECT key, %(host)s, %(n)s FROM got "
            "ON CONFLICT (key, host) DO UPDATE SET amount = dure_slices.amount + excluded.amount "
            "RETURNING 1",
            {"n": amount, "key": key, "host": host},
        )
        return bool(rows)

    def give_back(self, key: str, host: str, amount: int) -> None:
        """Take `amount` of the host's slice back."""
        self._run(
            "WITH given AS (UPDATE dure_slices SET amount = amount - %(n)s "
            "WHERE key = %(key)s AND host = %(host)s AND amount >= %(n)s RETURNING key) "
            "UPDATE dure_budgets SET leased = leased - %(n)s FROM given "
            "WHERE dure_budgets.key = given.key",
            {"n": amount, "key": key, "host": host},
        )

    def left(self, key: str) -> int | None:
        """Return what nobody has leased; None: there is no such budget."""
        rows = self._run("SELECT most - leased FROM dure_budgets WHERE key = %s", (key,))
        return max(0, rows[0][0]) if rows else None

    def limit(self, key: str) -> int:
        """Return the budget's limit."""
        rows = self._run("SELECT most FROM dure_budgets WHERE key = %s", (key,))
        return rows[0][0] if rows else 0

    def slices(self, key: str) -> dict[str, int]:
        """Return what each host has leased."""
        query = "SELECT host, amount FROM dure_slices WHERE key = %s ORDER BY host"
        return {str(host): amount for host, amount in self._run(query, (key,))}

    def ask_back(self, key: str, amount: int) -> None:
        """Let the other hosts know that `amount` is missing."""
        self._run("UPDATE dure_budgets SET wanted = %s WHERE key = %s", (amount, key))

    def wanted(self, key: str) -> int:
        """Return what is missing somewhere."""
        rows = self._run("SELECT wanted FROM dure_budgets WHERE key = %s", (key,))
        return rows[0][0] if rows else 0

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _run(self, query: str, values: object) -> list[tuple[int, ...]]:
        try:
            cursor = self._db.execute(query, values)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise _unavailable(error) from error


def _unavailable(error: psycopg.Error) -> UnavailableError:
    return UnavailableError(
        f"PostgreSQL gave no answer ({type(error).__name__}): no more is leased until it does"
    )


def connect(
    budgets: Budgets | AsyncBudgets, dsn: str, *, host: str, interval: float = 0.1
) -> Fleet:
    """Share budgets with the other hosts on this database.

    Args:
        budgets: `client.budgets` of this host's data folder.
        dsn: As psycopg takes it.
        host: This host's name, the same after a restart.
        interval: Seconds between two looks at the database.

    Raises:
        UnavailableError: The server cannot be reached, or another process keeps this folder.
    """
    return Fleet(budgets.account, lambda: PostgresLeases(dsn), host=host, interval=interval)


_CALLS = """
CREATE TABLE IF NOT EXISTS dure_llm_calls (
  host text, epoch bigint, seq bigint, hold_epoch bigint, hold_seq bigint, type text,
  reserved_at timestamptz, done_at timestamptz, call_id text, attempt integer, org text,
  "user" text, key text, model text, service text, scopes text[], units jsonb, tokens bigint,
  cost_pico bigint, held_pico bigint, price_version text, flags text[],
  PRIMARY KEY (host, epoch, seq));
CREATE OR REPLACE VIEW dure_usage_quarters AS
  SELECT date_bin('15 minutes', reserved_at, 'epoch'::timestamptz) AS start, org, "user", key,
    model, service, count(*) FILTER (WHERE type = 'SETTLE') AS calls, sum(tokens) AS tokens,
    sum(cost_pico::numeric) AS cost_pico
  FROM dure_llm_calls GROUP BY 1, 2, 3, 4, 5, 6;
"""


class PostgresSink:
    """A `dure.usage.UsageSink`: rows in `dure_llm_calls`, sums in the view `dure_usage_quarters`.

    A row that is there already, by host, epoch and seq, is left as it is: writing twice is
    harmless.
    """

    def __init__(self, dsn: str, *, host: str) -> None:
        """Connect and create the table if it is missing.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        self._host = host
        try:
            self._db = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
            with self._db.transaction():
                self._db.execute("SELECT pg_advisory_xact_lock(8243)")
                self._db.execute(_CALLS)
        except psycopg.Error as error:
            raise _unavailable(error) from error

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Insert the rows in one transaction."""
        marks = ", ".join(["%s"] * 22)
        query = f"INSERT INTO dure_llm_calls VALUES ({marks}) ON CONFLICT DO NOTHING"
        try:
            with self._db.transaction(), self._db.cursor() as cursor:
                cursor.executemany(cast("Any", query), [self._values(row) for row in rows])
        except psycopg.Error as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _values(self, row: UsageRow) -> list[object]:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        values: dict[str, object] = asdict(row)
        for name in ("reserved_us", "done_us"):
            values[name] = epoch + timedelta(microseconds=cast("int", values[name]))
        for name in ("scopes", "flags"):
            values[name] = list(cast("tuple[str, ...]", values[name]))
        values["units"] = json.dumps(values["units"])
        return [self._host, *values.values()]
