"""A data base with pages: one SQLite file in WAL mode, its migrations by Alembic.

Whoever writes takes the lock at the beginning, so that no change is refused half-way; whoever
reads waits for nobody. A migration is one transaction: cut in the middle, nothing of it is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from fedpatchcore.errors import ControlError

__all__ = ["Database"]

BUSY_SECONDS = 10.0
MIGRATIONS = Path(__file__).with_name("migrations")


class Unusable(ControlError):
    """The disk is full, or the data base is locked or damaged; nothing was changed."""

    status = 503


class Database:
    """Sessions on one file. Raises ControlError, in one line, where the disk or a lock refuses.

    Args:
        migrations: folder of the revisions that make its tables.

    Attributes:
        queries: statements that were sent, for those who count them.
    """

    def __init__(self, path: Path, migrations: Path) -> None:
        self.path, self.migrations = path, migrations
        self.queries = 0
        if not path.exists():  # for its owner alone, whatever the umask
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS}
        )
        event.listen(self.engine, "connect", _prepared)
        event.listen(self.engine, "begin", _begin)
        event.listen(self.engine, "before_cursor_execute", self._count)

    def _count(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        self.queries += not statement.startswith("BEGIN")

    def upgrade(self, to: str = "head") -> None:
        """Bring the tables to this version's; ControlError if a newer version made them."""
        config = Config()
        for key, value in (
            ("script_location", MIGRATIONS),
            ("path_separator", "newline"),
            ("version_locations", self.migrations),
        ):
            config.set_main_option(key, str(value).replace("%", "%%"))
        with self._said(), self._writing().begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, to)
            except CommandError as error:
                raise ControlError(
                    f"{self.path} was made by a newer version ({error}): install that one, or take "
                    "the data base of this one from a backup"
                ) from None

    def _writing(self):
        return self.engine.execution_options(writing=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment of the data base and changes nothing."""
        with self._said(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are there together when it ends well, or not at all."""
        with self._said(), Session(self._writing(), expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise Unusable(
                f"the data base {self.path} cannot be used just now: {error.orig}; nothing was "
                "changed"
            ) from None

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()


def _prepared(connection: object, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins, not the driver: also before DDL
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
