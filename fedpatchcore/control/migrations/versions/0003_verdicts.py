"""Verdicts of a run: defects found and good parts stopped, of all sites together."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add them; runs are read once more, since their folders tell."""
    op.add_column("run", sa.Column("found", sa.JSON(), nullable=True))
    op.add_column("run", sa.Column("stopped", sa.JSON(), nullable=True))
    op.execute("UPDATE run SET stamp = ''")
