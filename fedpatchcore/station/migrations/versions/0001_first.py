"""The first tables of a station, with those of people and the trail.

The trail is append-only in the data base as well: nothing of it is changed or deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "alarm",
        sa.Column("id", BIG, nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("begun_at", BIG, nullable=False),
        sa.Column("first_id", BIG, nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.Column("ended_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_table(
        "bank_use",
        sa.Column("id", BIG, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("own", sa.String(), nullable=False),
        sa.Column("judged_by", sa.String(), nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_use")),
    )
    op.create_table(
        "inspection",
        sa.Column("id", BIG, nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("arrived_at", BIG, nullable=False),
        sa.Column("urgent", BIG, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("begun", BIG, nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("judged_at", BIG, nullable=True),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("regions", sa.JSON(), nullable=False),
        sa.Column("width", BIG, nullable=False),
        sa.Column("height", BIG, nullable=False),
        sa.Column("bank", sa.String(), nullable=False),
        sa.Column("said", sa.String(), nullable=False),
        sa.Column("judged_by", sa.String(), nullable=False),
        sa.Column("milliseconds", sa.Double(), nullable=True),
        sa.Column("waited", sa.Double(), nullable=True),
        sa.Column("uncovered", sa.Double(), nullable=True),
        sa.Column("sharpness", sa.Double(), nullable=True),
        sa.Column("brightness", sa.Double(), nullable=True),
        sa.Column("geometry", sa.String(), nullable=False),
        sa.Column("patches", sa.LargeBinary(), nullable=True),
        sa.Column("why", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspection")),
        sa.UniqueConstraint("source", "digest", name=op.f("uq_inspection_source_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_inspection_arrived_at"), "inspection", ["arrived_at"], unique=False)
    op.create_index(op.f("ix_inspection_digest"), "inspection", ["digest"], unique=False)
    op.create_index(
        op.f("ix_inspection_state_urgent_id"), "inspection", ["state", "urgent", "id"], unique=False
    )
    op.create_index(
        op.f("ix_inspection_verdict_said_id"), "inspection", ["verdict", "said", "id"], unique=False
    )
    op.create_table(
        "outgoing",
        sa.Column("id", BIG, nullable=False),
        sa.Column("inspection_id", BIG, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("next_at", BIG, nullable=False),
        sa.Column("tries", BIG, nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outgoing")),
    )
    op.create_index(op.f("ix_outgoing_inspection_id"), "outgoing", ["inspection_id"], unique=False)
    op.create_index(op.f("ix_outgoing_next_at"), "outgoing", ["next_at"], unique=False)
    op.create_table(
        "seen",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("stamp", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_seen")),
    )
    op.create_table(
        "taught",
        sa.Column("id", BIG, nullable=False),
        sa.Column("inspection_id", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("undone_at", BIG, nullable=True),
        sa.Column("undone_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_taught")),
    )
    op.create_index(op.f("ix_taught_inspection_id"), "taught", ["inspection_id"], unique=False)
    op.create_table(
        "word",
        sa.Column("id", BIG, nullable=False),
        sa.Column("inspection_id", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("says", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["inspection.id"], name=op.f("fk_word_inspection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_word")),
    )
    op.create_index(op.f("ix_word_inspection_id"), "word", ["inspection_id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("number", BIG, autoincrement=False, nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_table(
        "invite",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("ends_at", BIG, nullable=False),
        sa.Column("used_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_invite")),
    )
    op.create_table(
        "token",
        sa.Column("id", BIG, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("ends_at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_token_digest")),
    )
    op.create_table(
        "user",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("ended_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
    )
    op.create_table(
        "login",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user_id", BIG, nullable=False),
        sa.Column("csrf", sa.String(), nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("seen_at", BIG, nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_login_user_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login")),
    )
    op.create_index(op.f("ix_login_user_id"), "login", ["user_id"], unique=False)
    for what in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_{what.lower()} BEFORE {what} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END"
        )
