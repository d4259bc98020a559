"""The ``flwr`` program as a Python object: submit, follow, list and stop runs of a SuperLink.

Flower is only ever called as a program. It says most errors in a frame or, with ``--format
json``, under exit code 0; here each becomes one `RunError` line that names what helps.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedpatchcore.errors import RunError
from fedpatchcore.runs.connection import find_connection, why_unreachable
from fedpatchcore.runs.logstream import LogStream, cleaned, without_colours
from fedpatchcore.runs.programs import QUIET, app_folder, flower_program

__all__ = ["FlowerCli", "toml_value"]

UNREACHABLE = "Connection to the SuperLink is unavailable"
OVER = ("finished", "failed")
SHOW_SECONDS = 20.0
TICK = 0.2

Line = Callable[[str], None]


def toml_value(value: Any) -> str:
    """A value as Flower's ``--run-config`` wants it."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) else repr(value)


class FlowerCli:
    """Calls of ``flwr`` against one SuperLink.

    Args:
        environment: all variables of the program; this process's own if not given.
        superlink: name of a connection in ``$FLWR_HOME/config.toml``; empty = its default.
        program: path of ``flwr``; the one beside this Python if not given.
        pause: seconds between attempts to reach a SuperLink again.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        superlink: str = "",
        program: Path | None = None,
        *,
        pause: float = 3.0,
    ) -> None:
        self.environment = {**QUIET, **(os.environ if environment is None else environment)}
        self.environment["COLUMNS"] = "400"  # error frames are not to be broken into lines
        self.superlink = superlink
        self.program = program or flower_program("flwr")
        self.pause = pause

    # -- the connection ---------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        """Flower's file of connections."""
        home = self.environment.get("FLWR_HOME") or "~/.flwr"
        return Path(home).expanduser() / "config.toml"

    def connection(self) -> tuple[str, dict[str, Any]]:
        """Name and table of the connection in use. Raises ConfigError with the lines to add."""
        return find_connection(self.config_file, self.superlink)

    # -- calls ------------------------------------------------------------------------

    def raw(self, *args: str, timeout: float = 120.0) -> str:
        """All output of one command."""
        done = self._call(args, timeout)
        return without_colours(done.stdout + done.stderr)

    def ask(self, *args: str, timeout: float = 120.0) -> dict[str, Any]:
        """The answer of one command that knows ``--format json``. Raises RunError."""
        told = self._call([*args, "--format", "json"], timeout)
        try:
            answer = json.loads(told.stdout[told.stdout.index("{") :])
        except ValueError:
            raise self.error(without_colours(told.stdout + told.stderr)) from None
        if not answer.get("success"):
            raise self.error(str(answer.get("error-message")))
        return answer

    def submit(self, config: Mapping[str, Any], *extra: str) -> str:
        """Submit the app with these run-config overrides; returns the run's id."""
        with tempfile.TemporaryDirectory(prefix="fedpatchcore-") as folder:
            file = Path(folder) / "run.toml"
            file.write_text("".join(f"{k} = {toml_value(v)}\n" for k, v in config.items()))
            words = [str(app_folder()), *self._where(), "--run-config", str(file), *extra]
            answer = self.ask("run", *words)
        return str(answer["run-id"])

    def runs(self) -> list[dict[str, Any]]:
        """All runs the SuperLink knows, newest first, in Flower's own keys."""
        return self.ask("ls", *self._where())["runs"]

    def run(self, run_id: str) -> dict[str, Any]:
        """One run. Raises RunError if the SuperLink does not know it."""
        return self.ask("ls", *self._where(), "--run-id", run_id)["runs"][0]

    def status(self, run_id: str) -> str:
        """Flower's word for the run's state, such as ``running`` or ``finished:completed``."""
        try:
            return str(self.run(run_id)["status"])
        except (RunError, LookupError) as error:
            return f"unknown ({error})"

    def nodes(self) -> list[dict[str, Any]]:
        """All SuperNodes, in Flower's own keys."""
        return self.ask("supernode", "list", *self._where())["nodes"]

    def stop(self, run_id: str) -> None:
        """Ask the SuperLink to stop a run. Raises RunError."""
        self.ask("stop", run_id, *self._where())

    def show(self, run_id: str) -> list[str]:
        """The log so far; empty if the run has not logged anything yet. Raises RunError."""
        try:
            done = self._call(["log", run_id, *self._where(), "--show"], SHOW_SECONDS)
        except Silent:
            return []
        if done.returncode:
            raise self.error(without_colours(done.stdout + done.stderr))
        return [cleaned(line) for line in done.stdout.splitlines()]

    def follow(
        self,
        run_id: str,
        line: Line,
        *,
        timeout: float,
        tick: Callable[[], None] = lambda: None,
        again: Line = lambda reason: None,
    ) -> str:
        """Hand over the run's log lines as they come; returns the final status.

        ``flwr run --stream`` exits 0 even when the run fails, so the status is asked for.

        Args:
            tick: called several times a second.
            again: called with the reason when the stream broke, before the log is read again
                from its beginning.
        """
        end = time.monotonic() + timeout
        status = "unknown"
        while True:
            try:
                self._stream(run_id, line, end, tick)
                while (status := str(self.run(run_id)["status"])).split(":")[0] not in OVER:
                    if not self._wait(1.0, end, tick):
                        return f"{status} (stopped waiting after {timeout:g} s)"
                return status
            except Unreachable as error:
                again(str(error))
                if not self._wait(self.pause, end, tick):
                    return f"{status} (stopped waiting after {timeout:g} s: {error})"

    def error(self, text: str) -> RunError:
        """What Flower said, as one line that names what helps."""
        said = one_line(text)
        if UNREACHABLE in said:
            return Unreachable(why_unreachable(self.config_file, self.superlink))
        if "Run ID not found" in said:
            return RunError(
                "the SuperLink does not know this run: 'fedpatchcore status' lists those it knows "
                "(restarted without --database, it forgets them all)"
            )
        if "certificate" in said:
            return RunError(f"{said}: see root-certificates in {self.config_file}")
        return RunError(f"Flower: {said}" if said else "flwr ended without a word")

    # -- helpers ----------------------------------------------------------------------

    def _where(self) -> list[str]:
        return [self.superlink] if self.superlink else []

    def _call(self, args: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [str(self.program), *args],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except OSError as error:
            raise self._no_program(error) from None
        except subprocess.TimeoutExpired:
            raise Silent(f"flwr {args[0]} gave no answer in {timeout:g} s") from None

    def _no_program(self, error: OSError) -> RunError:
        return RunError(
            f"cannot start {self.program} ({error.strerror}): install Flower into this "
            "environment (pip install flwr)"
        )

    def _stream(self, run_id: str, line: Line, end: float, tick: Callable[[], None]) -> None:
        """Hand over lines until the log or the time ends. Raises RunError if the stream broke."""
        command = [str(self.program), "log", run_id, *self._where(), "--stream"]
        try:
            stream = LogStream(command, self.environment)
        except OSError as error:
            raise self._no_program(error) from None
        frame: list[str] = []
        with stream:
            for text in stream.lines(end, tick):
                if frame or text.startswith("╭"):
                    frame.append(text)
                elif not text.startswith("Using SuperLink") and "Starting logstream" not in text:
                    line(text)
            if stream.exit_code():
                raise self.error("\n".join(frame))
        for text in frame:  # no error of flwr's, but the run's own words
            line(text)

    @staticmethod
    def _wait(seconds: float, end: float, tick: Callable[[], None]) -> bool:
        """Let time go by; False once ``end`` is reached."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < min(until, end):
            tick()
            time.sleep(min(TICK, min(until, end) - now))
        return time.monotonic() < end


class Unreachable(RunError):
    """No connection to the SuperLink; it may come back."""


class Silent(RunError):
    """The program gave no answer in time."""


def one_line(text: str) -> str:
    """Flower's words without frames, progress and the name of the connection."""
    kept = []
    for line in without_colours(text).splitlines():
        words = line.strip(" │")
        noise = words.startswith(("Using SuperLink", "╭", "╰", "INFO", "Usage:", "Try 'flwr"))
        if words and not noise and not words.endswith("..."):
            kept.append(re.sub(r"^\[code: \d+\] ", "", words))
    return " ".join(kept)[-600:]
