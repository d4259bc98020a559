"""The control room's parts, put together: what every page and the command line work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from fedpatchcore.control.alarms import Alarms
from fedpatchcore.control.counts import Counts
from fedpatchcore.control.gates import GateSettings
from fedpatchcore.control.judging import Words
from fedpatchcore.control.mirror import Mirror
from fedpatchcore.control.registry import Registry
from fedpatchcore.control.roles import ROLES
from fedpatchcore.control.schedules import Schedules
from fedpatchcore.control.screens import Screens
from fedpatchcore.control.signing import Signer
from fedpatchcore.control.starting import Flower, Nowhere, Starter
from fedpatchcore.control.tables import Site
from fedpatchcore.control.ticking import Ticker
from fedpatchcore.control.tracking import Tracker
from fedpatchcore.errors import ControlError
from fedpatchcore.files import private_folder
from fedpatchcore.web.audit import Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.people import People
from fedpatchcore.web.serving import CONSOLE

__all__ = ["CONSOLE", "Room"]

MIGRATIONS = Path(__file__).with_name("migrations") / "versions"
SCHEDULES_EVERY, MLFLOW_EVERY = 5.0, 10.0  # seconds


@dataclass
class Room:
    """All parts, on one data base.

    Attributes:
        tls: pages come over TLS, so that cookies may insist on it.
        certificates: files whose end is told to people in time.
    """

    root: Path
    database: Database
    trail: Trail
    people: People
    screens: Screens
    registry: Registry
    words: Words
    alarms: Alarms
    mirror: Mirror
    starter: Starter
    schedules: Schedules
    signer: Signer
    tls: bool = False
    certificates: Sequence[Path] = ()
    counts: Counts = field(default_factory=Counts)
    tickers: list[Ticker] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        root: Path,
        state: Path,
        *,
        database: str = "",
        flower: Flower | None = None,
        limits: GateSettings | None = None,
        tls: bool = False,
        certificates: Sequence[Path] = (),
        mlflow: str = "",
        say: Callable[[str], None] = lambda line: None,
    ) -> Room:
        """Open or make the data base in ``state``; ``root`` holds the runs' folders.

        Args:
            database: URL of a PostgreSQL data base instead of the file; banks, keys and the head
                of the trail stay in ``state``.
            mlflow: an MLflow server, or a folder, that finished runs are logged to as well.

        Raises:
            ControlError: the folder cannot be written, or a newer version made the data base.
            ConfigError: the URL is none of PostgreSQL, or an extra is not installed.
        """
        root, state = root.expanduser().absolute(), state.expanduser().absolute()
        try:
            private_folder(state)
            opened = Database(database or state / "control.db", MIGRATIONS)
        except OSError as error:
            raise ControlError(f"cannot write {state}: {error.strerror}") from None
        opened.upgrade()
        trail = Trail(opened, state)
        registry = Registry(root, state, opened, trail, limits or GateSettings())
        starter = Starter(root, flower or Nowhere(), opened, trail)
        schedules = Schedules(opened, trail, starter)
        tickers = [Ticker(schedules.look, SCHEDULES_EVERY, say)]
        if mlflow:
            tickers.append(Ticker(Tracker(mlflow, root, opened, trail).look, MLFLOW_EVERY, say))
        return cls(
            root,
            opened,
            trail,
            People(opened, trail, ROLES, _answered),
            Screens(opened, trail),
            registry,
            Words(opened, trail),
            Alarms(opened, trail),
            Mirror(root, opened, registry, trail, say),
            starter,
            schedules,
            Signer(state / "signing.key"),
            tls,
            certificates,
            tickers=tickers,
        )

    def start(self) -> None:
        """Begin to look at the results folder and at schedules."""
        self.mirror.look()
        self.mirror.start()
        for ticker in self.tickers:
            ticker.start()

    def close(self) -> None:
        """End what runs in the background and let go of the data base."""
        for ticker in self.tickers:
            ticker.stop()
        self.mirror.stop()
        self.starter.flower.close()
        self.database.close()


def _answered(session: Session, site: str) -> bool:
    """Whether a site of this name has answered a roll call."""
    return session.get(Site, site) is not None
