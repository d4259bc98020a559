"""A data base with pages: a SQLite file in WAL mode, or PostgreSQL; its migrations by Alembic.

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
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.orm import Session

from fedpatchcore.errors import ConfigError, ControlError
from fedpatchcore.texts import one_line

__all__ = ["Database"]

BUSY_SECONDS = 10.0
MIGRATIONS = Path(__file__).with_name("migrations")
LOCK = 0x66656470  # of whoever writes, among all sessions of a PostgreSQL data base


class Unusable(ControlError):
    """The disk is full, or the data base is locked, away or damaged; nothing was changed."""

    status = 503


class Database:
    """Sessions on one data base. Raises ControlError, in one line, where disk or lock refuses.

    Args:
        place: the SQLite file, or the URL of a PostgreSQL data base
            (``postgresql://user@host/name``; the password from PGPASSFILE).
        migrations: folder of the revisions that make its tables.

    Attributes:
        path: of the SQLite file; None on PostgreSQL.
        queries: statements that were sent, for those who count them.

    Raises:
        ConfigError: a URL of another kind, or the driver is not installed.
    """

    def __init__(self, place: Path | str, migrations: Path) -> None:
        self.queries = 0
        self.migrations = migrations
        self.path = place if isinstance(place, Path) else None
        if isinstance(place, Path):
            self.engine = _sqlite(place)
            self.said = str(place)
        else:
            self.engine = _postgresql(place)
            self.said = self.engine.url.render_as_string(hide_password=True)
        event.listen(self.engine, "before_cursor_execute", self._count)

    def _count(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        self.queries += not statement.startswith(("BEGIN", "PRAGMA", "SELECT pg_advisory"))

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
                    f"{self.said} was made by a newer version ({error}): install that one, or take "
                    "the data base of this one from a backup"
                ) from None

    def _writing(self, *, synced: bool = True) -> Engine:
        if self.engine.dialect.name == "sqlite":
            return self.engine.execution_options(writing=True, synced=synced)
        # what the writer before this one wrote is seen once the lock is had
        return self.engine.execution_options(writing=True, isolation_level="READ COMMITTED")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one moment of the data base and changes nothing."""
        with self._said(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, *, synced: bool = True) -> Iterator[Session]:
        """A session whose changes are there together when it ends well, or not at all.

        Args:
            synced: they survive a loss of power from then on. False, which spares a wait for the
                disk (SQLite): only the death of the process, and power once something is synced.
        """
        with self._said(), Session(self._writing(synced=synced), expire_on_commit=False) as session:
            yield session
            session.commit()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, NoneFree) as error:
            why = one_line(getattr(error, "orig", None) or error, 200)
            raise Unusable(
                f"the data base {self.said} cannot be used just now: {why}; nothing was changed"
            ) from None

    def close(self) -> None:
        """Let go of it."""
        self.engine.dispose()


def _sqlite(path: Path) -> Engine:
    if not path.exists():  # for its owner alone, whatever the umask
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepared)
    event.listen(engine, "begin", _begin)
    return engine


def _prepared(connection: object, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins, not the driver: also before DDL
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    told, synced = connection.get_execution_options(), connection.info.get("synced", True)
    if not told.get("writing"):
        connection.exec_driver_sql("BEGIN")
        return
    if synced != told["synced"]:  # as `_prepared` left it, or the one who wrote before
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if told['synced'] else 'NORMAL'}")
        connection.info["synced"] = told["synced"]
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql(told: str) -> Engine:
    try:
        url = make_url(told)
    except ArgumentError:
        raise ConfigError("no URL of a data base: postgresql://user@host/name") from None
    if url.get_backend_name() != "postgresql":
        raise ConfigError(f"{url.drivername}: a data base is SQLite's own file, or postgresql://…")
    wait = {"connect_timeout": int(BUSY_SECONDS), "options": f"-c lock_timeout={BUSY_SECONDS:.0f}s"}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=wait,
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            pool_size=20,
            pool_timeout=BUSY_SECONDS,
        )
    except ModuleNotFoundError:
        raise ConfigError(
            "PostgreSQL takes a driver: pip install 'fedpatchcore[postgresql]'"
        ) from None
    event.listen(engine, "begin", _lock)
    return engine


def _lock(connection: Connection) -> None:
    """Writers one after the other, each seeing what the one before it wrote."""
    if connection.get_execution_options().get("writing"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
