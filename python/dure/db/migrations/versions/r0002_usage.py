"""Calls, their sums, limits, alerts, approvals, reports.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SUMS = ("usage_quarters", "usage_statistics", "usage_daily")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "posted_ledgers",
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "epoch", name="pk_posted_ledgers"),
    )
    op.create_table(
        "posted_budgets",
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("maximum", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "number", name="pk_posted_budgets"),
    )
    op.create_table(
        "open_calls",
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("hold", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("host", "epoch", "seq", name="pk_open_calls"),
    )
    _create_calls()
    for name in _SUMS:
        _create_sums(name)
    op.create_index(
        "ix_usage_statistics_org_id_start_us", "usage_statistics", ["org_id", "start_us"]
    )
    op.create_index("ix_usage_daily_org_id_start_us", "usage_daily", ["org_id", "start_us"])
    op.create_index(
        "ix_usage_daily_org_id_user_id_start_us", "usage_daily", ["org_id", "user_id", "start_us"]
    )
    _create_limits()
    _create_approvals()


def _create_calls() -> None:
    op.create_table(
        "llm_calls",
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("hold_epoch", sa.BigInteger(), nullable=False),
        sa.Column("hold_seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("reserved_us", sa.BigInteger(), nullable=False),
        sa.Column("done_us", sa.BigInteger(), nullable=False),
        sa.Column("call_id", sa.String(255), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("org_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("api_key_id", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("service", sa.String(255), nullable=False),
        sa.Column("conversation", sa.String(255), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("units", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_pico", sa.BigInteger(), nullable=False),
        sa.Column("price_version", sa.String(64), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("host", "epoch", "seq", name="pk_llm_calls"),
    )
    op.create_index("ix_llm_calls_hold", "llm_calls", ["host", "hold_epoch", "hold_seq"])
    op.create_index("ix_llm_calls_org_id_reserved_us", "llm_calls", ["org_id", "reserved_us"])
    op.create_index("ix_llm_calls_user_id_reserved_us", "llm_calls", ["user_id", "reserved_us"])
    op.create_index("ix_llm_calls_org_id_conversation", "llm_calls", ["org_id", "conversation"])


def _create_sums(table: str) -> None:
    names = ("org_id", "user_id", "api_key_id", "model", "service")
    sums = ("calls", "input_tokens", "output_tokens", "tokens", "nano", "pico_rem")
    op.create_table(
        table,
        sa.Column("start_us", sa.BigInteger(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.String(255), nullable=False) for name in names),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.PrimaryKeyConstraint("start_us", *names, name=f"pk_{table}"),
    )


def _limit_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("max_tokens", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.String(16), nullable=False),
        sa.Column("alerts", sa.Text(), nullable=False),
        sa.Column("updated_by", sa.String(64), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
    ]


def _create_limits() -> None:
    op.create_table(
        "user_token_limits",
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        *_limit_columns(),
        sa.PrimaryKeyConstraint("org_id", "user_id", name="pk_user_token_limits"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_user_token_limits_org_id"),
    )
    op.create_table(
        "org_token_pools",
        sa.Column("org_id", sa.String(64), nullable=False),
        *_limit_columns(),
        sa.PrimaryKeyConstraint("org_id", name="pk_org_token_pools"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_org_token_pools_org_id"),
    )
    op.create_table(
        "token_usage_alerts",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("window_start_us", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("maximum", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_token_usage_alerts"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_token_usage_alerts_org_id"),
        sa.UniqueConstraint(
            "org_id",
            "scope",
            "window_start_us",
            "percent",
            name="uq_token_usage_alerts_org_id_scope_window_start_us_percent",
        ),
    )
    op.create_index("ix_token_usage_alerts_org_id_at_us", "token_usage_alerts", ["org_id", "at_us"])


def _create_approvals() -> None:
    op.create_table(
        "approval_requests",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("window_start_us", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger()),
        sa.Column("until", sa.BigInteger()),
        sa.Column("decided_by", sa.String(64)),
        sa.Column("decided_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approval_requests"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_approval_requests_org_id"),
        sa.UniqueConstraint(
            "org_id",
            "scope",
            "window_start_us",
            "round",
            name="uq_approval_requests_org_id_scope_window_start_us_round",
        ),
    )
    op.create_index("ix_approval_requests_org_id_state", "approval_requests", ["org_id", "state"])
    op.create_table(
        "reports",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("window_start_us", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_reports_org_id"),
        sa.UniqueConstraint(
            "org_id", "kind", "window_start_us", name="uq_reports_org_id_kind_window_start_us"
        ),
    )
    op.create_index("ix_reports_org_id", "reports", ["org_id"])


def downgrade() -> None:
    """Drop the tables."""
    for name in (
        "reports",
        "approval_requests",
        "token_usage_alerts",
        "org_token_pools",
        "user_token_limits",
        *_SUMS,
        "llm_calls",
        "open_calls",
        "posted_budgets",
        "posted_ledgers",
    ):
        op.drop_table(name)
