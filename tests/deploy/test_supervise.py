"""Programs kept running: started again, explained, ended with all they started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedpatchcore.deploy.supervise import Program, Supervisor
from fedpatchcore.errors import RunError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def supervise(*programs: Program, seconds: float = 60, stop_when=lambda said: False, **words):
    """Run until ``stop_when(lines said)``; returns the lines and the exit code."""
    said: list[str] = []
    made = Supervisor(programs, say=said.append, first_pause=0.05, longest_pause=0.2, **words)

    def watch() -> None:
        end = time.monotonic() + seconds
        while not stop_when(said) and time.monotonic() < end:
            time.sleep(0.02)
        made.stop()

    threading.Thread(target=watch, daemon=True).start()
    return said, made.run()


def test_what_ends_is_explained_and_started_again() -> None:
    program = Program("node", python("raise SystemExit(3)"), explain=lambda code: f"said {code}")
    said, code = supervise(program, stop_when=lambda s: sum("started" in x for x in s) == 3)
    assert code == 0
    assert "node ended: said 3" in said
    assert any(line.startswith("node starts again in") for line in said)


def test_once_ends_with_the_program() -> None:
    said, code = supervise(Program("node", python("pass")), once=True)
    assert code == 1
    assert sum("started" in line for line in said) == 1


def test_nothing_starts_before_it_is_ready() -> None:
    asked: list[float] = []

    def ready() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 2

    said, _ = supervise(
        Program("node", python("import time; time.sleep(60)"), ready=ready),
        stop_when=lambda s: any("started" in x for x in s),
    )
    assert len(asked) == 3
    assert len(said) == 1


def test_children_of_a_killed_program_end_with_it(tmp_path: Path) -> None:
    """As a SuperNode that dies and leaves its executor behind."""
    file = tmp_path / "child"
    code = (
        "import os, subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(file)!r}).write_text(str(child.pid))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    supervise(Program("node", python(code)), once=True)
    child = int(file.read_text())
    end = time.monotonic() + 10
    while alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_programs_end_when_their_keeper_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(file)!r}).write_text(str(os.getpid()))"
    keeper = (
        "import sys; from fedpatchcore.deploy.supervise import Program, Supervisor\n"
        f"code = {program!r} + '; time.sleep(600)'\n"
        "Supervisor([Program('node', [sys.executable, '-c', code])], say=print).run()"
    )
    process = subprocess.Popen([sys.executable, "-c", keeper], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait(10)
    while alive(int(file.read_text())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(int(file.read_text()))


def test_a_program_that_ignores_being_told_is_killed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fedpatchcore.deploy.supervise.PATIENCE", 0.5)
    file = tmp_path / "pid"
    code = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(file)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    supervise(Program("deaf", python(code)), stop_when=lambda s: file.exists() and file.read_text())
    assert not alive(int(file.read_text()))


def test_a_program_that_cannot_be_started_is_named() -> None:
    with pytest.raises(RunError, match="/nowhere/nginx cannot be started: No such file"):
        supervise(Program("proxy", ["/nowhere/nginx"]))
