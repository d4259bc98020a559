"""A federation as it is deployed, in real processes: TLS, registered keys, the proxy in front.

SuperLink (process isolation, state on disk) and ServerApp executor on a private address, nginx
as the public door, one SuperNode a site. Every process belongs to a host, which may be this
machine's loopback or a network namespace; each can be killed and started again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedpatchcore.deploy.certs import make_authority, make_server, make_site
from fedpatchcore.deploy.proxy import nginx_configuration
from fedpatchcore.runs.flowercli import toml_value
from fedpatchcore.runs.launch import free_port
from fedpatchcore.runs.logstream import ANSI
from fedpatchcore.runs.programs import app_folder
from tests.support.places import NGINX, SCRIPTS


@dataclass
class Host:
    """Where processes run: the words before each command, and the address others see."""

    name: str
    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


class Field:
    """One deployed federation under ``root``.

    Args:
        sites: data folder by site name.
        server: host of SuperLink, executor and proxy; ``public`` is what sites connect to.
        hosts: host by site name; this machine where not given.
    """

    def __init__(
        self,
        root: Path,
        sites: Mapping[str, Path],
        *,
        server: Host | None = None,
        public: str = "",
        hosts: Mapping[str, Host] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.sites = dict(sites)
        self.server = server or Host("server")
        self.hosts = dict(hosts or {})
        self.port, self.door = free_port(), free_port()
        self.public = public or f"127.0.0.1:{self.door}"
        self.doors: dict[str, str] = {}  # a site may be told another address (a relay)
        self.ids: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen] = {}
        self.pki = root / "pki"
        self.out = root / "server" / "runs"
        for folder in ("server/state", "server/flwr", "server/home", "logs", "cli"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        make_authority(self.pki)
        make_server(self.pki, [self.public.rpartition(":")[0], *names])
        for name in sites:
            make_site(self.pki, name)
        (root / "cli" / "config.toml").write_text(
            '[superlink]\ndefault = "here"\n[superlink.here]\n'
            f'address = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{self.pki / "server" / "ca.crt"}"\n'
        )

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():  # what keeps others running ends them first
            process.terminate()
        end = time.monotonic() + 15
        while time.monotonic() < end and any(p.poll() is None for p in self.processes.values()):
            time.sleep(0.2)
        for who in list(self.processes)[::-1]:
            self.kill(who)

    # -- processes ------------------------------------------------------------------

    def spawn(self, who: str, host: Host, command: Sequence[object], **extra: str) -> None:
        """Start a process on its host; its output is appended to ``logs/<who>.log``."""
        environment = {
            **os.environ,
            "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            **host.environment,
            **extra,
        }
        with (self.root / "logs" / f"{who}.log").open("ab") as log:
            self.processes[who] = subprocess.Popen(
                [*host.prefix, *map(str, command)],
                env=environment,
                cwd=self.root,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def kill(self, who: str, how: signal.Signals = signal.SIGKILL, *, tree: bool = True) -> None:
        """End a process, with all it started unless ``tree`` is False."""
        process = self.processes.pop(who, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            (os.killpg if tree else os.kill)(process.pid, how)
        process.wait(20)

    def ended(self, who: str) -> int | None:
        """Exit code of a process that has ended by itself, else None."""
        return self.processes[who].poll()

    def log(self, who: str) -> str:
        """What a process printed, without colours."""
        file = self.root / "logs" / f"{who}.log"
        return ANSI.sub("", file.read_text(errors="replace")) if file.exists() else ""

    # -- the server -----------------------------------------------------------------

    def start_superlink(self) -> None:
        """SuperLink on the private address; returns when it answers."""
        own = self.pki / "server"
        self.spawn(
            "superlink",
            self.server,
            ["flower-superlink", "--host", "127.0.0.1", "--port", self.port]
            + ["--ssl-ca-certfile", own / "ca.crt", "--ssl-certfile", own / "server.crt"]
            + ["--ssl-keyfile", own / "server.key", "--enable-supernode-auth"]
            + ["--isolation", "process", "--database", self.root / "server" / "state" / "state.db"]
            + ["--superexec-auth-secret-file", own / "superexec.secret"]
            + ["--disable-runtime-dependency-installation"],
            FLWR_HOME=str(self.root / "server" / "flwr"),
        )
        until(
            lambda: '"runs"' in self.flwr("ls", "--format", "json"), 180, "SuperLink did not start"
        )

    def start_executor(self, **environment: str) -> None:
        """The process that runs ServerApps."""
        own = self.pki / "server"
        self.spawn(
            "executor",
            self.server,
            ["flower-superexec", "--runtime-api-address", f"127.0.0.1:{self.port}"]
            + ["--root-certificates", own / "ca.crt"]
            + ["--superexec-auth-secret-file", own / "superexec.secret"],
            FLWR_HOME=str(self.root / "server" / "flwr"),
            FEDPATCHCORE_HOME=str(self.root / "server" / "home"),
            **environment,
        )

    def start_proxy(self, *, certificates: Path | None = None) -> None:
        """The public door."""
        scratch = self.root / "server" / "proxy"
        scratch.mkdir(exist_ok=True)
        file = scratch / "nginx.conf"
        text = nginx_configuration(
            certificates or self.pki / "server",
            listen=self.public,
            superlink=f"127.0.0.1:{self.port}",
            scratch=scratch,
            access_log=str(self.root / "logs" / "refused.log"),
        )
        file.write_text(text)
        self.spawn("proxy", self.server, [NGINX or "nginx", "-c", file])

    def start_server(self) -> None:
        """SuperLink, executor, proxy."""
        self.start_superlink()
        self.start_executor()
        self.start_proxy()

    def flwr(self, *words: object, check: bool = False) -> str:
        """Output of a ``flwr`` command given on the server."""
        done = subprocess.run(
            [*self.server.prefix, str(SCRIPTS / "flwr"), *map(str, words)],
            env={
                **os.environ,
                "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
                "FLWR_HOME": str(self.root / "cli"),
                "FLWR_TELEMETRY_ENABLED": "0",
                "FLWR_DISABLE_UPDATE_CHECK": "1",
                "COLUMNS": "300",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told = ANSI.sub("", done.stdout + done.stderr)
        if check:
            assert done.returncode == 0, told
        return told

    def register(self, *sites: str) -> None:
        """Tell the SuperLink the public keys of these sites, or of all."""
        for site in sites or self.sites:
            public = self.pki / "sites" / site / "node.pub"
            told = self.flwr(
                "supernode", "register", public, "--name", site, "--format", "json", check=True
            )
            self.ids[site] = str(json.loads(told[told.index("{") :])["node-id"])

    def nodes(self) -> dict[str, dict]:
        """What the SuperLink knows of each registered site, by name."""
        told = self.flwr("supernode", "list", "--format", "json")
        known = {n["node-id"]: n for n in json.loads(told[told.index("{") :])["nodes"]}
        return {site: known[node] for site, node in self.ids.items() if node in known}

    def online(self) -> set[str]:
        """Names of the sites that are online."""
        return {name for name, node in self.nodes().items() if node["status"] == "online"}

    # -- sites ----------------------------------------------------------------------

    def host_of(self, site: str) -> Host:
        return self.hosts.get(site, Host(site))

    def home_of(self, site: str) -> Path:
        """The site's own folder: cache, results, Flower's files."""
        return self.root / "sites" / site

    def start_site(
        self,
        site: str,
        *,
        ca: Path | None = None,
        words: Mapping[str, str] | None = None,
        **environment: str,
    ) -> None:
        """The SuperNode of one site; ``words`` of its own go into its node-config."""
        home = self.home_of(site)
        home.mkdir(parents=True, exist_ok=True)
        own = self.pki / "sites" / site
        told = self.node_config(site) | dict(words or {})
        self.spawn(
            site,
            self.host_of(site),
            ["flower-supernode", "--superlink", self.doors.get(site, self.public)]
            + ["--root-certificates", ca or own / "ca.crt"]
            + ["--auth-supernode-private-key", own / "node.key"]
            + ["--port", free_port()]
            + ["--node-config", " ".join(f"{k}={toml_value(v)}" for k, v in told.items())],
            FLWR_HOME=str(home / "flwr"),
            FEDPATCHCORE_HOME=str(home / "cache"),
            **environment,
        )

    def node_config(self, site: str) -> dict[str, str]:
        """What the site's SuperNode is told of it."""
        return {"site": site, "data": str(self.sites[site].resolve())}

    def keep_site(
        self, site: str, *, ca: Path | None = None, more: Sequence[object] = (), **environment: str
    ) -> None:
        """The product's own way: ``fedpatchcore node``, which starts the SuperNode again."""
        home = self.home_of(site)
        home.mkdir(parents=True, exist_ok=True)
        own = self.pki / "sites" / site
        self.spawn(
            site,
            self.host_of(site),
            ["fedpatchcore", "node", "--superlink", self.doors.get(site, self.public)]
            + ["--root-certificates", ca or own / "ca.crt", "--key", own / "node.key"]
            + ["--site", site, "--data", self.sites[site].resolve(), "--state", home / "cache"]
            + list(more),
            **environment,
        )

    def kill_supernode(self, site: str) -> None:
        """SIGKILL a kept site's SuperNode and all it started; its worker and its keeper live on."""
        self._kill_kept(site, worker=False)

    def kill_kept(self, site: str) -> None:
        """SIGKILL a kept site: keeper, SuperNode, worker and all that they started."""
        children = _children(self.processes[site].pid)
        self.kill(site)
        for pid in children:
            with suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)

    def kill_worker(self, site: str) -> None:
        """SIGKILL a kept site's worker; ``fedpatchcore node`` lives on and starts it again."""
        self._kill_kept(site, worker=True)

    def _kill_kept(self, site: str, *, worker: bool) -> None:
        keeper = self.processes[site].pid
        ended = set()
        for pid in _children(keeper):
            with suppress(ProcessLookupError, FileNotFoundError):  # gone meanwhile
                if ("worker" in _words(pid)) == worker:
                    ended.add(os.getpgid(pid))
        ended.discard(os.getpgid(keeper))
        assert ended, f"{site} keeps no such program"
        for group in ended:
            os.killpg(group, signal.SIGKILL)

    def start_sites(self, *sites: str) -> None:
        """SuperNodes of these sites, or of all; returns when they are online."""
        for site in sites or self.sites:
            self.start_site(site)
        wanted = set(sites or self.sites)
        until(lambda: wanted <= self.online(), 240, f"not online: {wanted}", every=3)

    # -- runs -----------------------------------------------------------------------

    def submit(self, name: str, config: Mapping[str, object], *, app: Path | None = None) -> str:
        """Submit a run whose results go to ``self.out / name``; returns Flower's id of it.

        Args:
            app: folder of the app, this tree's where not given.
        """
        config = {"out-dir": str(self.out), "run-name": name, **config}
        file = self.root / "cli" / f"{name}.toml"
        file.write_text("".join(f"{k} = {toml_value(v)}\n" for k, v in config.items()))
        told = self.flwr("run", app or app_folder(), "--run-config", file, "--format", "json")
        found = re.search(r'"run-id": "(\d+)"', told)
        assert found, told
        return found.group(1)

    def status(self, run_id: str) -> str:
        told = self.flwr("ls", "--run-id", run_id, "--format", "json")
        try:
            return str(json.loads(told[told.index("{") :])["runs"][0]["status"])
        except (ValueError, KeyError, IndexError):
            return f"unknown: {told[-200:]}"

    def wait(self, run_id: str, seconds: float = 400) -> str:
        """The run's final status. Asking Flower costs a process of two seconds: not often."""
        end = time.monotonic() + seconds
        while not (status := self.status(run_id)).startswith(("finished", "failed")):
            assert time.monotonic() < end, f"{status}\n{self.flwr('log', run_id, '--show')[-3000:]}"
            time.sleep(6)
        return status

    def events(self, name: str, what: str = "") -> list[dict]:
        """Events of a run, or those of one kind."""
        file = self.out / name / "events.jsonl"
        if not file.exists():
            return []
        found = [json.loads(line) for line in file.read_text().splitlines()]
        return [e for e in found if not what or e["event"] == what]

    def until_event(self, name: str, what: str, seconds: float = 300, **facts: object) -> dict:
        """Wait for an event with these facts."""
        found: list[dict] = []

        def there() -> bool:
            found[:] = [
                e for e in self.events(name, what) if all(e.get(k) == v for k, v in facts.items())
            ]
            return bool(found)

        until(there, seconds, f"no event '{what}' {facts} in run {name}", every=0.05)
        return found[-1]

    def bank(self, name: str) -> bytes:
        """The bank file of a finished run."""
        return (self.out / name / "bank.safetensors").read_bytes()


def _children(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(entry.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found


def _words(pid: int) -> list[str]:
    """The words of a process's command; none if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def pids(name: str) -> list[int]:
    """Processes whose command has ``name`` in its first words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = entry.read_bytes().split(b"\0")[:3]
            if any(w.endswith(name.encode()) for w in words):
                found.append(int(entry.parent.name))
    return found


def until(
    there: Callable[[], bool], seconds: float, otherwise: str, *, every: float = 0.3
) -> float:
    """Wait until ``there()``; returns the seconds it took, fails with ``otherwise``."""
    start = time.monotonic()
    while not there():
        assert time.monotonic() - start < seconds, f"{otherwise} (after {seconds:g} s)"
        time.sleep(every)
    return time.monotonic() - start


def reachable(address: str, *, prefix: Sequence[str] = (), seconds: float = 3) -> bool:
    """Whether a TCP connection to host:port opens, seen from a host."""
    host, _, port = address.rpartition(":")
    if not prefix:
        try:
            socket.create_connection((host, int(port)), seconds).close()
        except OSError:
            return False
        return True
    code = f"import socket; socket.create_connection(('{host}', {port}), {seconds}).close()"
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, check=False)
    return done.returncode == 0
