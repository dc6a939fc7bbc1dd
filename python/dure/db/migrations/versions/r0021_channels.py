"""Channels, rules, deliveries; which alerts were told.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and the column; what was crossed before is not told now."""
    op.add_column("token_usage_alerts", sa.Column("told_at", sa.BigInteger()))
    op.execute("UPDATE token_usage_alerts SET told_at = at_us")
    op.create_index("ix_token_usage_alerts_told_at", "token_usage_alerts", ["told_at"])
    op.create_table(
        "channels",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_channels_org_id"),
        sa.UniqueConstraint("org_id", "name", name="uq_channels_org_id_name"),
    )
    op.create_index("ix_channels_org_id", "channels", ["org_id"])
    op.create_table(
        "notification_rules",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("channel_id", sa.String(64), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notification_rules"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_notification_rules_org_id"),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name="fk_notification_rules_channel_id"
        ),
        sa.UniqueConstraint(
            "org_id", "event", "channel_id", name="uq_notification_rules_org_id_event_channel_id"
        ),
    )
    op.create_index("ix_notification_rules_org_id", "notification_rules", ["org_id"])
    op.create_index("ix_notification_rules_channel_id", "notification_rules", ["channel_id"])
    _create_deliveries()


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("channel_id", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(255), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("title", sa.String(255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_deliveries_org_id"),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_deliveries_channel_id"),
        sa.UniqueConstraint("channel_id", "event_id", name="uq_deliveries_channel_id_event_id"),
    )
    op.create_index("ix_deliveries_org_id_created_at", "deliveries", ["org_id", "created_at", "id"])
    op.create_index("ix_deliveries_state_next_at", "deliveries", ["state", "next_at"])


def downgrade() -> None:
    """Drop them."""
    for name in ("deliveries", "notification_rules", "channels"):
        op.drop_table(name)
    op.drop_index("ix_token_usage_alerts_told_at", "token_usage_alerts")
    op.drop_column("token_usage_alerts", "told_at")
