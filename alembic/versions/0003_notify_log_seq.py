"""notify_log: the place of a message among those of its receiver, and whether a session was sent it"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notify_log", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.add_column("notify_log", sa.Column("sent", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("notify_log", "sent")
    op.drop_column("notify_log", "seq")
