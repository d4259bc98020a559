"""The first tables.

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
        "preset",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_preset")),
    )
    op.create_table(
        "run",
        sa.Column("id", BIG, nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("flower", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("headline", sa.String(), nullable=False),
        sa.Column("begun_at", BIG, nullable=False),
        sa.Column("told_at", BIG, nullable=False),
        sa.Column("round", BIG, nullable=False),
        sa.Column("rounds", BIG, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("sites", BIG, nullable=False),
        sa.Column("wrong", BIG, nullable=False),
        sa.Column("megabytes", sa.Double(), nullable=False),
        sa.Column("auroc", sa.Double(), nullable=True),
        sa.Column("stamp", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("folder", "identity", name=op.f("uq_run_folder_identity")),
    )
    op.create_index(op.f("ix_run_begun_at"), "run", ["begun_at"], unique=False)
    op.create_index(op.f("ix_run_state"), "run", ["state"], unique=False)
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
        "bank_version",
        sa.Column("id", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("made_at", BIG, nullable=False),
        sa.Column("round", BIG, nullable=False),
        sa.Column("library", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("aggregation", sa.String(), nullable=False),
        sa.Column("mechanism", sa.String(), nullable=False),
        sa.Column("sites", sa.JSON(), nullable=False),
        sa.Column("sections", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_bank_version_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_version")),
    )
    op.create_index(op.f("ix_bank_version_digest"), "bank_version", ["digest"], unique=False)
    op.create_index(op.f("ix_bank_version_run_id"), "bank_version", ["run_id"], unique=False)
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
    op.create_table(
        "run_detail",
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("table", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_detail_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_detail")),
    )
    op.create_table(
        "site",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("seen_at", BIG, nullable=False),
        sa.Column("called_at", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("products", sa.JSON(), nullable=False),
        sa.Column("images", BIG, nullable=True),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("library", sa.String(), nullable=False),
        sa.Column("judges", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_site_run_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_site")),
    )
    op.create_table(
        "alias",
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["bank_version.id"], name=op.f("fk_alias_version_id")
        ),
        sa.PrimaryKeyConstraint("product", "alias", name=op.f("pk_alias")),
    )
    op.create_table(
        "judging",
        sa.Column("id", BIG, nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("version_id", BIG, nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["bank_version.id"], name=op.f("fk_judging_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judging")),
    )
    op.create_index(
        op.f("ix_judging_site_product_since"), "judging", ["site", "product", "since"], unique=False
    )
    op.create_table(
        "note",
        sa.Column("id", BIG, nullable=False),
        sa.Column("version_id", BIG, nullable=False),
        sa.Column("at", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["bank_version.id"], name=op.f("fk_note_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_note")),
    )
    op.create_index(op.f("ix_note_version_id"), "note", ["version_id"], unique=False)
    op.create_table(
        "release",
        sa.Column("id", BIG, nullable=False),
        sa.Column("product", sa.String(), nullable=False),
        sa.Column("version_id", BIG, nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("until", BIG, nullable=True),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["bank_version.id"], name=op.f("fk_release_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
    )
    op.create_index(op.f("ix_release_product_since"), "release", ["product", "since"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the trail is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()"
        )
        return
    for what in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_{what.lower()} BEFORE {what} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END"
        )
