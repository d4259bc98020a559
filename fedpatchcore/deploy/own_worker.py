"""A worker started beside its node, for a first try: both run as one user."""

from __future__ import annotations

import sys
from pathlib import Path

from fedpatchcore.config import NodeConfig, SiteOwn
from fedpatchcore.deploy.supervise import Program
from fedpatchcore.errors import ConfigError
from fedpatchcore.settings import kebab
from fedpatchcore.worker.settings import WorkerConfig, worker_file

__all__ = ["ONE_USER", "own_worker"]

ONE_USER = (
    "images and network run as one user here: a run's app, which comes from the server, could read "
    "the images. For a plant use two users, or the two containers (docs/deployment.md)"
)

FILES = (
    "data",
    "exclude",
    "weights",
    "cache",
    "out",
    "groups",
    "ledger",
    "roster",
    "sums-key",
)


def own_worker(node: NodeConfig, state: Path) -> tuple[Program, Path]:
    """The worker of a site whose node is started with its data, and its socket.

    Its file is written into ``state``, from the node's options.

    Raises:
        ConfigError: the file cannot be written, or the socket's path is too long.
    """
    given = {
        kebab(name): getattr(node, name)
        for name, field in SiteOwn.model_fields.items()
        if getattr(node, name) != field.default
    }
    for key in FILES:
        if key in given:
            given[key] = str(Path(str(given[key])).expanduser().absolute())
    folder = state / "run"
    file = folder / f"{node.site}.toml"
    given["socket"] = str(folder / f"{node.site}.sock")
    told = WorkerConfig.parse(given, where="node")
    try:
        socket = told.socket_path()
    except ConfigError:
        raise ConfigError(
            f"the path of {folder} is too long for the worker's socket: name a shorter folder "
            "with --state"
        ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(worker_file(given, file), encoding="utf-8")
        file.chmod(0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None
    command = [sys.executable, "-m", "fedpatchcore.cli", "worker", "run", str(file)]
    command += ["--state", str(state)]
    return Program(f"worker of site {node.site}", command), socket
