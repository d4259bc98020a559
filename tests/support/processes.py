"""The command line as a process of its own, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.places import ROOT

__all__ = ["command", "only_run"]


def command(
    home: Path,
    *words: object,
    table: Mapping[str, object],
    python: str | Path = sys.executable,
    folder: Path = ROOT,
) -> subprocess.CompletedProcess:
    """``fedpatchcore WORDS -c KEY=VALUE ...`` of an environment, started in a folder."""
    told = [w for key, value in table.items() for w in ("-c", f"{key}={value}")]
    return subprocess.run(
        [python, "-m", "fedpatchcore.cli", *map(str, words), *told],
        env={**os.environ, "FEDPATCHCORE_HOME": str(home)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def only_run(out: Path) -> Path:
    (run,) = out.iterdir()
    return run
