"""What protects the training images, and what does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.report.model import Cell, Section, Table, row, table
from fedpatchcore.report.story import MANY_SITES, Story

__all__ = ["Ledgers", "Private", "Stated", "Unprotected", "privacy"]

SUMS = ("round", "masked", "dropped", "opened", "must open", "may collude", "MB", "s", "of", "")
WHAT = {"sums": "noisy sums", "figures": "figures", "updates": "updates"}
HEAD = ("site", "ε spent", "left", "budget", "δ", "releases", "this run", "ledger begun")


@dataclass(frozen=True)
class Unprotected:
    """A run without differential privacy.

    Attributes:
        summed: no site told figures of its own.
    """

    summed: bool = False
    sums: Table | None = None
    kind: str = "off"


@dataclass(frozen=True)
class Stated:
    """A statement without the sites' ledgers: shown as it stands."""

    table: Table
    known: bool
    kind: str = "stated"


@dataclass(frozen=True)
class Ledgers:
    """What each site has spent; ``bare``: sites with releases without noise, and how many."""

    table: Table
    bare: list[tuple[str, int]]


@dataclass(frozen=True)
class Private:
    """What holds for one image, or for one row, and what covers what.

    Attributes:
        by_server: the unit is a whole site, and the server adds the noise.
        clipped: what ``clip`` bounds.
        alone: ε if all others collude, of secure sums; "" without.
        sums: the secure sum of each round.
    """

    per_image: bool
    by_server: bool
    clipped: str
    explained: str
    epsilon: str
    nominal: str
    delta: str
    adjacency: str
    clip: float
    unit: str
    composition: str
    ledgers: Ledgers
    covered: list[str]
    withheld: list[str]
    not_covered: list[str]
    alone: str = ""
    sums: Table | None = None
    kind: str = "private"


def privacy(story: Story) -> list[Section]:
    """What left the sites and what protects it."""
    return [Section("Privacy", "privacy", "privacy.html.j2", _view(story))]


def _view(story: Story) -> Unprotected | Stated | Private:
    told = dict(story.privacy or story.header["privacy"])
    mechanism = told.get("mechanism", "off")
    if mechanism == "off":
        return Unprotected(story.summed, _sums(story))
    known = MECHANISMS.get(mechanism)
    if known is None or not isinstance(told.get("sites"), Mapping):
        rows = [row(key.replace("_", " "), Cell(v, "code")) for key, v in told.items()]
        return Stated(
            table(["what protects the training images", ""], rows, left=2), known is not None
        )
    return Private(
        per_image=known.per_image,
        by_server=known.by_server,
        clipped=known.clipped,
        explained=known.words("explained", secure="secure_sums" in told),
        epsilon=_epsilon(told.get("epsilon")),
        nominal=_epsilon(told.get("nominal_epsilon")),
        delta=_delta(told),
        adjacency=told.get("adjacency", ""),
        clip=told.get("clip") or 0.0,
        unit=told.get("unit", ""),
        composition=told.get("composition", ""),
        ledgers=_ledgers(told["sites"]),
        covered=list(told.get("covered") or ()),
        withheld=list(told.get("withheld") or ()),
        not_covered=list(told.get("not_covered") or ()),
        alone=_epsilon(told["epsilon_alone"]) if "epsilon_alone" in told else "",
        sums=_sums(story),
    )


def _sums(story: Story) -> Table | None:
    told = [
        (r["round"], r[key])
        for r in story.rounds
        for key in ("secure_sum", "figures_sum")
        if r.get(key)
    ]
    rows = [
        row(
            number,
            len(one["masked"]),
            len(one["asked"]) - len(one["masked"]),
            len(one["opened"]),
            one["openers"],
            one["colluding"],
            f"{one['bytes'] / 1e6:.2f}",
            f"{one['seconds']:.1f}",
            WHAT.get(one.get("about", "sums"), ""),
            one["closed"] or "open",
        )
        for number, one in told
    ]
    return table(SUMS, rows) if rows else None


def _ledgers(sites: Mapping[str, Mapping[str, Any]]) -> Ledgers:
    rows = [
        row(
            site,
            _epsilon(note.get("spent")),
            _epsilon(note.get("left"), lost="–"),
            _epsilon(note.get("budget")),
            _delta(note),
            note.get("releases", "–"),
            "re-sent, not charged again" if note.get("again") else "charged",
            str(note.get("begun") or "–")[:16].replace("T", " "),
        )
        for site, note in sorted(sites.items())
    ]
    bare = {site: note["unprotected"] for site, note in sites.items() if note.get("unprotected")}
    fold = f"all {len(rows)} sites" if len(rows) > MANY_SITES else ""
    return Ledgers(table(HEAD, rows, fold=fold), sorted(bare.items()))


def _epsilon(value: object, *, lost: str = "∞") -> str:
    """An ε for people; the file holds null where it is infinite."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return lost
    if value < 1e-6:
        return "0"
    return f"{value:.4g}" if value < 1e4 else f"{value:,.0f}"


def _delta(told: Mapping[str, Any]) -> str:
    delta = told.get("delta")
    return f"{delta:g}".replace("e-0", "e-") if isinstance(delta, int | float) else "–"
