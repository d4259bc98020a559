"""Where the programs are that this package starts, Flower's and nginx, and the app it submits."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import sysconfig
from pathlib import Path

from fedpatchcore.errors import ConfigError
from fedpatchcore.files import for_owner_alone, private_folder, write_atomically

__all__ = [
    "QUIET",
    "app_command",
    "app_folder",
    "executor_words",
    "flower_program",
    "new_secret",
    "nginx_program",
]

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


def app_command(module: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """A module of the app as a program, and the variables it needs.

    This library never loads Flower itself. Nothing of the folder it is started in is loaded.
    """
    places = (str(app_folder()), os.environ.get("PYTHONPATH"))
    command = [sys.executable, "-P", "-m", module, *words]
    return command, {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def executor_words(port: int, secret: Path) -> tuple[list[str], tuple[list[str], dict[str, str]]]:
    """What ``flower-supernode`` is told to run the installed app alone, and who runs it then."""
    node = ["--isolation", "process", "--superexec-auth-secret-file", str(secret)]
    told = ("--runtime", f"127.0.0.1:{port}", "--secret", str(secret))
    return node, app_command("client_app.executor", *told)


def new_secret(folder: Path) -> Path:
    """A file of random bytes that a node and its executor know each other by, its owner's alone."""
    private_folder(folder)
    file = folder / "executor.secret"
    with for_owner_alone():
        write_atomically(file, secrets.token_bytes(32), durable=False)
    return file


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
