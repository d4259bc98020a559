"""Processes of other users, as root starts them; this Python is opened to them where it is closed.

An interpreter below /root, say, cannot be run by others. In a mount namespace of its own each
process sees such a folder empty but for what Python needs, and nothing of the machine changes.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from tests.support.places import ROOT

__all__ = ["as_user", "missing", "opened"]

TOOLS = ("unshare", "setpriv", "mount")


@lru_cache(maxsize=1)
def missing() -> str:
    """Why processes of other users cannot be started here, or nothing."""
    if os.geteuid() != 0:
        return "processes of several users need root"
    for tool in TOOLS:
        if not shutil.which(tool):
            return f"'{tool}' is not installed (Debian: apt-get install util-linux)"
    tried = subprocess.run(
        [*as_user(65533), sys.executable, "-c", "import fedpatchcore.version, flwr, numpy"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"another user cannot run {sys.executable}: {last}" if tried.returncode else ""


def as_user(uid: int, *, more: str = "") -> tuple[str, ...]:
    """The words before a command that make it a process of this user, in no group but its own.

    Args:
        more: shell lines that root executes first, in the process's own mount namespace.
    """
    become = f'exec setpriv --reuid {uid} --regid {uid} --clear-groups -- "$@"'
    return ("unshare", "-m", "sh", "-euc", f"{opened()}\n{more}\n{become}", "as-user")


def opened() -> str:
    """Shell lines that let every user of a mount namespace run this Python."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), ROOT, Path(sys.executable).resolve().parent}
    needed |= {Path(one) for one in sys.path if one and Path(one).is_dir()}
    closed: dict[Path, set[Path]] = {}
    for path in _outermost(needed):
        for folder in (*list(path.parents)[::-1], path):
            if not folder.stat().st_mode & stat.S_IXOTH:
                closed.setdefault(folder, set()).add(path)
                break
    lines = []
    for folder, kept in sorted(closed.items()):
        lines += ["stage=$(mktemp -d)", "mount -t tmpfs -o mode=755 none $stage"]
        for at, path in enumerate(sorted(kept)):
            lines += [f"mkdir $stage/{at}", f"mount --rbind '{path}' $stage/{at}"]
        lines += [f"mount -t tmpfs -o mode=755 none '{folder}'"]
        for at, path in enumerate(sorted(kept)):
            lines += [f"mkdir -p '{path}'", f"mount --rbind $stage/{at} '{path}'"]
        lines += ["umount -l $stage", "rmdir $stage"]
    return "\n".join(lines)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Those that lie in none of the others."""
    found = {path.absolute() for path in paths}
    return sorted(path for path in found if not found & set(path.parents))
