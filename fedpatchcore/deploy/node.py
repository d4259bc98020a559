"""A site's SuperNode, kept running and explained.

``flower-supernode`` ends without a word when its clock is off or its key was revoked, and with
an exit code when it is started again too soon. Here the checks of ``fedpatchcore doctor`` that
concern the way to the server are made before each start; what fails is told in plain words with
what fixes it, and the node starts by itself once it is mended.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.doctor.checks import Check, Checks
from fedpatchcore.deploy.doctor.site import SiteDoctor
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.supervise import Program
from fedpatchcore.errors import ConfigError
from fedpatchcore.runs.flowercli import toml_value
from fedpatchcore.runs.launch import free_port
from fedpatchcore.runs.programs import QUIET, executor_words, flower_program, new_secret

__all__ = ["node_programs", "refuse_unusable"]

APPS = ("installed", "any")  # whose code a node runs: what is installed, or whatever is submitted

STILL_ONLINE = (
    "the server still counts the former process as online, which takes up to 60 s to pass"
)
TOLD = ("fail", "warn")
LOOK = "0.2"  # seconds between two looks of the executor for a message


def refuse_unusable(doctor: SiteDoctor, say: Callable[[str], None]) -> None:
    """Check this machine (images, folders, disk). Raises ConfigError naming what is wrong."""
    checks = Checks()
    doctor.local(checks)
    for check in checks.results:
        if check.state == "warn":
            _tell(check, say)
    wrong = [check for check in checks.results if check.state == "fail"]
    if wrong:
        raise ConfigError(
            f"this site cannot take part: {wrong[0].name}: {wrong[0].told} → {wrong[0].fix}"
        )


def node_programs(
    doctor: SiteDoctor,
    node: NodeConfig,
    superlink: Address,
    *,
    root_certificates: Path,
    key: Path,
    state: Path,
    port: int,
    app: str = "installed",
    say: Callable[[str], None],
) -> list[Program]:
    """The SuperNode of one site, to keep running; the site's work is its worker's.

    Where ``app`` is "installed" a second one does what Flower's executor would: it compares what
    was submitted with what is installed, and loads the latter.

    Args:
        state: folder for Flower's files.
        port: of the node's own local API; 0 = any free one.
        app: one of `APPS`.

    Raises:
        ConfigError: ``state`` cannot be written, or Flower is not installed.
    """
    if app not in APPS:
        raise ConfigError(f"--app {app}: it is one of {', '.join(APPS)}")
    port, programs = port or free_port(), flower_program("flower-supernode").parent
    given = {"site": node.site, "worker": str(Path(node.worker).expanduser().absolute())}
    given |= {"metered": node.metered} if node.metered else {}
    command = [
        str(programs / "flower-supernode"),
        *("--superlink", f"{superlink.host}:{superlink.port}"),
        *("--root-certificates", str(root_certificates)),
        *("--auth-supernode-private-key", str(key)),
        *("--port", str(port)),
        *("--node-config", " ".join(f"{k}={toml_value(v)}" for k, v in given.items())),
    ]
    environment = {
        "FLWR_HOME": str(state / "flwr"),
        "FEDPATCHCORE_HOME": str(state),
        **{f"FEDPATCHCORE_{key.upper()}": "" for key in NodeConfig.environment},
        **QUIET,
        "PATH": os.pathsep.join([str(_executor(state)), str(programs), os.environ.get("PATH", "")]),
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": LOOK,
    }
    beside = []
    if app == "installed":
        words, (other, variables) = executor_words(port, new_secret(state))
        command += words
        name = f"executor of site {node.site}"
        beside = [Program(name, other, {**environment, **variables})]
    told: list[list[tuple[str, str]]] = [[]]

    def wrong() -> list[Check]:
        checks = Checks()
        doctor.network(checks)
        return [check for check in checks.results if check.state == "fail"]

    def ready() -> bool:
        found = wrong()
        names = [(check.name, check.told) for check in found]
        if found and names != told[0]:
            for check in found:
                _tell(check, say)
            say("the node is not started; it is looked at again until this is mended")
        told[0] = names
        return not found

    def explain(code: int) -> str:
        found = wrong()
        told[0] = [(check.name, check.told) for check in found]
        if found:
            return "; ".join(f"{c.name}: {c.told} → {c.fix}" for c in found)
        return STILL_ONLINE if code == 1 else f"exit code {code}"

    return [Program(f"node of site {node.site}", command, environment, ready, explain), *beside]


def _executor(state: Path) -> Path:
    """A folder in which the SuperNode finds its executor: the one that loads Flower once.

    Raises:
        ConfigError: it cannot be written.
    """
    folder = state / "bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / "flower-superexec"
        command = f"exec {shlex.quote(sys.executable)} -P -m client_app.forking"
        made.write_text(f'#!/bin/sh\n{command} "$@"\n')
        made.chmod(0o755)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None
    return folder


def _tell(check: Check, say: Callable[[str], None]) -> None:
    if check.state in TOLD:
        sign = "✗" if check.state == "fail" else "!"
        say(f"{sign} {check.name}: {check.told}" + (f" → {check.fix}" if check.fix else ""))
