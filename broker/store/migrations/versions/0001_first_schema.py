"""The first schema: workspaces, tokens, batches with their tallies and results, documents, items."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from broker.store import tally_triggers

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.create_table(
        "instance_facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_instance_facts")),
    )
    op.create_table(
        "chores",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    op.create_table(
        "workspaces",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("allowance", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspaces")),
        sa.UniqueConstraint("name", name=op.f("uq_workspaces_name")),
    )
    op.create_table(
        "batches",
        sa.Column("seq", SEQUENCE, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("records", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.Column("pinned", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("webhook", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("lease_seq", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("doubts", sa.Integer(), nullable=False),
        sa.Column("suspect", sa.Integer(), nullable=True),
        sa.Column("combined", sa.Text(), nullable=True),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=True),
        sa.Column("pending", sa.Integer(), nullable=True),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("body_hash", sa.LargeBinary(), nullable=True),
        sa.Column("inputs_expired", sa.BigInteger(), nullable=True),
        sa.Column("outputs_expired", sa.BigInteger(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(status = 'DONE') = (outcome IS NOT NULL)", name=op.f("ck_batches_outcome")),
        sa.CheckConstraint("status IN ('CREATED', 'PROCESSING', 'PAUSED', 'DONE')", name=op.f("ck_batches_status")),
        sa.ForeignKeyConstraint(["parent_id"], ["batches.id"], name=op.f("fk_batches_parent_id")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_batches_workspace_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_batches")),
        sa.UniqueConstraint("id", name=op.f("uq_batches_id")),
    )
    op.create_index(
        "ix_batches_claim",
        "batches",
        ["type", "rank", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'CREATED'"),
        postgresql_where=sa.text("status = 'CREATED'"),
    )
    op.create_index(
        "ix_batches_lease",
        "batches",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("status = 'PROCESSING' AND lease_until IS NOT NULL"),
        postgresql_where=sa.text("status = 'PROCESSING' AND lease_until IS NOT NULL"),
    )
    op.create_index(
        "ix_batches_keyed",
        "batches",
        ["created"],
        unique=False,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ix_batches_crashed",
        "batches",
        ["rank", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'CREATED' AND crashes > 0"),
        postgresql_where=sa.text("status = 'CREATED' AND crashes > 0"),
    )
    op.create_index(
        "ix_batches_complete",
        "batches",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status = 'PROCESSING' AND pending = 0"),
        postgresql_where=sa.text("status = 'PROCESSING' AND pending = 0"),
    )
    op.create_index(
        "ix_batches_ended",
        "batches",
        ["finished", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'DONE'"),
        postgresql_where=sa.text("status = 'DONE'"),
    )
    op.create_index(
        "ix_batches_list",
        "batches",
        ["workspace_id", "seq", "dialect", "type"],
        unique=False,
        sqlite_where=sa.text("parent_id IS NULL"),
        postgresql_where=sa.text("parent_id IS NULL"),
    )
    op.create_index(
        "uq_batches_child",
        "batches",
        ["parent_id", "ordinal"],
        unique=True,
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index(
        "uq_batches_external",
        "batches",
        ["external_id", "dialect"],
        unique=True,
        sqlite_where=sa.text("external_id IS NOT NULL"),
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index(
        "uq_batches_idempotency",
        "batches",
        ["workspace_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "tallies",
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("stretch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("child", sa.Boolean(), nullable=False),
        sa.Column("part", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("processing", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.BigInteger(), nullable=False),
        sa.Column("partial", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            *("workspace_id", "stretch", "dialect", "type", "child", "part"), name=op.f("pk_tallies")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_tallies_parts",
        "tallies",
        ["part"],
        unique=False,
        sqlite_where=sa.text("part > 0"),
        postgresql_where=sa.text("part > 0"),
    )
    for statement in tally_triggers.CREATE[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_tokens_workspace_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_index(op.f("ix_tokens_workspace_id"), "tokens", ["workspace_id"], unique=False)
    op.create_table(
        "documents",
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_documents_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "kind", "id", "version", name=op.f("pk_documents")),
    )
    op.create_table(
        "results",
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("lease_seq", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("request_id", ID, nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_results_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "position", name=op.f("pk_results")),
    )
    op.create_table(
        "collections",
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_collections_workspace_id")),
        sa.PrimaryKeyConstraint("workspace_id", "kind", "id", name=op.f("pk_collections")),
    )
    op.create_table(
        "items",
        sa.Column("workspace_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("blob", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id", "kind", "collection"],
            ["collections.workspace_id", "collections.kind", "collections.id"],
            name=op.f("fk_items_workspace_id_kind_collection"),
        ),
        sa.PrimaryKeyConstraint("workspace_id", "kind", "collection", "id", name=op.f("pk_items")),
    )
    op.create_index("ix_items_changes", "items", ["workspace_id", "kind", "collection", "revision", "id"], unique=False)
    op.create_table(
        "token_grants",
        sa.Column("token_id", ID, nullable=False),
        sa.Column("workspace_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_token_grants_token_id")),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_token_grants_workspace_id")),
        sa.PrimaryKeyConstraint("token_id", "workspace_id", name=op.f("pk_token_grants")),
    )


def downgrade() -> None:
    """Indexes go with their tables."""
    op.drop_table("chores")
    op.drop_table("items")
    op.drop_table("collections")
    op.drop_table("token_grants")
    op.drop_table("results")
    op.drop_table("tokens")
    op.drop_table("batches")
    op.drop_table("tallies")
    for statement in tally_triggers.DROP[op.get_bind().dialect.name]:
        op.execute(statement)
    op.drop_table("documents")
    op.drop_table("workspaces")
    op.drop_table("instance_facts")
