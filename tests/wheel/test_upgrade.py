"""An upgrade: the server, then the sites one by one, walked with wheels of several versions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedpatchcore.runs.launch import LocalFlower
from tests.support.products import write_product
from tests.support.wheels import build_wheel, install

pytestmark = pytest.mark.slow

SITES = ("north", "south", "west")
SETTINGS = {
    "backbone": "filterbank",
    "geometry": "full",
    "image-size": 64,
    "coreset-size": 40,
    "heatmaps": 0,
    "expected-sites": 3,
    "threads": 1,
    "compare-local": "false",
}


class Hosts(LocalFlower):
    """A SuperLink and SuperNodes, each with the package that its host has installed."""

    def __init__(self, server: Path, sites: Mapping[str, Path], data: Path) -> None:
        super().__init__(simulation=False)
        self.server, self.sites, self.data = server, sites, data

    def _env(self, who: str) -> dict[str, str]:
        place = self.sites.get(who.removeprefix("site-"), self.server)
        return {**super()._env(who), "PYTHONPATH": str(place), "FEDPATCHCORE_HOME": str(self.home)}

    def run(self, out: Path, submitted_by: Path | None = None) -> tuple[int, str, dict]:
        """One run as the operator sees it: exit code, all that is printed, the metrics."""
        for site in self.sites:
            self.supernode(site, self.data / site)
        words = [f"-c{key}={value}" for key, value in {**SETTINGS, "out-dir": out}.items()]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "fedpatchcore.cli", "run", *words],
            env={**self._env("cli"), "PYTHONPATH": str(submitted_by or self.server)},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
        )
        files = list(out.glob("*/metrics.json"))
        return (
            done.returncode,
            done.stdout + done.stderr,
            json.loads(files[0].read_text()) if files else {},
        )


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the package as if of versions 1.4.0, 1.5.0 and 1.5.2."""
    found = {}
    for version in ("1.4.0", "1.5.0", "1.5.2"):
        folder = tmp_path_factory.mktemp(version)
        found[version] = install(build_wheel(folder, version), folder / "packages")
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sites")
    for site in SITES:
        write_product(folder / site / "plate", train=6)
    return folder


def walk(packages: Mapping[str, Path], data: Path, out: Path, server: str, sites: str) -> tuple:
    found = {site: packages[version] for site, version in zip(SITES, sites.split(), strict=True)}
    with Hosts(packages[server], found, data) as hosts:
        return hosts.run(out)


def test_a_site_that_is_ahead_of_its_server_is_refused_by_name(packages, data, tmp_path) -> None:
    code, told, metrics = walk(packages, data, tmp_path, "1.4.0", "1.4.0 1.5.0 1.4.0")
    assert code == 0, told
    (record,) = metrics["rounds"]
    assert set(record["train"]) == {"north", "west"}
    ((site, reason),) = record["rejected"].items()
    assert site.startswith("south (node ")
    assert "app is of FedPatchCore 1.4.0, installed here is 1.5.0" in reason
    assert "pip install 'fedpatchcore==1.4.*'" in reason
    assert "pip install 'fedpatchcore==1.4.*'" in told


def test_after_the_server_the_sites_that_are_not_upgraded_yet_are_told_how(
    packages, data, tmp_path
) -> None:
    code, told, metrics = walk(packages, data, tmp_path, "1.5.0", "1.5.0 1.5.0 1.4.0")
    assert code == 0, told
    (record,) = metrics["rounds"]
    assert set(record["train"]) == {"north", "south"}
    ((site, reason),) = record["rejected"].items()
    assert site.startswith("west (node ")
    assert "pip install 'fedpatchcore==1.5.*'" in reason
    assert metrics["version"] == "1.5.0"


def test_once_all_are_upgraded_all_take_part_and_a_patch_version_is_noted(
    packages, data, tmp_path
) -> None:
    code, told, metrics = walk(packages, data, tmp_path, "1.5.0", "1.5.0 1.5.2 1.5.0")
    assert code == 0, told
    (record,) = metrics["rounds"]
    assert set(record["train"]) == set(SITES)
    assert "south: here" in told
    assert "FedPatchCore 1.5.2 there, 1.5.0 at the server" in told
    events = [json.loads(x) for x in next(tmp_path.glob("*/events.jsonl")).read_text().splitlines()]
    versions = {e["site"]: e["version"] for e in events if e["event"] == "site"}
    assert versions == {"north": "1.5.0", "south": "1.5.2", "west": "1.5.0"}


def test_an_app_of_another_version_than_the_server_is_refused_before_a_site_is_asked(
    packages, data, tmp_path
) -> None:
    with Hosts(packages["1.5.0"], {"north": packages["1.5.0"]}, data) as hosts:
        code, told, metrics = hosts.run(tmp_path, submitted_by=packages["1.4.0"])
    assert code == 2
    assert not metrics
    assert "this run's app is of FedPatchCore 1.4.0, installed here is 1.5.0" in told
