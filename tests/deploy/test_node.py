"""What ``fedpatchcore node`` keeps running, whose code the node is given to, what it finds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy import node_programs
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.supervise import Program
from fedpatchcore.errors import ConfigError
from tests.support.places import SCRIPTS


def programs(state: Path, **app: str) -> list[Program]:
    return node_programs(
        None,  # the doctor is asked when a program is to start
        NodeConfig(site="plant-a", worker="/run/w.sock"),
        Address("fed.example.com", 8443),
        root_certificates=Path("ca.crt"),
        key=Path("node.key"),
        state=state,
        port=0,
        say=print,
        **app,
    )


def after(program: Program, word: str) -> str:
    words = list(program.command)
    return words[words.index(word) + 1]


@pytest.mark.parametrize("app", [{}, {"app": "installed"}])
def test_by_default_flowers_own_executor_is_not_started(tmp_path: Path, app: dict) -> None:
    node, executor = programs(tmp_path / "state", **app)
    assert after(node, "--isolation") == "process"
    secret = after(node, "--superexec-auth-secret-file")
    assert after(executor, "--secret") == secret
    assert after(executor, "--runtime") == f"127.0.0.1:{after(node, '--port')}"
    assert list(executor.command[1:4]) == ["-P", "-m", "client_app.executor"]
    assert Path(secret).stat().st_mode & 0o077 == 0
    for key in ("FLWR_HOME", "FEDPATCHCORE_HOME"):
        assert executor.environment[key] == node.environment[key]
    told = [word for one in (node, executor) for word in one.command]
    assert Path(secret).read_bytes().hex() not in " ".join(told)


def test_any_app_is_run_by_flower_itself(tmp_path: Path) -> None:
    (node,) = programs(tmp_path, app="any")
    assert "--isolation" not in node.command
    assert not (tmp_path / "executor.secret").exists()


def test_the_supernode_finds_our_executor_and_flowers_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager's PATH names no environment of Python's."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (made,) = programs(tmp_path, app="any")
    path = made.environment["PATH"]
    found = Path(shutil.which("flower-superexec", path=path))
    assert found.parent == tmp_path / "bin"
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("Flower version: 1.41")
    assert Path(shutil.which("flwr-serverapp", path=path)).parent == SCRIPTS
    assert path.endswith(":/usr/bin:/bin")


def test_a_state_that_cannot_be_written_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot write /proc/none/bin: "):
        programs(Path("/proc/none"), app="any")
