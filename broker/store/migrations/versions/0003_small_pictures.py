"""Small pictures that were sent along lie in SQL."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pictures",
        sa.Column("batch_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_pictures_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "position", name=op.f("pk_pictures")),
    )


def downgrade() -> None:
    op.drop_table("pictures")
