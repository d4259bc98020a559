"""Two sites as they are deployed: a worker and a node each, of four users; and a changed app."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.runs.programs import app_folder
from fedpatchcore.site.setup import open_site, use_threads
from fedpatchcore.worker import worker_file
from tests.support.apart import as_user, missing
from tests.support.field import Field, Host, until
from tests.support.places import NGINX, ROOT
from tests.support.products import picture, write_product

USERS = {"plant-a": (64101, 64102), "plant-b": (64103, 64104)}  # worker's, node's
WORDS = {
    "plant-a": {"dp-required": True, "dp-budget-epsilon": 4.0},
    "plant-b": {"requests-an-hour": 2000},
}
ASKS = {"plant-a": 1000, "plant-b": 100}
CONFIG = {
    "backbone": "filterbank",
    "geometry": "full",
    "image-size": 64,
    "batch-size": 2,
    "coreset-size": 30,
    "global-bank-size": 60,
    "threads": 1,
    "heatmaps": 0,
    "min-sites": 1,
    "expected-sites": 2,
    "round-timeout": 900.0,
}


class Apart(Field):
    """A federation whose sites have a worker and a node of different users.

    Attributes:
        place: a folder that every user may enter; what lies in it belongs to one each.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        for at, site in enumerate(USERS):
            write_product(place / site / "images" / "plate", seed=1000 * at, train=12)
        super().__init__(place / "field", {site: place / site / "images" for site in USERS})
        for site, (worker, node) in USERS.items():
            self._give(self.sites[site], worker, 0o700)
            for name, owner, mode in (
                ("worker", worker, 0o700),
                ("run", worker, 0o755),
                ("node", node, 0o700),
            ):
                (place / site / name).mkdir()
                self._give(place / site / name, owner, mode)
            given = {"site": site, "data": str(self.sites[site]), "users": str(node)}
            given |= {"socket": str(self.socket(site)), **WORDS[site]}
            self.toml(site).write_text(worker_file(given, self.toml(site)))
            self._give(self.toml(site), worker, 0o600)
            self._give(self.pki / "sites" / site, node, 0o700)
            self.hosts[site] = Host(site, prefix=as_user(node), environment={"HOME": "/"})

    def toml(self, site: str) -> Path:
        return self.place / site / "worker.toml"

    def socket(self, site: str) -> Path:
        return self.place / site / "run" / "worker.sock"

    def home_of(self, site: str) -> Path:
        return self.place / site / "node"

    def node_config(self, site: str) -> dict[str, str]:
        return {"site": site, "worker": str(self.socket(site))}

    def start_worker(self, site: str) -> None:
        """The worker as its own user, in a network of its own; returns when it is ready."""
        prefix = ("unshare", "--net", *as_user(USERS[site][0]))
        state = self.place / site / "worker"
        who = f"worker-{site}"
        starts = self.log(who).count("ready")
        self.spawn(
            who,
            Host(site, prefix=prefix),
            ["fedpatchcore", "worker", "run", self.toml(site), "--state", state],
            HOME=str(state),
        )
        until(lambda: self.log(who).count("ready") > starts, 120, f"{who} is not ready")

    @staticmethod
    def _give(path: Path, owner: int, mode: int) -> None:
        for one in (path, *path.rglob("*")):
            os.chown(one, owner, owner)
        path.chmod(mode)


@pytest.fixture(scope="module")
def field() -> Iterator[Apart]:
    """Server, workers and nodes, all online."""
    if why := missing():
        pytest.skip(why)
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    place = Path(tempfile.mkdtemp(prefix="fpc-attack-"))  # pytest's folders are closed to others
    place.chmod(0o755)
    try:
        with Apart(place) as made:
            made.start_server()
            made.register()
            for site in USERS:
                made.start_worker(site)
            made.start_sites()
            yield made
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def undisturbed(field: Apart, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bank file of plant-b alone, without any attack and without any worker."""
    use_threads(1)
    node = NodeConfig(
        site="plant-b",
        data=str(field.sites["plant-b"]),
        cache=str(tmp_path_factory.mktemp("cache")),
    )
    site = open_site(RunConfig.parse(CONFIG, where="test"), node)
    return federate([site]).bank.to_bytes()


@pytest.fixture(scope="module")
def app(field: Apart, undisturbed: bytes) -> Path:
    """This tree's app with one file changed, and what its maker knows of the sites."""
    folder = field.place / "app"
    for name in ("client_app", "server_app"):
        shutil.copytree(
            app_folder() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(app_folder() / "pyproject.toml", folder)
    images = sorted(map(str, field.sites["plant-a"].rglob("*.png")))
    ledger = field.place / "plant-a/worker/ledgers/plant-a/ledger.jsonl"
    told = {
        "DATA": str(field.sites["plant-a"]),
        "FILES": [*images, str(field.toml("plant-a")), str(ledger)],
        "SOCKETS": [str(field.socket(site)) for site in USERS],
        "SITE_OF": {str(field.socket(site)): site for site in USERS},
        "ASKS": ASKS,
        "BANK": str(field.place / "bank.safetensors"),
    }
    changed = (ROOT / "tests/attack/hostile/work.py").read_text()
    (folder / "client_app" / "work.py").write_text(
        changed.replace("TOLD: dict = {}", f"TOLD: dict = {told!r}")
    )
    (field.place / "bank.safetensors").write_bytes(undisturbed)
    picture(99).save(field.place / "decoy.png")
    return folder
