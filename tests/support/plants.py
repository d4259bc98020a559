"""Sites as they are deployed for secure sums; faults come into their processes by files."""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.deploy.rosters import make_roster
from tests.support.faulty import Faults
from tests.support.field import Field, until
from tests.support.names import NAMES
from tests.support.private import charges

__all__ = ["OTHERS", "QUESTION", "REPLY", "Plants"]

OTHERS = [name for name in NAMES if name != "south"]
REPLY, QUESTION = (
    "fedpatchcore.site.secure:secure_reply",
    "fedpatchcore.server.secure_round:SecureRound.question",
)


class Plants(Field):
    """Sites that are kept, with keys and rosters; a fault can come into any process."""

    def __init__(self, root: Path, data: dict[str, Path]) -> None:
        super().__init__(root, data)
        make_roster(self.pki)
        self.doors = dict.fromkeys(data, f"127.0.0.1:{self.port}")
        self.faults = {who: Faults(root / "faults" / who) for who in (*data, "executor")}

    def keep(self, *sites: str) -> None:
        """Start these sites; returns when they are online."""
        for site in sites:
            own = self.pki / "sites" / site
            more = ("--roster", own / "roster.json", "--sums-key", own / "sums.key")
            self.keep_site(site, more=more, **self.faults[site].environment)
        wanted = set(sites)
        until(lambda: wanted <= self.online(), 240, f"not online: {wanted}", every=3)

    def told(self, name: str) -> dict:
        """What is told of the only sum of a run."""
        (summed,) = self.events(name, "summed")
        return summed

    def charged(self, site: str) -> int:
        """Releases that a site's ledger has charged."""
        return len(charges(self.ledger_of(site)))

    def ledger_of(self, site: str) -> Path:
        """The folder of a site's ledger."""
        return self.home_of(site) / "cache" / "ledgers" / site
