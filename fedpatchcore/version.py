"""The version of this library, and which versions may work together.

A run's app travels to each host and finds there the library that is installed. App, server and
sites must be of one minor version; patch versions may differ, and that is noted.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

from packaging.version import InvalidVersion, Version

__all__ = ["VERSION", "differ", "mend", "misfit", "refusal"]

VERSION = "0.5.0"


def refusal(theirs: str, ours: str = VERSION) -> str:
    """Why a host may not take part beside this one, with what mends it; "" if it may."""
    try:
        found = Version(theirs)
    except InvalidVersion:
        return (
            f"it says that its FedPatchCore is '{theirs[:40]}', which is no version: {mend(ours)}"
        )
    if _minor(found) == _minor(Version(ours)):
        return ""
    return f"it has FedPatchCore {found}, the server {ours}; there: {mend(ours)}"


def differ(theirs: str, ours: str = VERSION) -> bool:
    """Whether two versions that may work together are not the same."""
    return Version(theirs) != Version(ours)


def misfit(app: Path) -> str:
    """Why an app may not run with the library installed here, with what mends it; "" if it may.

    Args:
        app: the folder with the app's ``pyproject.toml``.
    """
    file = app / "pyproject.toml"
    told = file.stat()
    version = _version_in(file, told.st_mtime_ns, told.st_size)
    if not refusal(version):
        return ""
    return (
        f"this run's app is of FedPatchCore {version}, installed here is {VERSION}: {mend(version)}"
    )


@lru_cache(maxsize=8)
def _version_in(file: Path, moment: int, size: int) -> str:
    """Of an app; asked at each message, read again only when it was written again."""
    return str(tomllib.loads(file.read_text())["project"]["version"])


def mend(version: str) -> str:
    """The command that installs what works with ``version``."""
    needed = Version(version)
    return f"pip install 'fedpatchcore=={needed.major}.{needed.minor}.*'"


def _minor(version: Version) -> tuple[int, int, int]:
    return version.epoch, version.major, version.minor
