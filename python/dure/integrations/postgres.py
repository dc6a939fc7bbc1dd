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
    from collections.abc import Iterable, Sequence

    from dure.costs import AsyncBudgets, Budgets
    from dure.usage import UsageRow

__all__ = ["Fleet", "FleetBudget", "PostgresLeases", "PostgresSink", "connect"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLES = """
CREATE TABLE IF NOT EXISTS dure_budgets (
  key text PRIMARY KEY, most bigint NOT NULL, leased bigint NOT NULL DEFAULT 0,
  wanted bigint NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS dure_slices (
  key text NOT NULL, host text NOT NULL, amount bigint NOT NULL, PRIMARY KEY (key, host));
CREATE TABLE IF NOT EXISTS dure_grants (
  key text NOT NULL, amount bigint NOT NULL, until_us bigint NOT NULL);
CREATE INDEX IF NOT EXISTS dure_grants_by_key ON dure_grants (key);
CREATE TABLE IF NOT EXISTS dure_uses (
  key text NOT NULL, host text NOT NULL, used numeric NOT NULL, PRIMARY KEY (key, host));
CREATE TABLE IF NOT EXISTS dure_alerts (
  key text NOT NULL, percent integer NOT NULL, PRIMARY KEY (key, percent));
"""
# `most` has the grants in it: leasing looks at one row.
_GRANTED = "(SELECT COALESCE(SUM(amount), 0)::bigint FROM dure_grants WHERE key = %(key)s)"


class PostgresLeases:
    """A `LeaseStore`: one conditional UPDATE leases."""

    def __init__(self, dsn: str) -> None:
        """Connect and create the tables if they are missing.

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
            f"INSERT INTO dure_budgets (key, most) VALUES (%(key)s, %(limit)s) "
            f"ON CONFLICT (key) DO UPDATE SET most = excluded.most + {_GRANTED}",
            {"key": key, "limit": limit},
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
        """Return the budget's limit, without grants."""
        rows = self._run(
            f"SELECT most - {_GRANTED} FROM dure_budgets WHERE key = %(key)s", {"key": key}
        )
        return rows[0][0] if rows else 0

    def grant(self, key: str, amount: int, until_us: int) -> None:
        """Let `amount` more be leased until then."""
        self._run(
            "WITH given AS (INSERT INTO dure_grants VALUES (%(key)s, %(n)s, %(until)s) "
            "RETURNING amount) UPDATE dure_budgets SET most = most + %(n)s FROM given "
            "WHERE key = %(key)s",
            {"key": key, "n": amount, "until": until_us},
        )

    def granted(self, key: str, now_us: int) -> int:
        """Return what is granted, after those grants that have ended were taken back."""
        self._run(
            "WITH gone AS (DELETE FROM dure_grants WHERE key = %(key)s AND until_us <= %(now)s "
            "RETURNING amount) UPDATE dure_budgets SET most = most - of.sum FROM "
            "(SELECT SUM(amount)::bigint AS sum FROM gone) AS of "
            "WHERE key = %(key)s AND of.sum IS NOT NULL",
            {"key": key, "now": now_us},
        )
        return self._run(f"SELECT {_GRANTED}", {"key": key})[0][0]

    def report(self, key: str, host: str, used: int) -> int:
        """Note what the host has used; return what all have."""
        self._run(
            "INSERT INTO dure_uses VALUES (%s, %s, %s) "
            "ON CONFLICT (key, host) DO UPDATE SET used = excluded.used",
            (key, host, used),
        )
        return int(self._run("SELECT SUM(used) FROM dure_uses WHERE key = %s", (key,))[0][0])

    def tell_once(self, key: str, percent: int) -> bool:
        """Whether the asker is the first, of all hosts, to tell this alert."""
        return bool(
            self._run(
                "INSERT INTO dure_alerts VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING 1",
                (key, percent),
            )
        )

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


_SUMMED = ("org", "user", "key", "model", "service")
_ROLL_UP = """
CREATE TABLE IF NOT EXISTS {table} (
  start timestamptz, org text, "user" text, key text, model text, service text, calls bigint,
  tokens numeric, cost_pico numeric, PRIMARY KEY (start, org, "user", key, model, service));
"""
_LEVELS = {"hour": "dure_usage_statistics", "day": "dure_usage_daily"}
_CALLS = (
    """
CREATE TABLE IF NOT EXISTS dure_llm_calls (
  host text, epoch bigint, seq bigint, hold_epoch bigint, hold_seq bigint, type text,
  reserved_at timestamptz, done_at timestamptz, call_id text, attempt integer, org text,
  "user" text, key text, model text, service text, scopes text[], units jsonb, tokens bigint,
  cost_pico bigint, held_pico bigint, price_version text, flags text[],
  PRIMARY KEY (host, epoch, seq));
ALTER TABLE dure_llm_calls ADD COLUMN IF NOT EXISTS sent_at timestamptz;
"""
    + "".join(
        f"ALTER TABLE dure_llm_calls ADD COLUMN IF NOT EXISTS {column};\n"
        for column in (
            "provider text",
            "service_tier text",
            "region text",
            "returned_model text",
            "request_id text",
            "execution text",
            "conversation text",
            "lines jsonb",
            "parent_epoch bigint",
            "parent_seq bigint",
        )
    )
    + """
CREATE OR REPLACE VIEW dure_usage_quarters AS
  SELECT date_bin('15 minutes', reserved_at, 'epoch'::timestamptz) AS start, org, "user", key,
    model, service,
    count(*) FILTER (WHERE type = 'SETTLE' AND NOT flags && ARRAY['cached', 'coalesced']) AS calls,
    sum(tokens) AS tokens, sum(cost_pico::numeric) AS cost_pico
  FROM dure_llm_calls GROUP BY 1, 2, 3, 4, 5, 6;
CREATE TABLE IF NOT EXISTS dure_usage_settings (name text PRIMARY KEY, value text);
"""
    + "".join(_ROLL_UP.format(table=table) for table in _LEVELS.values())
)
_ALONE = "SELECT pg_advisory_xact_lock(8243)"
_Sums = dict[tuple[object, ...], list[int]]  # start and names -> calls, tokens, pico-dollars


class PostgresSink:
    """A `dure.usage.UsageSink`: rows in `dure_llm_calls`, integer sums beside them.

    The view `dure_usage_quarters` has quarters of an hour in UTC, the tables
    `dure_usage_statistics` and `dure_usage_daily` local hours and days. A row that is there
    already, by host, epoch and seq, is left as it is and counted once: writing twice is harmless.
    """

    def __init__(self, dsn: str, *, host: str, zone: str | None = None, name: str = "") -> None:
        """Connect and create the tables if they are missing.

        Args:
            dsn: As psycopg takes it.
            host: This host's name, the same after a restart.
            zone: IANA zone of local hours and days, one for all hosts; None: what the database
                has, else UTC. Another zone than the database's rebuilds both from the rows.
            name: Tells several sinks of one book apart.

        Raises:
            InvalidArgumentError: Unknown zone, or no zone data: install tzdata.
            UnavailableError: The server cannot be reached.
        """
        self.name = name or f"{type(self).__name__} {host}"
        self._host = host
        try:
            self._db = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
            with self._db.transaction():
                self._db.execute(_ALONE)
                self._db.execute(_CALLS)
                known = self._zone()
                if known is None or zone not in (None, known):
                    self._rebuild(zone or "UTC")
        except psycopg.Error as error:
            raise _unavailable(error) from error

    def write(self, rows: Sequence[UsageRow]) -> None:
        """Insert the rows and add them to the sums, in one transaction."""
        marks = ", ".join(["%s"] * 33)
        query = f"INSERT INTO dure_llm_calls VALUES ({marks}) ON CONFLICT DO NOTHING RETURNING 1"
        try:
            with self._db.transaction(), self._db.cursor() as cursor:
                cursor.execute(_ALONE)  # one zone at a time, and sums without a deadlock
                cursor.executemany(
                    cast("Any", query), [self._values(row) for row in rows], returning=True
                )
                new = []
                for row in rows:
                    if cursor.fetchone() is not None:
                        new.append(row)
                    cursor.nextset()
                self._add([_counted(row) for row in new], self._zone() or "UTC")
        except psycopg.Error as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    # All below in a transaction -------------------------------------------------------------------

    def _zone(self) -> str | None:
        found = self._db.execute(
            "SELECT value FROM dure_usage_settings WHERE name = 'zone'"
        ).fetchone()
        return None if found is None else str(found[0])

    def _rebuild(self, zone: str) -> None:
        for table in _LEVELS.values():
            self._db.execute(cast("Any", f"DELETE FROM {table}"))
        quarters = self._db.execute(
            'SELECT (extract(epoch FROM start) * 1000000)::bigint, org, "user", key, model, '
            "service, calls, tokens, cost_pico FROM dure_usage_quarters"
        ).fetchall()
        self._add(quarters, zone)
        self._db.execute(
            "INSERT INTO dure_usage_settings VALUES ('zone', %s) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (zone,),
        )

    def _add(self, counted: Iterable[tuple[Any, ...]], zone: str) -> None:
        """Add `(microseconds, names..., calls, tokens, pico)` to local hours and days."""
        from dure.usage import start_of

        sums: dict[str, _Sums] = {level: {} for level in _LEVELS}
        for at_us, *rest in counted:
            names, numbers = rest[: len(_SUMMED)], rest[len(_SUMMED) :]
            for level, of_level in sums.items():
                start = _EPOCH + timedelta(microseconds=start_of(level, at_us, zone))
                sum_ = of_level.setdefault((start, *names), [0, 0, 0])
                for i, number in enumerate(numbers):
                    sum_[i] += int(number)
        for level, table in _LEVELS.items():
            query = (
                f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
                'ON CONFLICT (start, org, "user", key, model, service) DO UPDATE SET '
                f"calls = {table}.calls + excluded.calls, "
                f"tokens = {table}.tokens + excluded.tokens, "
                f"cost_pico = {table}.cost_pico + excluded.cost_pico"
            )
            with self._db.cursor() as cursor:
                values = [[*key, *numbers] for key, numbers in sums[level].items()]
                cursor.executemany(cast("Any", query), values)

    def _values(self, row: UsageRow) -> list[object]:
        values: dict[str, object] = asdict(row)
        for name in ("reserved_us", "done_us"):
            values[name] = _EPOCH + timedelta(microseconds=cast("int", values[name]))
        values["sent_us"] = _EPOCH + timedelta(microseconds=row.sent_us) if row.sent_us else None
        for name in ("scopes", "flags"):
            values[name] = list(cast("tuple[str, ...]", values[name]))
        for name in ("units", "lines"):
            values[name] = json.dumps(values[name])
        return [self._host, *values.values()]


def _counted(row: UsageRow) -> tuple[object, ...]:
    """Return what a row adds to the sums of its hour and day."""
    names = (row.org, row.user, row.key, row.model, row.service)
    return (row.reserved_us, *names, int(row.is_call), row.tokens, row.cost_pico)
