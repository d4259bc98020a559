"""What a host has of its own beside its network: users, services, and a Python for everybody.

A site's blocks and services see folders of their own at /etc, /run and /var/lib, so that each
has its users and its units. `systemctl` is stood in for by `systemctl.py`.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tests.support.apart import opened
from tests.support.places import ROOT, SCRIPTS

__all__ = ["Python", "System"]

HOMES = tuple(map(Path, ("/home", "/root", "/run", "/var/lib", "/etc", "/tmp", "/var/tmp")))
STAND_IN = Path(__file__).with_name("systemctl.py")


class Python:
    """This Python and its packages in an environment that every user can run.

    What lies in a home is mounted at another place, and stays where it was as well: an
    interpreter finds its own library there.

    Attributes:
        folder: the environment.
    """

    def __init__(self, root: Path) -> None:
        self.folder, self._root = root / "python", root
        self._bound: list[str] = []
        base = Path(sys.base_prefix)
        executable = self._open(base) / Path(sys.executable).resolve().relative_to(base.resolve())
        packages = [Path(one) for one in sys.path if one.endswith("-packages")]
        lib = self.folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        lib.mkdir(parents=True)
        (lib / "all.pth").write_text("".join(f"{self._open(one)}\n" for one in (ROOT, *packages)))
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "python").symlink_to(executable)
        (self.folder / "pyvenv.cfg").write_text(f"home = {executable.parent}\n")
        for script in (*SCRIPTS.glob("fl*"), SCRIPTS / "fedpatchcore"):
            _, _, body = script.read_text().partition("\n")
            made = self.folder / "bin" / script.name
            made.write_text(f"#!{self.folder}/bin/python\n{body}")
            made.chmod(0o755)

    def mounts(self) -> list[str]:
        """Shell lines, for root in a mount namespace."""
        return [*self._bound, opened()]

    def _open(self, path: Path) -> Path:
        """Where every user can reach a folder."""
        shut = any(not one.stat().st_mode & stat.S_IXOTH for one in (path, *path.parents))
        if not shut and not set(HOMES) & set(path.parents):
            return path
        place = self._root / "mounted" / str(len(self._bound))
        place.mkdir(parents=True)
        self._bound.append(f"mount --rbind '{path}' '{place}'")
        return place


class System:
    """A host's own /etc, /run and /var/lib, in its folder ``system``."""

    def __init__(self, home: Path, hosts: str) -> None:
        self.folder = home / "system"
        (self.folder / "run").mkdir(parents=True)
        (self.folder / "lib").mkdir()
        subprocess.run(["cp", "-a", "/etc", str(self.folder / "etc")], check=True)
        (self.folder / "etc" / "systemd" / "system").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "etc" / "fedpatchcore", ignore_errors=True)
        (self.folder / "etc" / "hosts").write_text(hosts)

    def mounts(self) -> list[str]:
        """Shell lines, for root in a mount namespace."""
        places = {"etc": "/etc", "run": "/run", "lib": "/var/lib"}
        return [f"mount --bind '{self.folder / name}' {to}" for name, to in places.items()]
