"""Usage that is not like a person's own.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "usage_anomalies",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usage_anomalies"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_usage_anomalies_org_id"),
        sa.UniqueConstraint(
            "org_id",
            "user_id",
            "start_us",
            "reason",
            name="uq_usage_anomalies_org_id_user_id_start_us_reason",
        ),
    )
    op.create_index(
        "ix_usage_anomalies_org_id_start_us", "usage_anomalies", ["org_id", "start_us", "id"]
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("usage_anomalies")
