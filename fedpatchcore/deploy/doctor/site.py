"""Everything a site needs before it takes part, looked at without disturbing anything."""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.deploy.doctor.checks import INSTALL, Checks, libraries, python, writable
from fedpatchcore.deploy.doctor.data import DataChecks
from fedpatchcore.deploy.doctor.device import gpu
from fedpatchcore.deploy.doctor.features import FeatureChecks
from fedpatchcore.deploy.doctor.membership import membership
from fedpatchcore.deploy.doctor.way import WayChecks
from fedpatchcore.deploy.doctor.worker import WorkerChecks
from fedpatchcore.deploy.network import Address
from fedpatchcore.places import cache_home
from fedpatchcore.spelling import typed

__all__ = ["SiteDoctor"]


class SiteDoctor:
    """The checks of one site.

    Args:
        config: the run's settings, as far as they concern a site.
        node: what this site says of itself.
        images: of a node with a worker: the folder that it must not be able to read.
        superlink: where the SuperNode will connect to; None leaves the network out.
    """

    def __init__(
        self,
        config: RunConfig,
        node: NodeConfig,
        *,
        superlink: Address | None = None,
        root_certificates: Path | None = None,
        key: Path | None = None,
        images: Path | None = None,
    ) -> None:
        device = node.device or config.device
        weights = node.weights or config.weights
        self.node = node
        engine = node.engine or config.engine
        own = {"weights": weights, "device": device, "engine": engine}
        self.config = config.model_copy(update=own)
        name = node.site or Path(node.data or ".").name
        cache = Path(node.cache).expanduser() if node.cache else cache_home() / "sites" / name
        out = Path(node.out).expanduser() if node.out else cache / "results"
        ledger = Path(node.ledger).expanduser() if node.ledger else cache_home() / "ledgers" / name
        self.folders = {"cache": cache, "results": out, "ledger": ledger}
        self.data = DataChecks(self.config, node)
        self.worker = WorkerChecks(node, images)
        self.features = FeatureChecks(self.config, cache)
        self.way = WayChecks(
            node.site, superlink=superlink, root_certificates=root_certificates, key=key
        )

    def run(self, checks: Checks) -> None:
        """Make all checks in order."""
        checks.run("Python", python, fix=INSTALL)
        checks.run("libraries", libraries, fix=INSTALL)
        if self.worker.named:
            self.local(checks)
        else:
            checks.run("two users", self.worker.apart)
            self.machine(checks)
        self.network(checks)
        checks.run("control API", self.way.control)

    def machine(self, checks: Checks) -> None:
        """What a site's work needs of its machine."""
        checks.run("GPU", lambda: gpu(self.config.device, self.config.precision), seconds=60)
        self.local(checks)
        checks.run(
            "weights",
            self.features.weights,
            fix=f"fedpatchcore weights import FILE --backbone {self.config.backbone}",
            seconds=120,
        )
        checks.run("disk", lambda: self.features.disk(self.data.products), seconds=60)

    def local(self, checks: Checks) -> None:
        """What must be so on this machine, whatever a run will ask for."""
        if self.worker.named:
            self.worker.run(checks)
            return
        checks.run(
            "data folder",
            self.data.folder,
            fix=f"correct {typed('data', 'FOLDER', own=True)} (and layout); layouts: README.md",
            seconds=120,
        )
        checks.run("images", self.data.images, seconds=120)
        checks.run("folders", lambda: writable(self.folders))
        checks.run("roster", lambda: membership(self.node, self.folders["ledger"]))

    def network(self, checks: Checks) -> None:
        """The way to the server, looked at anew: port, certificate, clock, key, registration."""
        self.way.run(checks)
