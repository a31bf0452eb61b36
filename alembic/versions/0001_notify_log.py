"""notify_log, unread_count and idempotency_key"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notify_log",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("receiver", sa.String(128), nullable=False),
        sa.Column("data", sa.JSON().with_variant(sa.Text(), "sqlite"), nullable=True),
        sa.Column("viewed", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("last_modified", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("pushed_at", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
    )
    op.create_index("ix_notify_log_receiver_viewed_created", "notify_log", ["receiver", "viewed", "created"])
    op.create_index("ix_notify_log_receiver_created_id", "notify_log", ["receiver", "created", "id"])
    op.create_index("ix_notify_log_created", "notify_log", ["created"])
    undelivered, unpushed = sa.text("delivered_at IS NULL"), sa.text("pushed_at IS NULL")
    op.create_index(
        "ix_notify_log_undelivered",
        "notify_log",
        ["receiver", "created", "id"],
        postgresql_where=undelivered,
        sqlite_where=undelivered,
    )
    op.create_index(
        "ix_notify_log_unpushed", "notify_log", ["created", "id"], postgresql_where=unpushed, sqlite_where=unpushed
    )
    op.create_table(
        "unread_count",
        sa.Column("receiver", sa.String(128), primary_key=True),
        sa.Column("unread", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.String(), nullable=True),
    )
    op.create_index("ix_idempotency_key_created", "idempotency_key", ["created"])


def downgrade() -> None:
    for table in ("idempotency_key", "unread_count", "notify_log"):
        op.drop_table(table)
