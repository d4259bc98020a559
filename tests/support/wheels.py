"""Wheels of this tree, and the package installed from them, also under another version."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.support.places import ROOT

__all__ = ["SMALL", "Installed", "build_wheel", "digest", "environment", "install"]

SMALL = (  # a run that takes seconds
    *("-c", "backbone=filterbank", "-c", "geometry=full", "-c", "image-size=64"),
    *("-c", "coreset-size=40", "-c", "heatmaps=1", "-c", "threads=1", "-c", "expected-sites=2"),
)
SOURCES = ("fedpatchcore", "client_app", "server_app", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(folder: Path, version: str = "") -> Path:
    """The tree's wheel; with ``version`` as if the tree were of that version."""
    tree = folder / "tree"
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    if version:
        _rewrite(tree / "pyproject.toml", r'^version = ".*"$', f'version = "{version}"')
        _rewrite(tree / "fedpatchcore/version.py", r'^VERSION = ".*"$', f'VERSION = "{version}"')
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    shutil.rmtree(tree)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _rewrite(file: Path, line: str, new: str) -> None:
    text, found = re.subn(line, new, file.read_text(), flags=re.MULTILINE)
    assert found == 1, (file, line)
    file.write_text(text)


def install(wheel: Path, target: Path) -> Path:
    """A folder that has the package and nothing else, for ``PYTHONPATH``."""
    _pip("install", "--target", target, wheel)
    return target


def environment(wheel: Path, folder: Path) -> Path:
    """A virtual environment with the wheel, and this one's other packages; returns its bin."""
    venv.create(folder, with_pip=False)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    known = Path(sys.executable).parent.parent / packages.relative_to(folder)
    (packages / "dependencies.pth").write_text(f"{known}\n")  # its own .pth files have no effect
    _pip("--python", folder / "bin" / "python", "install", "--ignore-installed", wheel)
    for program in Path(sys.executable).parent.glob("fl*"):  # flwr, flower-superlink, ...
        text = program.read_text()
        (folder / "bin" / program.name).write_text(
            text.replace(str(Path(sys.executable).parent), str(folder / "bin"))
        )
        (folder / "bin" / program.name).chmod(0o755)
    return folder / "bin"


def _pip(*words: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    subprocess.run([*command, "--no-deps", "--no-index"], check=True, capture_output=True)


@dataclass
class Installed:
    """A user's home beside an environment that has the wheel."""

    bin: Path
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        kept = {k: os.environ[k] for k in ("LANG", "TMPDIR", "SSL_CERT_FILE") if k in os.environ}
        path = f"{self.bin}{os.pathsep}/usr/local/bin:/usr/bin:/bin:/usr/sbin"
        own = {"HOME": str(self.home), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **own, "COLUMNS": "200", "FLWR_HOME": str(self.home / "flwr")}

    def __call__(self, *words: object) -> subprocess.CompletedProcess:
        program, *rest = map(str, words)
        return subprocess.run(
            [self.bin / program, *rest],
            env=self.variables,
            cwd=self.home / "empty",
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, name: str, *words: object) -> subprocess.Popen:
        with (self.home / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [self.bin / "fedpatchcore", *map(str, words)],
                env=self.variables,
                cwd=self.home / "empty",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def digest(folder: Path) -> str:
    """Of all files below a folder: names, sizes and times."""
    told = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        stat = path.lstat()
        told.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return told.hexdigest()
