"""Flower's processes on this machine, started, watched and stopped together.

Two sets: a SuperLink that simulates N virtual sites, and a SuperLink with one SuperNode process
a site. Both use a free port and a Flower home of their own, so that nothing left running by
someone else is met, and nothing is left running. Flower is only ever called as a program.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedpatchcore.errors import RunError
from fedpatchcore.runs.flowercli import FlowerCli, toml_value
from fedpatchcore.runs.leftovers import Told, end_all
from fedpatchcore.runs.logstream import cleaned
from fedpatchcore.runs.programs import QUIET, executor_words, flower_program, new_secret

__all__ = ["LocalFlower", "free_port"]

START_SECONDS = 120.0  # a machine with other work takes many times the usual three
NO_INSTALL = "--disable-runtime-dependency-installation"


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LocalFlower:
    """A SuperLink on loopback, with what belongs to it; use as a context manager.

    Args:
        simulation: virtual sites inside the SuperLink; otherwise add SuperNodes.
        logs: folder for each process's log; a temporary one if not given.
        environment: extra variables for every process.
    """

    def __init__(
        self,
        *,
        simulation: bool,
        logs: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.simulation = simulation
        self._temporary = tempfile.TemporaryDirectory(prefix="fedpatchcore-")
        self.home = Path(self._temporary.name)
        self.logs = logs or self.home / "logs"
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen] = {}
        self._bin = flower_program("flwr").parent
        self._environment = dict(environment or {})
        self._told = Told()

    def __enter__(self) -> Self:
        self._told.listen()
        self.logs.mkdir(parents=True, exist_ok=True)
        config = self.home / "cli" / "config.toml"
        config.parent.mkdir()
        config.write_text(
            '[superlink]\ndefault = "here"\n[superlink.here]\n'
            f'address = "127.0.0.1:{self.port}"\ninsecure = true\n'
        )
        command = ["flower-superlink", "--insecure", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), NO_INSTALL]
        try:
            self._spawn("superlink", command + (["--simulation"] if self.simulation else []))
            self._wait_for_superlink()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def supernode(self, site: str, data: Path, *, app: str = "any", **node_config: str) -> None:
        """Start the SuperNode of one site on its own data folder.

        Args:
            app: "installed" = only the app of this package is run there, or "any".
        """
        settings = {"site": site, "data": str(data.resolve()), **node_config}
        told = " ".join(f"{key}={toml_value(value)}" for key, value in settings.items())
        command = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}"]
        port = free_port()
        command += ["--port", str(port), "--node-config", told]
        if app == "installed":
            words, executor = executor_words(port, new_secret(self.home / f"site-{site}"))
            command += words
            self._spawn(f"executor-{site}", *executor, home=f"site-{site}")
        self._spawn(f"site-{site}", command)

    def submit(self, config: Mapping[str, Any], *, supernodes: int = 0) -> str:
        """Submit a run with these run-config overrides; returns its id."""
        extra = f"num-supernodes={supernodes} client-resources-num-cpus=1"
        return self.cli.submit(config, *(("--federation-config", extra) * self.simulation))

    def status(self, run_id: str) -> str:
        """Flower's word for the run's state, such as ``running`` or ``finished:completed``."""
        return self.cli.status(run_id)

    def follow(
        self,
        run_id: str,
        line: Callable[[str], None],
        *,
        timeout: float,
        tick: Callable[[], None] = lambda: None,
    ) -> str:
        """Hand over the run's log lines as they come; returns the final status.

        Args:
            tick: called several times a second.
        """

        def watch() -> None:
            self._tell_dead(line)
            tick()

        return self.cli.follow(run_id, line, timeout=timeout, tick=watch)

    def _tell_dead(self, line: Callable[[str], None]) -> None:
        """Say once, with its last words, that a process ended before its time.

        Raises RunError if it is the SuperLink: nothing can come of the run then.
        """
        for who, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[who]
                words = (self.logs / f"{who}.log").read_text(errors="replace").strip()
                last = cleaned(words.splitlines()[-1] if words else "no output")
                told = f"{who} ended by itself (exit code {process.returncode}): {last}"
                if who == "superlink":
                    raise RunError(told)
                line(told)

    def flwr(self, *args: str, timeout: float = 120.0) -> str:
        """Output of one ``flwr`` command against this SuperLink."""
        return self.cli.raw(*args, timeout=timeout)

    @property
    def cli(self) -> FlowerCli:
        """The ``flwr`` program with the connection to this SuperLink."""
        return FlowerCli(self._env("cli"), program=self._bin / "flwr")

    def _env(self, who: str) -> dict[str, str]:
        home = self.home / who
        home.mkdir(exist_ok=True)
        own = {
            "PATH": f"{self._bin}{os.pathsep}{os.environ.get('PATH', '')}",
            "FLWR_HOME": str(home),
            **QUIET,
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_DEDUP_LOGS": "0",
            "COLUMNS": "200",
        }
        return {**os.environ, **own, **self._environment}

    def _spawn(
        self, who: str, command: list[str], more: Mapping[str, str] | None = None, home: str = ""
    ) -> None:
        with (self.logs / f"{who}.log").open("ab") as log:
            self.processes[who] = subprocess.Popen(
                [str(self._bin / command[0]), *command[1:]],
                env={**self._env(home or who), **(more or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_for_superlink(self) -> None:
        end = time.monotonic() + START_SECONDS
        reason = f"it gave no answer for {START_SECONDS:.0f} seconds; try again on an idle machine"
        while time.monotonic() < end:
            if (code := self.processes["superlink"].poll()) is not None:
                reason = f"it ended with code {code}"
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        told = (self.logs / "superlink.log").read_text(errors="replace").strip()
        raise RunError(
            ": ".join(filter(None, (f"the SuperLink did not start: {reason}", told[-500:])))
        )

    def _stop_one(self, who: str) -> None:
        process = self.processes.pop(who, None)
        if process is None:
            return
        for how, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            try:  # each was started in a session of its own: its children go with it
                os.killpg(process.pid, how)
            except ProcessLookupError:
                break
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop every process that was started here and remove the private Flower homes."""
        for who in list(self.processes)[::-1]:
            self._stop_one(who)
        end_all(self.home)
        shutil.rmtree(self.home, ignore_errors=True)
        self._temporary.cleanup()
        self._told.done()
