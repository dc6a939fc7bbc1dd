"""Logs of contents; where audit logs were taken off.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "content_logs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("api_key_id", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("path", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("input_bytes", sa.BigInteger(), nullable=False),
        sa.Column("output_bytes", sa.BigInteger(), nullable=False),
        sa.Column("input", sa.Text()),
        sa.Column("output", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_content_logs"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_content_logs_org_id"),
    )
    op.create_index("ix_content_logs_org_id_at", "content_logs", ["org_id", "at", "id"])
    op.create_index("ix_content_logs_at", "content_logs", ["at"])
    op.create_table(
        "audit_checkpoints",
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("org_id", name="pk_audit_checkpoints"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_audit_checkpoints_org_id"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("audit_checkpoints", "content_logs"):
        op.drop_table(name)
