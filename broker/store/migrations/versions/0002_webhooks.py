"""Webhooks: endpoints, deliveries, attempts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("recent", sa.Text(), nullable=False),
        sa.Column("open_until", sa.BigInteger(), nullable=True),
        sa.Column("holding", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('healthy', 'failing', 'disabled')", name=op.f("ck_endpoints_state")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_endpoints_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
    )
    op.create_index("ix_endpoints_list", "endpoints", ["workspace_id", "id"], unique=False)
    op.create_index(
        "ix_endpoints_holding",
        "endpoints",
        ["workspace_id"],
        unique=False,
        sqlite_where=sa.text("holding = true"),
        postgresql_where=sa.text("holding = true"),
    )
    op.create_index(
        "ix_endpoints_ready",
        "endpoints",
        ["workspace_id", "id"],
        unique=False,
        sqlite_where=sa.text("holding = true AND open_until IS NULL"),
        postgresql_where=sa.text("holding = true AND open_until IS NULL"),
    )
    op.create_index(
        "ix_endpoints_broken",
        "endpoints",
        ["workspace_id", "open_until"],
        unique=False,
        sqlite_where=sa.text("holding = true AND open_until IS NOT NULL"),
        postgresql_where=sa.text("holding = true AND open_until IS NOT NULL"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("batch_id", ID, nullable=True),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("target", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("hurried", sa.Boolean(), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.Column("held", sa.BigInteger(), nullable=True),
        sa.Column("scheduled", sa.BigInteger(), nullable=True),
        sa.Column("lease_seq", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'exhausted', 'refused', 'superseded', 'stopped')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.CheckConstraint("due IS NULL OR held IS NULL", name=op.f("ck_deliveries_held")),
        sa.CheckConstraint("scheduled IS NULL OR manual", name=op.f("ck_deliveries_scheduled")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_deliveries_batch_id")),
        sa.ForeignKeyConstraint(["endpoint"], ["endpoints.id"], name=op.f("fk_deliveries_endpoint")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_deliveries_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("batch_id", "run", "event", name=op.f("uq_deliveries_batch_id_run_event")),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due", "id"],
        unique=False,
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_held",
        "deliveries",
        ["endpoint", "held", "id"],
        unique=False,
        sqlite_where=sa.text("held IS NOT NULL"),
        postgresql_where=sa.text("held IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_asked",
        "deliveries",
        ["endpoint", "held", "id"],
        unique=False,
        sqlite_where=sa.text("manual = true AND held IS NOT NULL"),
        postgresql_where=sa.text("manual = true AND held IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_owed",
        "deliveries",
        ["endpoint"],
        unique=False,
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_told",
        "deliveries",
        ["created"],
        unique=False,
        sqlite_where=sa.text("batch_id IS NULL"),
        postgresql_where=sa.text("batch_id IS NULL"),
    )
    op.create_index("ix_deliveries_list", "deliveries", ["workspace_id", "id"], unique=False)
    op.create_index("ix_deliveries_endpoint", "deliveries", ["endpoint", "id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("delivery_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("manual", sa.Boolean(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_attempts")),
    )


def downgrade() -> None:
    """Indexes go with their tables."""
    op.drop_table("attempts")
    op.drop_table("deliveries")
    op.drop_table("endpoints")
