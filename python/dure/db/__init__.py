"""The service's database: tables, units of work, migrations; SQLite by default, or PostgreSQL.

Needs the extra `service` (or `db`): pip install "dure[service]". PostgreSQL: also the extra
`postgres`.
"""

from __future__ import annotations

from dure.errors import MissingExtraError

try:
    import sqlalchemy  # noqa: F401
except ImportError as missing:
    raise MissingExtraError.of("service", "sqlalchemy") from missing

__all__ = ["HEAD"]

HEAD = "0024"  # the newest revision under migrations/versions
