"""Which alarms the control room was told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add it."""
    op.add_column("alarm", sa.Column("reported", BIG, nullable=False, server_default="0"))
