"""Runs revisions on the connection that `dure.db.schema` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from dure.db.base import Base
from dure.db.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
