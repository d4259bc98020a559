"""Rules of the house that a reader of the tree relies on."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
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
from fedpatchcore.config import RunConfig
from tests.support.places import ROOT

ROOMS = ("fedpatchcore", "client_app", "server_app")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_doors_open_one_way(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "fedpatchcore":
        assert not imported(path) & {"flwr", "client_app", "server_app"}
    assert "pickle" not in imported(path)


def test_every_public_module_keeps_its_word() -> None:
    for package in (fedpatchcore, client_app, server_app):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            loaded = importlib.import_module(module.name)
            for name in getattr(loaded, "__all__", ()):
                assert hasattr(loaded, name), f"{module.name}.{name}"


def test_errors_form_one_tree() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.FedPatchCoreError)
        assert name in errors.__doc__


def test_pyproject_states_exactly_the_defaults_of_run_config() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["flwr"]["app"]["config"] == RunConfig().table()
    assert project["project"]["version"] == fedpatchcore.__version__


def test_every_setting_is_explained_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [key for key in RunConfig().table() if f"`{key}`" not in text]
    assert not missing


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")
def test_the_app_bundle_carries_all_sources_and_only_text() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["flwr"]["app"]["fab-include"]
    files = {
        str(path.relative_to(ROOT)): path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file()
    }
    bundled = {files[name] for name in get_filtered_fab_paths(files, project)}
    templates = {p for p in (ROOT / "fedpatchcore/report/templates.md").rglob("*") if p.is_file()}
    assert patterns and templates
    assert set(SOURCES) | templates == bundled
    assert {p.suffix for p in bundled} == {".py", ".j2", ".css"}


def test_what_stays_in_memory_at_a_site_holds_no_torch() -> None:
    """`fedpatchcore node` runs for months beside processes that need the memory."""
    code = (
        "import sys; from fedpatchcore.config import RunConfig; import fedpatchcore.cli.serving; "
        "RunConfig(); print([m for m in ('torch', 'faiss', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    ["fedpatchcore.cli.app", "fedpatchcore.detection.detector", "client_app.app", "server_app.app"],
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
