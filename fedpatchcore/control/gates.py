"""What a bank must not do worse than the one in production, site by site.

From the result tables of the two runs: image AUROC of the federated bank, defects found and good
parts stopped at each site's threshold and, where the bank in production has this figure, planted
defects found. A figure that either run withholds decides nothing, and a gate that decides nothing
is not passed: a person says so, with a reason.

Where a run tells no site's figures (``secure-figures``) those of all sites together are shown. They
can fail, for then some site got worse by as much; they can't pass, for one site may have lost what
the others gained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedpatchcore.settings import Settings, setting

__all__ = ["TOGETHER", "Gate", "GateSettings", "gates", "passed"]

Row = Mapping[str, Any]


PLANTED = "planted defects found"
TOGETHER = "all sites together"


class GateSettings(Settings):
    """How much worse than the bank in production a site's figures may be."""

    title = "Gates before a release"

    auroc_loss: float = setting(0.01, "image AUROC that a site may lose", ge=0, le=1)
    found_loss: float = setting(0.05, "share of its defects that it may find less", ge=0, le=1)
    stopped_gain: float = setting(0.05, "share of its good parts stopped more", ge=0, le=1)
    planted_loss: float = setting(
        0.05, "share of planted defects that it may find less", ge=0, le=1
    )


@dataclass(frozen=True)
class Gate:
    """One figure of one site, before and after.

    Attributes:
        before: of the bank in production; None where it has none.
        worse: by how much it got worse; negative: better; None where undefined.
        passed: None where nothing is decided.
    """

    site: str
    what: str
    before: float | None
    after: float | None
    worse: float | None
    allowed: float
    passed: bool | None

    def told(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def gates(
    product: str, before: Sequence[Row], after: Sequence[Row], limits: GateSettings
) -> list[Gate]:
    """All gates of a product, by site; a site that is only in one of the tables is among them."""
    old, new = _by_site(product, before), _by_site(product, after)
    found, sites = [], sorted(old.keys() | new.keys())
    if not (old and new):
        old, new = old | _together(product, before), new | _together(product, after)
        sites += [TOGETHER]
    for site in sites:
        one, other = old.get(site, {}), new.get(site, {})
        for what, figure, allowed, sign in (
            ("image AUROC", _auroc, limits.auroc_loss, -1),
            ("defects found", lambda row: _share(row, "found"), limits.found_loss, -1),
            ("good parts stopped", lambda row: _share(row, "stopped"), limits.stopped_gain, 1),
            (PLANTED, lambda row: _share(row, "planted"), limits.planted_loss, -1),
        ):
            was, now = figure(one), figure(other)
            worse = None if was is None or now is None else sign * (now - was)
            if what == PLANTED and was is None:
                continue  # there is nothing that it could be worse than
            decided = None if worse is None else worse <= allowed + 1e-12
            if site == TOGETHER and decided:
                decided = None
            if (was, now) != (None, None):
                found.append(Gate(site, what, was, now, worse, allowed, decided))
    return found


def passed(found: Iterable[Gate]) -> bool:
    """Whether there are gates, and all of them are passed."""
    told = [gate.passed for gate in found]
    return bool(told) and all(told)


def _by_site(product: str, rows: Iterable[Row]) -> dict[str, Row]:
    return {
        row["site"]: row
        for row in rows
        if row.get("product") == product and row.get("kind") == "site"
    }


def _together(product: str, rows: Iterable[Row]) -> dict[str, Row]:
    found = [r for r in rows if r.get("product") == product and r.get("kind") == "mean"]
    return {TOGETHER: found[0]} if found else {}


def _auroc(row: Row) -> float | None:
    value = row.get("federated")
    return None if value is None else float(value)


def _share(row: Row, key: str) -> float | None:
    told = row.get(key)
    return told[0] / told[1] if told and told[1] else None
