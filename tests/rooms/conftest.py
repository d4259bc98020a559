"""A PostgreSQL of our own on a Unix socket, started and stopped by the test."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.conftest import empty, flower, quick_passwords, room

__all__ = ["empty", "flower", "quick_passwords", "room"]


class Cluster:
    """One data directory and its server."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self.programs, self.folder, self.user = programs, folder, user

    def call(self, name: str, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        with (self.folder / "log").open("a") as log:
            return subprocess.run(
                [str(self.programs / name), *words],
                user=self.user,
                cwd=self.folder,
                check=check,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-m", how, "-w", "stop", check=False)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def new(self, name: str) -> str:
        self.call("createdb", "-h", str(self.folder), "-U", "postgres", name)
        return self.url(name)


def _programs() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((one for one in places if (one / "initdb").is_file()), None)
    there = shutil.which("initdb")
    return found or (Path(there).parent if there else None)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """PostgreSQL does not run as root: as its own user then."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install '.[postgresql]'")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = None
    folder = tmp_path_factory.mktemp("pg")
    if os.geteuid() == 0:
        user = "postgres"
        try:
            number = pwd.getpwnam(user).pw_uid
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        folder = Path("/tmp") / f"fedpatchcore-pg-{os.getpid()}"
        folder.mkdir(mode=0o700)
        os.chown(folder, number, number)
    found = Cluster(programs, folder, user)
    found.call("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N")
    found.start()
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)
