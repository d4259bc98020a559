"""What ``fedpatchcore node`` keeps running, and whose code the node is given to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy import node_programs
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.supervise import Program


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
