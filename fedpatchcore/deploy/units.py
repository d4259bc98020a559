"""A site on bare metal: two systemd services under two users, and what is left to do by hand.

The worker's user reads the images and has no network, the node's has the network and reads no
image. The system keeps them apart, whatever app a run brings.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpatchcore.deploy.installing import ETC, SYSTEMD, Units, plain
from fedpatchcore.deploy.network import Address
from fedpatchcore.deploy.unit_files import GPU, INSTALL, NO_GPU, NODE, WORKER
from fedpatchcore.worker.settings import WorkerConfig, read_worker_config, worker_file

__all__ = ["NODE_USER", "WORKER_USER", "SiteUnits"]

WORKER_USER, NODE_USER = "fpc-worker", "fpc-node"
WORKER_NAME, NODE_NAME = "fedpatchcore-worker", "fedpatchcore-node"
TOML, KEY, CA = ETC / "worker.toml", ETC / "node" / "node.key", ETC / "node" / "ca.crt"
WORKER_STATE, NODE_STATE = Path("/var/lib", WORKER_NAME), Path("/var/lib", NODE_NAME)
SOCKET = Path("/run/fedpatchcore/worker.sock")


@dataclass(frozen=True)
class SiteUnits(Units):
    """What the two services of one site are made of.

    Args:
        data: folder of images.
        key: the node's private key, as it lies now; it is copied.
        words: further lines of the worker's file, by key.
        memory_max: bytes that the worker may take, as systemd writes them (``8G``); "": any.

    Raises:
        ConfigError: a name or path that cannot stand in a service's file.
    """

    site: str
    data: Path
    superlink: Address
    root_certificates: Path
    key: Path
    words: Mapping[str, Any] = field(default_factory=dict)
    gpu: bool = False
    memory_max: str = ""
    python: Path = Path(sys.executable)

    def __post_init__(self) -> None:
        host = self.superlink.host.replace(":", "")
        shown = map(str, self._shown())
        plain((self.site, host, str(self.python), *shown), self.memory_max)

    def files(self) -> dict[str, str]:
        """Text by name: two services, the worker's file, the script that installs them."""
        told = {
            "site": self.site,
            "data": self._data(),
            "superlink": self.superlink,
            "python": self.python,
            "shown": " ".join(map(str, self._shown())),
            "memory": f"MemoryMax={self.memory_max}\n" if self.memory_max else "",
            "devices": GPU if self.gpu else NO_GPU,
            "given_key": shlex.quote(str(self.key.expanduser().absolute())),
            "given_ca": shlex.quote(str(self.root_certificates.expanduser().absolute())),
            "worker": WORKER_USER,
            "node": NODE_USER,
            "worker_name": WORKER_NAME,
            "node_name": NODE_NAME,
            "worker_state": WORKER_STATE,
            "node_state": NODE_STATE,
            "etc": ETC,
            "systemd": SYSTEMD,
            "toml": TOML,
            "key": KEY,
            "ca": CA,
            "socket": SOCKET,
        }
        given = self._given()
        WorkerConfig.parse(given, where="worker units")
        return {
            f"{WORKER_NAME}.service": WORKER.substitute(told),
            f"{NODE_NAME}.service": NODE.substitute(told),
            "worker.toml": worker_file(given, TOML),
            "install.sh": INSTALL.substitute(told),
        }

    def lacking(self) -> str:
        """What of the site's own file stands against it, or a file that is not there."""
        if why := self.stays():
            return why
        for file in (self.key, self.root_certificates):
            if not file.expanduser().is_file():
                return f"{file} does not exist: see docs/deployment.md, step 2"
        return ""

    def stays(self) -> str:
        """What the site's own file, which is there already and stays, says otherwise; or nothing.

        Raises:
            ConfigError: it cannot be understood.
        """
        if not os.access(TOML, os.R_OK):
            return ""
        here, given = read_worker_config(TOML).table(), self._given()
        other = [f"{key} = {here[key]!r}" for key in given if here[key] != given[key]]
        if not other:
            return ""
        return (
            f"{TOML} is there, is the site's own and stays as it is, and it says "
            f"{', '.join(other)}: write what is meant into it, or give its own words here"
        )

    def remains(self) -> dict[str, str]:
        """What a person must do still: command by what it is for."""
        command = self.python.with_name("fedpatchcore")
        entry = f"u:{WORKER_USER}:rX,o::---"
        default = f"d:u:{WORKER_USER}:rX,d:o::---"
        return {
            "let the worker read the images, and no other than who may now": (
                f"setfacl -R -m {entry},{default} {self._data()}"
            ),
            "read what the site allows": f"less {TOML}",
            "start": f"systemctl start {WORKER_NAME} {NODE_NAME}",
            "look, from the worker's side": (
                f"{command} doctor worker {TOML} --state {WORKER_STATE}"
            ),
            "look, from the node's side": (
                f"runuser -u {NODE_USER} -- {command} doctor site --superlink {self.superlink} "
                f"--root-certificates {CA} --key {KEY} --images {self._data()} "
                f"--node-config \"site='{self.site}' worker='{SOCKET}'\""
            ),
        }

    def _given(self) -> dict[str, Any]:
        """Lines of the worker's file, by key."""
        given = {"site": self.site, "data": str(self._data()), "socket": str(SOCKET)}
        return {**given, "users": NODE_USER, **self.words}

    def _data(self) -> Path:
        return self.data.expanduser().resolve()

    def _shown(self) -> list[Path]:
        """Files and folders of the site that the worker reads."""
        named = (Path(self.words.get(key, "")).expanduser() for key in ("weights", "groups"))
        return [self._data(), *(one.resolve() for one in named if one.is_file())]
