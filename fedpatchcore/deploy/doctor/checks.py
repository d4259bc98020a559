"""What ``fedpatchcore doctor`` is made of: a check, its runner, the checks of any machine.

A check ends in one of four states: ``ok``, ``warn`` (works, but look at it), ``fail`` (a run will
not work) and ``skipped`` (could not be looked at). A check never raises and never hangs; one that
fails does not keep the next from running.
"""

from __future__ import annotations

import fcntl
import ipaddress
import platform
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fedpatchcore.errors import FedPatchCoreError

__all__ = [
    "INSTALL",
    "Check",
    "Checks",
    "Skip",
    "disk",
    "existing",
    "fail",
    "libraries",
    "ok",
    "own_addresses",
    "python",
    "skipped",
    "superlink_process",
    "warn",
    "writable",
]

State = Literal["ok", "warn", "fail", "skipped"]
PACKAGE = "fedpatchcore"
INSTALL = "install this package: pip install . in its source folder"
LIBRARIES = ("flwr", "torch", "torchvision", "faiss-gpu", "faiss-cpu", "numpy")
LOW_DISK = 2e9
SIOCGIFADDR = 0x8915
INTERFACES_6 = Path("/proc/net/if_inet6")


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, how it stands, what was seen, what fixes it."""

    name: str
    state: State
    told: str
    fix: str = ""

    def table(self) -> dict[str, str]:
        """The fields as plain values, for JSON."""
        return asdict(self)


class Skip(Exception):
    """Raised inside a check that cannot be made; the text says why."""


def ok(told: str) -> Check:
    """All is well."""
    return Check("", "ok", told)


def warn(told: str, fix: str) -> Check:
    """It works, but a person should look at it."""
    return Check("", "warn", told, fix)


def fail(told: str, fix: str) -> Check:
    """A run will not work like this."""
    return Check("", "fail", told, fix)


def skipped(why: str) -> Check:
    """It could not be looked at."""
    return Check("", "skipped", f"not checked: {why}")


class Checks:
    """Runs checks one after the other and keeps their results.

    Args:
        say: told each result as it comes.
    """

    def __init__(self, say: Callable[[Check], None] = lambda check: None) -> None:
        self.results: list[Check] = []
        self._say = say

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(check.state == "fail" for check in self.results)

    def run(
        self, name: str, work: Callable[[], Check], *, fix: str = "", seconds: float = 30.0
    ) -> Check:
        """Make one check: whatever it raises becomes its result, and it ends in time.

        Args:
            fix: what is told to do when ``work`` raises an error of this library.
            seconds: after so long the check counts as failed; its thread is left behind.
        """
        found: list[Check] = []

        def guarded() -> None:
            try:
                found.append(work())
            except Skip as reason:
                found.append(skipped(str(reason)))
            except FedPatchCoreError as error:
                found.append(fail(str(error), fix))
            except Exception as error:
                reason = " ".join(str(error).split()) or "no reason given"
                found.append(fail(f"{type(error).__name__}: {reason}", fix))

        thread = threading.Thread(target=guarded, name=f"check {name}", daemon=True)
        thread.start()
        thread.join(seconds)
        told = found[0] if found else fail(f"no result within {seconds:g} s", fix)
        told = replace(told, name=name)
        self.results.append(told)
        self._say(told)
        return told


def python() -> Check:
    """This Python against what the package asks for."""
    version = platform.python_version()
    wanted = metadata.metadata(PACKAGE)["Requires-Python"] or ""
    told = f"Python {version} ({platform.system()} {platform.machine()})"
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return ok(told)
    return fail(f"{told}, but {PACKAGE} needs {wanted}", f"install Python {wanted}")


def libraries(names: Sequence[str] = LIBRARIES) -> Check:
    """Installed versions of the main libraries against the ranges in the package's metadata.

    Without FAISS most things work, some more slowly.
    """
    wanted = {
        need.name: need
        for need in map(Requirement, metadata.requires(PACKAGE) or ())
        if need.name in names and (need.marker is None or need.marker.evaluate({"extra": ""}))
    }
    seen, wrong, asked, without = [f"{PACKAGE} {metadata.version(PACKAGE)}"], [], [], ""
    for name, need in wanted.items():
        version = _version(name)
        seen += [f"{name} {version}"] if version else []
        if version is None and name.startswith("faiss"):
            without = f"'{name}{need.specifier}'"
        elif version is None or not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version or 'is not installed'} (needs {need.specifier})")
            extras = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
            asked.append(f"'{name}{extras}{need.specifier}'")
    told = ", ".join(seen)
    if wrong:
        return fail(f"{'; '.join(wrong)}; found {told}", f"pip install {' '.join(asked)}")
    if without:
        return warn(
            f"{told}; no FAISS: a CPU searches and selects more slowly, and search='approximate', "
            "wire='pq' and codebooks of private runs are refused",
            f"pip install {without}",
        )
    return ok(told)


def _version(name: str) -> str | None:
    """Installed version; either build of FAISS will do for the other."""
    others = {"faiss-gpu": "faiss-cpu", "faiss-cpu": "faiss-gpu"}
    for each in (name, others.get(name)):
        try:
            if each:
                return metadata.version(each)
        except metadata.PackageNotFoundError:
            continue
    return None


def existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    folder = folder.expanduser().absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def writable(folders: dict[str, Path]) -> Check:
    """Whether files can be made in these folders (or where they would be made); leaves nothing."""
    wrong, fixes = [], []
    for what, folder in folders.items():
        place = existing(folder)
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            wrong.append(f"{what} {folder} cannot be written: {place}: {error.strerror}")
            fixes.append(
                f"move the file {place} away"
                if place.is_file()
                else f"give this user the folder: mkdir -p {folder} && chown $(id -un) {folder} "
                "(as root), or name another one"
            )
    if wrong:
        return fail("; ".join(wrong), "; ".join(dict.fromkeys(fixes)))
    there = (f"{w} {f}" + ("" if f.is_dir() else " (will be made)") for w, f in folders.items())
    return ok("; ".join(there))


def disk(folder: Path, *, needed: float = 0.0, what: str = "") -> Check:
    """Free space on a folder's disk against an estimate of bytes; 2 GB is always wanted."""
    place = existing(folder)
    free = shutil.disk_usage(place).free
    told = f"{size(free)} free at {place}"
    if needed:
        told += f"; {what} {size(needed)}"
    if free < max(needed, LOW_DISK):
        return warn(
            told + ("" if free < needed else f"; less than {size(LOW_DISK)}"),
            "free some space or name a folder on another disk",
        )
    return ok(told)


def size(count: float) -> str:
    """Bytes for a reader: ``1.5 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def own_addresses() -> set[str]:
    """This machine's addresses other than loopback and link-local ones."""
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an IPv4 address
                continue
            found.add(socket.inet_ntoa(answer[20:24]))
    if INTERFACES_6.is_file():
        numbers = [line.split()[0] for line in INTERFACES_6.read_text().splitlines()]
        found |= {str(ipaddress.IPv6Address(int(number, 16))) for number in numbers}
    addresses = {text: ipaddress.ip_address(text) for text in found}
    return {t for t, a in addresses.items() if not (a.is_loopback or a.is_link_local)}


def superlink_process(port: int) -> tuple[list[str], list[str]] | None:
    """Command line and environment of the SuperLink with this port, where they can be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            if not any(word.endswith("flower-superlink") for word in words[:3]):
                continue
            given = words[words.index("--port") + 1] if "--port" in words else "8000"
            if given == str(port):
                return words, (folder / "environ").read_text().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
    return None
