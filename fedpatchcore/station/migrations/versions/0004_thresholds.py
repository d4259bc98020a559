"""Thresholds that people chose; scores of one bank's parts are found by their order."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "chosen_threshold",
        sa.Column("id", BIG, nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("bank", sa.String(), nullable=False),
        sa.Column("own", sa.String(), nullable=False),
        sa.Column("judged_by", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("before", sa.Double(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.Column("ended_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chosen_threshold")),
    )
    op.create_index(
        op.f("ix_chosen_threshold_product"), "chosen_threshold", ["product"], unique=False
    )
    parts = ["product", "bank", "own", "judged_by", "score"]
    op.create_index(
        op.f("ix_inspection_product_bank_own_judged_by_score"), "inspection", parts, unique=False
    )
