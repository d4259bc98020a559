"""The control room's parts, put together: what every page and the command line work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from fedpatchcore.control.gates import GateSettings
from fedpatchcore.control.judging import Words
from fedpatchcore.control.mirror import Mirror
from fedpatchcore.control.registry import Registry
from fedpatchcore.control.roles import ROLES
from fedpatchcore.control.signing import Signer
from fedpatchcore.control.starting import Flower, Nowhere, Starter
from fedpatchcore.control.tables import Site
from fedpatchcore.errors import ControlError
from fedpatchcore.files import private_folder
from fedpatchcore.web.audit import Trail
from fedpatchcore.web.database import Database
from fedpatchcore.web.people import People
from fedpatchcore.web.serving import CONSOLE

__all__ = ["CONSOLE", "Room"]

MIGRATIONS = Path(__file__).with_name("migrations") / "versions"


@dataclass
class Room:
    """All parts, on one data base.

    Attributes:
        tls: pages come over TLS, so that cookies may insist on it.
    """

    root: Path
    database: Database
    trail: Trail
    people: People
    registry: Registry
    words: Words
    mirror: Mirror
    starter: Starter
    signer: Signer
    tls: bool = False

    @classmethod
    def open(
        cls,
        root: Path,
        state: Path,
        *,
        flower: Flower | None = None,
        limits: GateSettings | None = None,
        tls: bool = False,
        say=lambda line: None,
    ) -> Room:
        """Open or make the data base in ``state``; ``root`` holds the runs' folders.

        Raises:
            ControlError: the folder cannot be written, or a newer version made the data base.
        """
        root, state = root.expanduser().absolute(), state.expanduser().absolute()
        try:
            private_folder(state)
            database = Database(state / "control.db", MIGRATIONS)
        except OSError as error:
            raise ControlError(f"cannot write {state}: {error.strerror}") from None
        database.upgrade()
        trail = Trail(database)
        registry = Registry(root, state, database, trail, limits or GateSettings())
        return cls(
            root,
            database,
            trail,
            People(database, trail, ROLES, _answered),
            registry,
            Words(database, trail),
            Mirror(root, database, registry, trail, say),
            Starter(root, flower or Nowhere(), database, trail),
            Signer(state / "signing.key"),
            tls,
        )

    def close(self) -> None:
        """End what runs in the background and let go of the data base."""
        self.mirror.stop()
        self.starter.flower.close()
        self.database.close()


def _answered(session: Session, site: str) -> bool:
    """Whether a site of this name has answered a roll call."""
    return session.get(Site, site) is not None
