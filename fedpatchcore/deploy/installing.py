"""What services of every kind have in common: plain words, files, the script that installs them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from fedpatchcore.errors import ConfigError

__all__ = ["ETC", "SYSTEMD", "by_root", "closed_to_others", "plain", "run_script", "write_files"]

ETC, SYSTEMD = Path("/etc/fedpatchcore"), Path("/etc/systemd/system")
HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))  # of which services see nothing
PLAIN = re.compile(r"[\w/.,+@-]+")  # what neither systemd nor a shell takes for something else
MEMORY = re.compile(r"(\d+[KMGT]?|\d{1,3}%)?")


def plain(texts: Iterable[str], memory: str = "") -> None:
    """Raises ConfigError for a name, a path or an amount that cannot stand in a service's file."""
    for text in texts:
        if not PLAIN.fullmatch(text):
            raise ConfigError(
                f"'{text}' cannot stand in a service's file: letters, digits and /._,+@- can; "
                "rename it, or mount it at another place (mount --bind)"
            )
    if not MEMORY.fullmatch(memory):
        raise ConfigError(f"memory-max '{memory}': write it as 8G, 512M or 50%")


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write texts by name into a folder. Raises ConfigError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None


def run_script(folder: Path) -> None:
    """Run the script in a folder that `write_files` made. Raises ConfigError saying what failed."""
    done = subprocess.run(
        ["sh", str(folder.absolute() / "install.sh")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"{folder}/install.sh ended with {done.returncode}: {last}")


def by_root(folder: Path) -> None:
    """Raises ConfigError unless this is root."""
    if os.geteuid() != 0:
        raise ConfigError(f"users and services are made by root: sudo {folder}/install.sh")


def closed_to_others(python: Path) -> str:
    """Why other users could not run this installation, or nothing."""
    here = Path(__file__).parent
    for path in (python, python.resolve(), here):
        for one in (path, *path.parents):
            if one in HOMES or (one.is_dir() and not one.stat().st_mode & stat.S_IXOTH):
                return (
                    f"{path} is in {one}, which other users cannot enter: install FedPatchCore "
                    "where they can (python3 -m venv /opt/fedpatchcore, and pip install there)"
                )
    return ""
