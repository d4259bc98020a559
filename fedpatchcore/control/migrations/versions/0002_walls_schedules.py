"""Wall screens, schedules, alarms, rules of products; banks whose bytes were removed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "screen",
        sa.Column("id", BIG, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("opened_at", BIG, nullable=True),
        sa.Column("ends_at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_screen")),
        sa.UniqueConstraint("digest", name=op.f("uq_screen_digest")),
    )
    op.create_table(
        "schedule",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("cron", sa.String(), nullable=False),
        sa.Column("images", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("next_at", BIG, nullable=True),
        sa.Column("last_at", BIG, nullable=True),
        sa.Column("last", sa.String(), nullable=False),
        sa.Column("seen_images", BIG, nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
    )
    op.create_table(
        "alarm",
        sa.Column("id", BIG, nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("times", BIG, nullable=False),
        sa.Column("seen_at", BIG, nullable=True),
        sa.Column("seen_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_index(op.f("ix_alarm_seen_at"), "alarm", ["seen_at"], unique=False)
    op.create_table(
        "product_rule",
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("product", name=op.f("pk_product_rule")),
    )
    op.create_table(
        "removed_bank",
        sa.Column("version_id", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["bank_version.id"], name=op.f("fk_removed_bank_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_removed_bank")),
    )
    op.create_table(
        "tracked_run",
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("mlflow", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_tracked_run_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_tracked_run")),
    )
