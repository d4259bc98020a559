"""Whether the app that a run submits is the one that is installed here, to the byte.

The bundle is opened and compared in memory, never written to disk and never loaded.
"""

from __future__ import annotations

import io
import tomllib
import zipfile
from pathlib import Path

from packaging.version import InvalidVersion, Version

from fedpatchcore.texts import one_line
from fedpatchcore.version import VERSION

__all__ = ["difference"]

APPS = ("client_app", "server_app")
LONGEST = 1 << 20  # bytes of a pyproject.toml
TOLD = 3


def difference(bundle: bytes, installed: Path | None = None) -> str:
    """Why what was submitted is not what is installed, with what mends it; "" if it is.

    Args:
        bundle: the archive that Flower made of the submitted app.
        installed: folder with the two apps; this package's own by default.
    """
    folder = installed or Path(__file__).parents[1]
    ours = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for app in APPS
        for path in (folder / app).rglob("*.py")
    }
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            odd = _odd(archive, ours)
            theirs = _version(archive)
    except Exception as error:  # whatever a damaged archive makes of the reader
        return f"the app of this run cannot be read: {one_line(repr(error), 200)}"
    if not odd:
        return ""
    shown = ", ".join(one_line(name, 80) for name in odd[:TOLD])
    more = f" and {len(odd) - TOLD} more" if len(odd) > TOLD else ""
    if theirs and theirs != Version(VERSION):
        mend = f"at this site: pip install 'fedpatchcore=={theirs}'"
    else:
        mend = f"at the server: pip install --force-reinstall --no-deps 'fedpatchcore=={VERSION}'"
    return (
        f"this run's app (FedPatchCore {theirs or 'of no version'}) is not the one installed here "
        f"({VERSION}): {shown}{more} differ; {mend}, or start the node with --app any to run "
        "whatever is submitted"
    )


def _odd(archive: zipfile.ZipFile, ours: dict[str, bytes]) -> list[str]:
    """Files of code that are other than ours, that are missing, or that are too many."""
    entries = [e for e in archive.infolist() if _is_code(e.filename)]
    theirs = {entry.filename: entry for entry in entries}
    odd = sorted(theirs.keys() ^ ours.keys())
    if len(theirs) != len(entries):
        odd.append("files of one name")
    for name in sorted(theirs.keys() & ours.keys()):
        if theirs[name].file_size != len(ours[name]):
            odd.append(name)
            continue
        with archive.open(theirs[name]) as file:
            if file.read(len(ours[name]) + 1) != ours[name]:
                odd.append(name)
    return odd


def _is_code(name: str) -> bool:
    return name.endswith(".py") or name.split("/")[0] in APPS


def _version(archive: zipfile.ZipFile) -> Version | None:
    try:
        with archive.open("pyproject.toml") as file:
            told = tomllib.loads(file.read(LONGEST).decode())
        return Version(str(told["project"]["version"]))
    except (KeyError, TypeError, ValueError, InvalidVersion):
        return None
