"""Where the programs are that this package starts, Flower's and nginx, and the app it submits."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from fedpatchcore.errors import ConfigError

__all__ = ["QUIET", "app_folder", "flower_program", "nginx_program"]

# For every Flower program: no telemetry, no look for updates, lines that come at once.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "PYTHONUNBUFFERED": "1",
}


def app_folder() -> Path:
    """The folder with the Flower app that belongs to this library: what a run submits.

    It travels inside an installed package; in a source tree it is the tree itself. Raises
    ConfigError if there is none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_app", package.parent):
        file = folder / "pyproject.toml"
        if file.is_file() and "[tool.flwr.app.components]" in file.read_text():
            return folder
    raise ConfigError(
        f"the Flower app was not found beside {package}: this FedPatchCore is not wholly "
        "installed (pip install --force-reinstall --no-deps fedpatchcore)"
    )


def flower_program(name: str) -> Path:
    """One of Flower's programs, of this Python's environment if it has it.

    Raises ConfigError if there is none.
    """
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / name).is_file():
            return folder / name
    if found := shutil.which(name):
        return Path(found)
    raise ConfigError(
        f"'{name}' is not installed: install Flower into this environment (pip install "
        "'flwr[simulation]>=1.41,<1.42')"
    )


def nginx_program() -> Path:
    """nginx, also where only root's PATH has it. Raises ConfigError if it is not installed."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ConfigError("nginx is not installed: apt-get install nginx-light")
    return Path(found)
