"""Who a site is in secure sums, and whom it takes for a site: its own key and the roster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from fedpatchcore.errors import SecureSumError
from fedpatchcore.files import private_folder, write_atomically
from fedpatchcore.securesums.letters import framed
from fedpatchcore.securesums.roster import Identity, Roster
from fedpatchcore.securesums.roster_file import SignedRoster, read_identity, read_roster
from fedpatchcore.spelling import typed

__all__ = ["Member", "by_files", "nobody", "simulated"]

PIN = "roster.json"
Member = Callable[[str], tuple[Identity, Roster]]  # of a run


def nobody(site: str) -> Member:
    """A site without a roster: it is in no secure sum."""

    def refused(run: str) -> tuple[Identity, Roster]:
        raise SecureSumError(
            f"site '{site}' has no roster, and adds to no secure sum without: get roster.json and "
            f"ca.crt, make a key ('fedpatchcore certs site') and name both "
            f"({typed('roster', 'roster.json', own=True)}, "
            f"{typed('sums-key', 'sums.key', own=True)})"
        )

    return refused


def by_files(roster: Path, key: Path, pinned: Path) -> Member:
    """From the site's own files; of the rosters seen none but the latest counts.

    Args:
        pinned: folder where the authority and the number of the latest roster are kept.
    """

    def member(run: str) -> tuple[Identity, Roster]:
        read = read_roster(roster)
        _pin(read, roster, pinned / PIN)
        return read_identity(key), read.roster

    return member


def simulated(site: str, names: Sequence[str]) -> Member:
    """Virtual sites share one machine and one trust: keys that each of them can work out."""

    def member(run: str) -> tuple[Identity, Roster]:
        keys = {name: _virtual(name, run) for name in names}
        return keys[site], Roster({name: one.public for name, one in keys.items()})

    return member


def _pin(read: SignedRoster, path: Path, pin: Path) -> None:
    """Raise SecureSumError for a roster of another authority, or one older than was seen."""
    try:
        kept = json.loads(pin.read_text())
        authority, number = str(kept["authority"]), int(kept["number"])
    except FileNotFoundError:
        authority, number = read.authority, 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SecureSumError(f"{pin}, which pins the roster, cannot be read ({error!r})") from None
    if authority != read.authority:
        raise SecureSumError(
            f"roster {path} is signed by another authority than the one first seen; if that is "
            f"meant, remove {pin}"
        )
    if read.number < number:
        raise SecureSumError(
            f"roster {path} is number {read.number}, this site has seen number {number}: get the "
            "latest"
        )
    if read.number > number:
        told = json.dumps({"authority": read.authority, "number": read.number})
        try:
            private_folder(pin.parent)
            write_atomically(pin, told.encode())
        except OSError as error:
            raise SecureSumError(f"cannot write {pin}: {error.strerror or error}") from None


def _virtual(name: str, run: str) -> Identity:
    return Identity(hashlib.sha256(framed("virtual site", run, name)).digest())
