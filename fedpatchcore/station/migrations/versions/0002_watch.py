"""The watch over drift; what is known of an alarm's end; which own bank stood beside.

What was judged before is not watched afterwards: its reference would be of another time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "watch",
        sa.Column("id", BIG, nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("bank", sa.String(), nullable=False),
        sa.Column("own", sa.String(), nullable=False),
        sa.Column("judged_by", sa.String(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("begun_at", BIG, nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.Column("parts", BIG, nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watch")),
    )
    op.create_index(op.f("ix_watch_product"), "watch", ["product"], unique=False)
    for name in ("own", "threshold_by"):
        told = sa.Column(name, sa.String(), nullable=False, server_default="")
        op.add_column("inspection", told)
    op.add_column("inspection", sa.Column("watched", BIG, nullable=False, server_default="0"))
    op.execute("UPDATE inspection SET watched = 1 WHERE state != 'waiting'")
    op.create_index(
        op.f("ix_inspection_watched_state"), "inspection", ["watched", "state"], unique=False
    )
    op.add_column("alarm", sa.Column("watch_id", BIG, nullable=False, server_default="0"))
    for name in ("ended_how", "note"):
        op.add_column("alarm", sa.Column(name, sa.String(), nullable=False, server_default=""))
