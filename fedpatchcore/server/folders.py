"""A folder for a run: its own, whoever starts another at the same moment or by the same name."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from pathlib import Path

from fedpatchcore.errors import RunError

__all__ = ["new_folder", "unused"]

COMPUTED = ("bank.safetensors", "metrics.json", "rounds/*", "coresets/*")


def new_folder(out_dir: Path, more: str = "") -> Path:
    """Make a folder in ``out_dir`` named by the time and ``more``, or by these and a number.

    Making it is what takes the name: of two runs that begin in one second, and of two whose clocks
    were set back, each gets its own.

    Raises:
        RunError: nothing can be made there.
    """
    name = f"{datetime.now():%Y%m%d-%H%M%S}{more}"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = out_dir / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise RunError(
            f"cannot write results to {out_dir} ({error.strerror}): set out-dir to a folder "
            "this process may write"
        ) from None
    raise AssertionError("count() has no end")


def unused(path: Path) -> None:
    """Nobody's results are written over.

    Raises:
        RunError: a run has computed something in this folder; one that only began has not.
    """
    if any(next(path.glob(name), None) for name in COMPUTED):
        raise RunError(
            f"{path} holds the results of another run: take another run-name, or go on with that "
            f"run by resume={path}"
        )
