"""What another user of this machine may do with a file, and which way out a process has."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from fedpatchcore.deploy.doctor.checks import Skip
from fedpatchcore.service.caller import user_name

__all__ = ["allowed", "ways_out"]

TEST = 'for path in "$@"; do [ -{want} "$path" ] && echo "$path"; done; true'
BITS = {"r": 4, "w": 2, "x": 1}


def allowed(uid: int, paths: Iterable[Path], want: str = "r") -> set[Path]:
    """Those of these paths that a user may read (``r``) or write (``w``).

    As root it is tried as that user, so access lists count; for this process's own user the
    system is asked; for another it is read off the permissions alone.

    Raises:
        Skip: it cannot be tried.
    """
    asked = [path.expanduser().absolute() for path in paths]
    if uid == os.geteuid():
        how = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[want]
        return {path for path in asked if os.access(path, how)}
    if os.geteuid() != 0:
        return {path for path in asked if _by_permissions(uid, path, want)}
    group, groups = _groups(uid)
    try:
        told = subprocess.run(
            ["sh", "-c", TEST.replace("{want}", want), "sh", *map(str, asked)],
            user=uid,
            group=group,
            extra_groups=groups,
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Skip(f"it cannot be tried as user {user_name(uid)} ({error})") from None
    found = set(told.splitlines())
    return {path for path in asked if str(path) in found}


def ways_out(process: int) -> list[str]:
    """Interfaces other than loopback that have an address or a route, as a process sees them.

    Raises:
        Skip: its view cannot be read.
    """
    net = Path("/proc", str(process), "net")
    try:
        found = {line.split()[0] for line in _lines(net / "route")[1:]}
        for name in ("ipv6_route", "if_inet6"):  # a kernel without IPv6 has neither
            if (net / name).is_file():
                found |= {line.split()[-1] for line in _lines(net / name)}
    except OSError as error:
        raise Skip(f"process {process}'s network cannot be read: {error.strerror}") from None
    return sorted(found - {"lo"})


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.strip()]


def _groups(uid: int) -> tuple[int, list[int]]:
    """The user's own group, and all its groups."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return uid, []
    return user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)


def _by_permissions(uid: int, path: Path, want: str) -> bool:
    """What the permissions say, of the path and of each folder above it."""
    group, groups = _groups(uid)
    members = {group, *groups}

    def bits(one: Path) -> int:
        found = one.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid == uid:
            return mode >> 6
        return mode >> 3 if found.st_gid in members else mode

    try:
        path = path.resolve(strict=True)
        return all(bits(one) & 1 for one in path.parents) and bool(bits(path) & BITS[want])
    except OSError:  # this user cannot even look
        return False
