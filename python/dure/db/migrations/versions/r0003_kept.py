"""Ids at the provider, prompt templates.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "provider_objects",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_provider_objects"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_provider_objects_org_id"),
    )
    op.create_index(
        "ix_provider_objects_org_id_kind", "provider_objects", ["org_id", "kind", "created_at"]
    )
    op.create_table(
        "prompt_templates",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompt_templates"),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_templates_org_id"),
        sa.UniqueConstraint("org_id", "name", name="uq_prompt_templates_org_id_name"),
    )
    op.create_index("ix_prompt_templates_org_id", "prompt_templates", ["org_id"])
    op.create_table(
        "prompt_versions",
        sa.Column("template_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("locale", sa.String(35), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("variables", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", "version", "locale", name="pk_prompt_versions"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["prompt_templates.id"], name="fk_prompt_versions_template_id"
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_versions_org_id"),
    )
    op.create_index("ix_prompt_versions_org_id", "prompt_versions", ["org_id"])
    op.create_table(
        "prompt_labels",
        sa.Column("template_id", sa.String(64), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("org_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("moved_by", sa.String(64), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", "label", name="pk_prompt_labels"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["prompt_templates.id"], name="fk_prompt_labels_template_id"
        ),
        sa.ForeignKeyConstraint(["org_id"], ["orgs.id"], name="fk_prompt_labels_org_id"),
    )
    op.create_index("ix_prompt_labels_org_id", "prompt_labels", ["org_id"])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("prompt_labels", "prompt_versions", "prompt_templates", "provider_objects"):
        op.drop_table(name)
