"""What services of every kind have in common: plain words, files, the script that installs them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from fedpatchcore.errors import ConfigError

__all__ = ["ETC", "SYSTEMD", "Units", "plain"]

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


class Units:
    """Services of a host, as files and a script that installs them.

    Attributes:
        python: the interpreter that the services run.
    """

    python: Path

    def files(self) -> dict[str, str]:
        """Text by name, the script that installs them among them."""
        raise NotImplementedError

    def lacking(self) -> str:
        """What keeps them from being installed, beside `closed`; or nothing."""
        return ""

    def write(self, folder: Path) -> None:
        """Write `files` into a folder. Raises ConfigError if it cannot be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in self.files().items():
                (folder / name).write_text(text)
                (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
        except OSError as error:
            raise ConfigError(f"cannot write {folder}: {error.strerror}") from None

    def install(self, folder: Path) -> None:
        """Run the script in a folder that `write` made. Raises ConfigError saying what failed."""
        if os.geteuid() != 0:
            raise ConfigError(f"users and services are made by root: sudo {folder}/install.sh")
        if why := self.closed() or self.lacking():
            raise ConfigError(why)
        done = subprocess.run(
            ["sh", str(folder.absolute() / "install.sh")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(f"{folder}/install.sh ended with {done.returncode}: {last}")

    def closed(self) -> str:
        """Why the services' users could not run this installation, or nothing."""
        here = Path(__file__).parent
        for path in (self.python, self.python.resolve(), here):
            for one in (path, *path.parents):
                if one in HOMES or (one.is_dir() and not one.stat().st_mode & stat.S_IXOTH):
                    return (
                        f"{path} is in {one}, which other users cannot enter: install FedPatchCore "
                        "where they can (python3 -m venv /opt/fedpatchcore, and pip install there)"
                    )
        return ""
