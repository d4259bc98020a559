"""The commands of docs/deployment.md, executed on hosts that are network namespaces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.network import Network
from tests.hosts.system import STAND_IN, Python, System
from tests.support.places import ROOT, SCRIPTS
from tests.support.products import write_product

NAME = "fed.example.com"
BLOCK = re.compile(r"^```sh (?P<tags>[a-z -]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SCP = """#!/bin/sh
# A copy between the hosts' folders: scp FILE server:PATH, scp server:PATH FILE
resolve() { case "$1" in server:*) echo "$HOSTS/server/${1#server:}" ;; *) echo "$1" ;; esac; }
exec cp "$(resolve "$1")" "$(resolve "$2")"
"""


@dataclass(frozen=True)
class Block:
    """One fenced block: on which host, with which mark, what text."""

    host: str
    mark: str
    text: str


def blocks() -> list[Block]:
    """All shell blocks of the walk-through, in order."""
    found = []
    for match in BLOCK.finditer((ROOT / "docs" / "deployment.md").read_text()):
        host, _, mark = match["tags"].partition(" ")
        found.append(Block(host, mark, match["text"]))
    return found


class Walk:
    """Hosts with a folder each; runs blocks and keeps what they printed.

    Attributes:
        seconds: what each block took, in order, for the log of the test.
    """

    def __init__(self, root: Path, network: Network) -> None:
        self.root = root
        self.network = network
        self.sessions: list[subprocess.Popen] = []
        self.log: list[str] = []
        self.python = Python(root)
        (root / "bin").mkdir(parents=True)
        here = f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n'
        for name, text in (("scp", SCP), ("systemctl", here)):
            shim = root / "bin" / name
            shim.write_text(text)
            shim.chmod(0o755)
        self.systems: dict[str, System] = {}
        for host in ("server", *network.hosts):
            (root / host).mkdir()
        for at, site in enumerate(network.hosts):
            write_product(root / site / "images" / "plate", seed=1000 * at, train=10)

    def names(self, host: str, inside: str, address: str) -> None:
        """What the host resolves: the server's name and itself."""
        told = f"127.0.0.1 localhost\n{address} {NAME}\n"
        if host != "server":
            self.systems[host] = System(self.root / host, told)
            return
        folder = Path("/etc/netns") / inside
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(told)

    def run(self, host: str, text: str, *, seconds: float = 900) -> str:
        """Execute a block on a host; its output. Fails if the shell does."""
        home = self.root / host
        where = self.network.server if host == "server" else self.network.hosts[host]
        programs, enter = SCRIPTS, []
        if host != "server":
            lines = [*self.python.mounts(), *self.systems[host].mounts(), 'exec "$@"']
            programs, enter = self.python.folder / "bin", ["sh", "-euc", "\n".join(lines), "sh"]
        log = home / f"block-{len(self.log):03d}.log"
        start = time.monotonic()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*where.prefix, *enter, "bash", "-euo", "pipefail", "-c", text],
                cwd=home,
                env={
                    **os.environ,
                    "HOME": str(home),
                    "HOSTS": str(self.root),
                    "FLWR_HOME": str(home / ".flwr"),
                    "FEDPATCHCORE_HOME": str(home / "cache"),
                    "PATH": f"{self.root / 'bin'}:{programs}:{os.environ['PATH']}",
                    "FLWR_TELEMETRY_ENABLED": "0",
                    "FLWR_DISABLE_UPDATE_CHECK": "1",
                    "PYTHONUNBUFFERED": "1",
                    "COLUMNS": "160",
                    "OMP_NUM_THREADS": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.append(process)
        code = process.wait(seconds)
        told = log.read_text(errors="replace")
        spent = time.monotonic() - start
        first = text.strip().splitlines()[0]
        self.log.append(f"{host:8} {spent:6.1f} s  rc {code}  {first}")
        assert code == 0, f"on {host}: {text}\n{told[-3000:]}"
        return told

    def end(self, session: subprocess.Popen, how: signal.Signals = signal.SIGTERM) -> None:
        """End what a block left running."""
        with suppress(ProcessLookupError):
            os.killpg(session.pid, how)

    def close(self) -> None:
        for session in self.sessions[::-1]:
            self.end(session)
        time.sleep(3)
        for session in self.sessions:
            self.end(session, signal.SIGKILL)
