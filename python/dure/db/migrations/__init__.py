"""Alembic's scripts; `dure.db.schema` runs them."""
