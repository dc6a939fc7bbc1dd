"""Modes and parameters of prompt versions; moves of labels; data sets, evaluations, scores.

Revision ID: 0020
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and columns."""
    versions = "prompt_versions"
    op.add_column(
        versions, sa.Column("mode", sa.String(16), nullable=False, server_default="plain")
    )
    op.add_column(versions, sa.Column("parameters", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "prompt_label_moves",
        sa.Column("template_id", sa.String(64), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("moved_by", sa.String(64), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", "label", "seq", name="pk_prompt_label_moves"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["prompt_templates.id"], name="fk_prompt_label_moves_template_id"
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_label_moves_org_id"),
    )
    op.create_index("ix_prompt_label_moves_org_id", "prompt_label_moves", ["org_id"])
    op.execute(
        "INSERT INTO prompt_label_moves "
        "(template_id, label, seq, org_id, version, kind, moved_by, moved_at) "
        "SELECT template_id, label, 1, org_id, version, 'set', moved_by, moved_at "
        "FROM prompt_labels"
    )
    _create_datasets()
    _create_evaluations()


def _create_datasets() -> None:
    op.create_table(
        "prompt_datasets",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompt_datasets"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_datasets_org_id"),
        sa.UniqueConstraint("org_id", "name", name="uq_prompt_datasets_org_id_name"),
    )
    op.create_index("ix_prompt_datasets_org_id", "prompt_datasets", ["org_id"])


def _create_evaluations() -> None:
    table = "prompt_evaluations"
    op.create_table(
        table,
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("template_id", sa.String(64), nullable=False),
        sa.Column("dataset_id", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("locale", sa.String(35), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("scorers", sa.Text(), nullable=False),
        sa.Column("max_cost_pico", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("cost_pico", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompt_evaluations"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_evaluations_org_id"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["prompt_templates.id"], name="fk_prompt_evaluations_template_id"
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["prompt_datasets.id"], name="fk_prompt_evaluations_dataset_id"
        ),
    )
    op.create_index("ix_prompt_evaluations_org_id_dataset_id", table, ["org_id", "dataset_id"])
    op.create_index("ix_prompt_evaluations_dataset_id", table, ["dataset_id"])
    op.create_index(
        "ix_prompt_evaluations_template_id_created_at", table, ["template_id", "created_at", "id"]
    )
    op.create_table(
        "prompt_scores",
        sa.Column("evaluation_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("item", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("scores", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("cost_pico", sa.BigInteger(), nullable=False),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("evaluation_id", "version", "item", name="pk_prompt_scores"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["prompt_evaluations.id"], name="fk_prompt_scores_evaluation_id"
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_scores_org_id"),
    )
    op.create_index("ix_prompt_scores_org_id", "prompt_scores", ["org_id"])


def downgrade() -> None:
    """Drop them."""
    for name in ("prompt_scores", "prompt_evaluations", "prompt_datasets", "prompt_label_moves"):
        op.drop_table(name)
    for name in ("parameters", "mode"):
        op.drop_column("prompt_versions", name)
