"""A small deployed federation that faults are done to, and the table of what came of them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.server.federation import Federation
from fedpatchcore.settings import kebab
from fedpatchcore.site.setup import open_site, use_threads
from server_app.optimisers import rule_of
from tests.support.field import Field
from tests.support.names import NAMES
from tests.support.places import NGINX
from tests.support.products import write_product

INJECT = Path(__file__).parent / "inject"
CONFIG = {
    "backbone": "filterbank",
    "geometry": "full",
    "image-size": 96,
    "batch-size": 2,
    "coreset-size": 50,
    "global-bank-size": 90,
    "threads": 1,
    "heatmaps": 0,
    "holdout": 0.25,
    "min-sites": 2,
    "expected-sites": 3,
}
EXTRACT = "fedpatchcore.features.extraction:Extractor._begun"
TRAIN = "fedpatchcore.site.site:Site.train"
ROWS: list[tuple[str, str, float]] = []


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three sites' folders."""
    root = tmp_path_factory.mktemp("data")
    return {
        name: write_product(root / name / "plate", seed=1000 * at, train=12).parent
        for at, name in enumerate(NAMES)
    }


@pytest.fixture(scope="session")
def undisturbed(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """The bank file that a run without any fault leaves, by rounds, sites and further settings."""
    made: dict[tuple, bytes] = {}

    def bank(rounds: int = 1, sites: tuple[str, ...] = NAMES, **told: object) -> bytes:
        key = (rounds, sites, *sorted(told.items()))
        if key not in made:
            use_threads(1)
            told = {kebab(name): value for name, value in told.items()}
            table = {**CONFIG, "expected-sites": len(sites), **told}
            settings = RunConfig.parse(table, where="test")
            opened = [
                open_site(
                    settings,
                    NodeConfig(
                        site=name,
                        data=str(data[name]),
                        cache=str(tmp_path_factory.mktemp("cache")),
                    ),
                )
                for name in sites
            ]
            federation = Federation(settings, rules=rule_of)
            made[key] = federate(opened, rounds=rounds, federation=federation).bank.to_bytes()
        return made[key]

    return bank


def rows(bank: bytes, folder: Path) -> dict[str, object]:
    """What a bank knows, without the thresholds that sites gave: a site whose coreset was refused
    still judges its own images with the bank of the others."""
    file = folder / "compare.safetensors"
    file.write_bytes(bank)
    loaded = MemoryBank.load(file)
    return {"sites": loaded.sites, **{k: v.tobytes() for k, v in loaded.arrays().items()}}


@pytest.fixture
def field(data: dict[str, Path]) -> Iterator[Field]:
    """The federation, not yet started; everything it starts is ended after the test.

    Its folder is short: workers' sockets lie in it.
    """
    place = tempfile.TemporaryDirectory(prefix="fpc-", ignore_cleanup_errors=True)
    with place as folder, Field(Path(folder), data) as made:
        yield made


@pytest.fixture
def inject(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Prepare a fault in a site's own processes; returns their environment."""

    def prepare(site: str, **told: object) -> dict[str, str]:
        file = tmp_path / f"fault-{site}.json"
        file.write_text(json.dumps(told))
        path = os.pathsep.join([str(INJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"FAULT_FILE": str(file), "PYTHONPATH": path}

    return prepare


def reached(environment: dict[str, str]) -> Path:
    """The file that is there once a prepared fault was reached."""
    return Path(environment["FAULT_FILE"] + ".reached")


def lost(field: Field, name: str) -> dict[str, str]:
    """Why sites were lost in a run."""
    return {e["site"]: e["reason"] for e in field.events(name, "lost")}


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Say the outcome of this fault for the table; its seconds are the test's."""
    start, told = time.monotonic(), []
    yield told.append
    if told:
        name = request.node.obj.__doc__.strip().splitlines()[0].rstrip(".")
        ROWS.append((name, told[-1], time.monotonic() - start))


def pytest_terminal_summary(terminalreporter) -> None:
    if ROWS:
        terminalreporter.write_line("\n| fault | outcome | seconds |\n|---|---|---|")
        for name, outcome, seconds in ROWS:
            terminalreporter.write_line(f"| {name} | {outcome} | {seconds:.0f} |")
