"""Whether a site can take part in secure sums: its key, the roster, and both together."""

from __future__ import annotations

import json
from pathlib import Path

from fedpatchcore.config import NodeConfig
from fedpatchcore.deploy.doctor.checks import Check, Skip, fail, ok
from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.roster_file import read_identity, read_roster

__all__ = ["membership"]


def membership(node: NodeConfig, ledger: Path) -> Check:
    """The roster is signed, the latest that was seen here, and holds this site's own key."""
    if not (node.roster or node.sums_key):
        raise Skip("no roster: this site takes part in no secure sums")
    try:
        read = read_roster(Path(node.roster).expanduser())
        identity = read_identity(Path(node.sums_key).expanduser())
    except SecureSumError as error:
        return fail(str(error), fix="fetch roster.json and ca.crt anew ('certs roster' made them)")
    if read.roster.keys.get(node.site) != identity.public:
        return fail(
            f"the roster holds another key for site '{node.site}', or none",
            fix="send this site's sums.pub and get a roster signed with it ('certs roster')",
        )
    authority, seen = _seen(ledger / "sums" / "roster.json")
    if authority not in ("", read.authority):
        return fail(
            f"the roster is signed by another authority than was seen here, {authority[:16]}…",
            fix="find out why; runs refuse it until that pin (roster.json beside the ledger) goes",
        )
    if read.number < seen:
        return fail(
            f"roster number {read.number} is older than {seen}, which was seen here",
            fix="fetch the latest roster.json",
        )
    told = f"number {read.number} of {read.made}, {len(read.roster.keys)} sites"
    return ok(f"{told}, signed by {read.authority[:16]}…")


def _seen(pin: Path) -> tuple[str, int]:
    """Authority and number of the latest roster that a run was taken part in with."""
    try:
        told = json.loads(pin.read_text())
        return str(told.get("authority", "")), int(told["number"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", 0
