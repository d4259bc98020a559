"""Passed parts that are drawn by lot, for a person to look at."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "draw",
        sa.Column("id", BIG, nullable=False),
        sa.Column("begun_at", BIG, nullable=False),
        sa.Column("ended_at", BIG, nullable=False),
        sa.Column("passed", BIG, nullable=False),
        sa.Column("taken", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draw")),
    )
    op.add_column("inspection", sa.Column("drawn", BIG, nullable=False, server_default="0"))
    op.create_index(
        op.f("ix_inspection_drawn_said_id"), "inspection", ["drawn", "said", "id"], unique=False
    )
