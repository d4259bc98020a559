"""Rules of the house that a reader of the tree relies on."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from flwr.cli.build import get_filtered_fab_paths

import client_app
import fedpatchcore
import server_app
from fedpatchcore import errors
from tests.support.places import ROOT

APPS = ("client_app", "server_app")
PACKAGES = ("fedpatchcore", *APPS)
LONGEST = 300  # lines of a file of the product
LONGEST_TEST = 500


def test_doors_open_one_way() -> None:
    """The floors of ``[tool.importlinter]`` in pyproject.toml, and that it names every room."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_door_that_opens_the_other_way_is_told(tmp_path: Path) -> None:
    """The contract is no ornament: a room that looks up, and one that loads Flower, break it."""
    for name in (*PACKAGES, "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "fedpatchcore").unlink()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fedpatchcore", tmp_path / "fedpatchcore", ignore=ignore)
    with (tmp_path / "fedpatchcore/coreset/settings.py").open("a") as file:
        file.write("\nimport flwr\nimport fedpatchcore.server.federation\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Floors of the library, the highest first BROKEN" in done.stdout
    assert "The library knows nothing of Flower, nor of the apps BROKEN" in done.stdout


def test_files_hold_one_idea() -> None:
    def lines(path: Path) -> int:
        return len(path.read_text().splitlines())

    product = [path for room in PACKAGES for path in (ROOT / room).rglob("*.py")]
    assert len(product) > 100
    assert not {str(p): lines(p) for p in product if lines(p) > LONGEST}
    tests = (ROOT / "tests").rglob("*.py")
    assert not {str(p): lines(p) for p in tests if lines(p) > LONGEST_TEST}


def test_every_public_module_keeps_its_word() -> None:
    for package in (fedpatchcore, client_app, server_app):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            loaded = importlib.import_module(module.name)
            for name in getattr(loaded, "__all__", ()):
                assert hasattr(loaded, name), f"{module.name}.{name}"


def test_every_room_says_what_it_owns() -> None:
    rooms = [p for p in (ROOT / "fedpatchcore").iterdir() if (p / "__init__.py").is_file()]
    assert len(rooms) > 15
    for room in rooms:
        loaded = importlib.import_module(f"fedpatchcore.{room.name}")
        assert loaded.__doc__ and len(loaded.__doc__.strip().splitlines()) <= 5, room.name
        assert loaded.__all__, room.name


def test_errors_form_one_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.FedPatchCoreError)
        assert name in errors.__doc__


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_the_bundle_of_the_app_carries_the_apps_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = {
        str(path.relative_to(ROOT)): path
        for room in PACKAGES
        for path in (ROOT / room).rglob("*")
        if path.is_file()
    }
    bundled = {files[name] for name in get_filtered_fab_paths(files, project)}
    assert bundled == {p for app in APPS for p in (ROOT / app).rglob("*.py")}
    assert sum(len(p.read_text().splitlines()) for p in bundled) < 2500


def test_the_version_stands_in_two_places_that_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == fedpatchcore.__version__


@pytest.mark.parametrize(
    "module",
    [
        "fedpatchcore.detection.detector",
        pytest.param("fedpatchcore.cli.app", marks=pytest.mark.long),
        pytest.param("client_app.work", marks=pytest.mark.long),
        pytest.param("server_app.run", marks=pytest.mark.long),
    ],
)
def test_idle_compute_threads_sleep_from_the_moment_torch_is_loaded(module: str) -> None:
    """OpenMP reads this when it is loaded; what the user set stays."""
    code = (
        "import os, sys\n"
        "class Look:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'faiss'): print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "sys.meta_path.insert(0, Look())\n"
        f"import {module}, torch, faiss\n"
    )
    told = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    for extra, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**told, **extra, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        seen = set(done.stdout.split())
        assert seen == {expected}
