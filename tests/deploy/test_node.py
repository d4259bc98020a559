"""The SuperNode as ``fedpatchcore node`` starts it, and what it finds on its PATH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.supervise import Program
from fedpatchcore.errors import ConfigError
from tests.support.places import SCRIPTS


def program(state: Path) -> Program:
    return node_programs(
        SimpleNamespace(),
        NodeConfig(site="plant-a", worker="/run/w.sock"),
        Address("localhost", 8443),
        root_certificates=Path("ca.crt"),
        key=Path("node.key"),
        state=state,
        port=9094,
        app="any",
        say=print,
    )[0]


def test_the_supernode_finds_our_executor_and_flowers_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager's PATH names no environment of Python's."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    made = program(tmp_path)
    path = made.environment["PATH"]
    found = Path(shutil.which("flower-superexec", path=path))
    assert found.parent == tmp_path / "bin"
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("Flower version: 1.41")
    assert Path(shutil.which("flwr-serverapp", path=path)).parent == SCRIPTS
    assert path.endswith(":/usr/bin:/bin")


def test_a_state_that_cannot_be_written_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot write /proc/none/bin: "):
        program(Path("/proc/none"))
