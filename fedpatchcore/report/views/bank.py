"""The memory bank: its sections, their rows by site, and the thresholds in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.report.model import Section, Table, row, table
from fedpatchcore.report.story import MANY_SITES, WITHHELD, Story
from fedpatchcore.report.views.robustness import Robustness, robustness

__all__ = ["Bank", "bank"]

HEAD = ("section", "rows", "offered", "images", "taught", "held out")
RADII = ("rows within", "patches within")


@dataclass(frozen=True)
class Tree:
    """A section that was merged in a tree of blocks: bytes it would take and may, and the cost."""

    name: str
    blocks: int
    exact_gb: float
    allowed_gb: float
    factor: float


@dataclass(frozen=True)
class Picked:
    """A section that was picked from the first rows of each site only."""

    name: str
    considered: int
    offered: int
    a_site: int


@dataclass(frozen=True)
class Bank:
    """What the bank holds.

    Attributes:
        noisy: whether its rows are read from noisy sums.
        one_row: whether those sums give one row and a metric a product.
        all_but: sites of each section whose rows and patches its radii do not speak of.
        thresholds: None if it holds none; ``withheld`` then tells whether the sites have them.
    """

    fingerprint: Mapping[str, Any]
    neighbours: int
    reweight: int
    round: int
    sections: Table
    noisy: bool
    one_row: bool
    all_but: int
    trees: list[Tree]
    picked: list[Picked]
    robustness: Robustness | None
    by_site: Table
    thresholds: Table | None
    withheld: bool


def bank(story: Story) -> list[Section]:
    """Sections of the bank, their rows by site, and the thresholds in it."""
    offered = story.last.get("sections") or {}
    scoring = story.header["scoring"]
    mechanism = MECHANISMS.get(str((story.header.get("privacy") or {}).get("mechanism")))
    view = Bank(
        fingerprint=story.header["fingerprint"],
        neighbours=scoring["neighbours"],
        reweight=scoring.get("reweight") or 0,
        round=story.header["round"],
        sections=_sections(story, offered),
        noisy=any("noise_error" in facts for facts in offered.values()),
        one_row=bool(mechanism and mechanism.one_row),
        all_but=max((facts.get("all_but") or 0 for facts in offered.values()), default=0),
        trees=_trees(offered),
        picked=_picked(offered),
        robustness=robustness(story),
        by_site=_by_site(story),
        thresholds=_thresholds(story),
        withheld=story.withholds or story.summed,
    )
    return [Section("Memory bank", "bank", "bank.html.j2", view)]


def _sections(story: Story, offered: Mapping[str, Any]) -> Table:
    rows = []
    noisy = any("noise_error" in facts for facts in offered.values())
    held = _held_out(story)
    for part in story.header["sections"]:
        facts = offered.get(part["name"]) or {}
        taught, out = sum(part["images"].values()), held.get(part["name"], 0)
        counts = [f"{taught + out:,}", f"{taught:,}", f"{out:,}"]
        more = part["radius"] - facts.get("radius", part["radius"])  # by the bank's encoding
        within = f"{facts['reach'] + more:.4g}" if facts.get("reach") is not None else "–"
        rows.append(
            row(
                part["name"],
                f"{part['rows']:,}",
                f"{facts['offered_rows']:,}" if facts.get("offered_rows") else "–",
                *([WITHHELD] * 3 if story.private else counts),
                f"{part['radius']:.4g}",
                *([] if noisy else [within]),
                len(facts.get("sites") or part["rows_by_site"]),
                f"{part['flagged']:,}",
            )
        )
    radii = ("radius",) if noisy else RADII
    return table([*HEAD, *radii, "sites", "flagged"], rows)


def _held_out(story: Story) -> dict[str, int]:
    """Images held out by section, as each site last told."""
    last: dict[tuple[str, str], int] = {}
    for record in story.rounds:
        for site, told in (record.get("train") or {}).items():
            for facts in told.get("sections") or []:
                last[facts["section"], site] = facts.get("held_out") or 0
    sums: dict[str, int] = {}
    for (section, _), count in last.items():
        sums[section] = sums.get(section, 0) + count
    return sums


def _trees(offered: Mapping[str, Any]) -> list[Tree]:
    told = ((name, facts.get("tree")) for name, facts in offered.items())
    return [
        Tree(
            name,
            blocks=tree["blocks"],
            exact_gb=tree["exact_memory_bytes"] / 1e9,
            allowed_gb=tree["memory_bytes"] / 1e9,
            factor=tree["factor"],
        )
        for name, tree in told
        if tree
    ]


def _picked(offered: Mapping[str, Any]) -> list[Picked]:
    return [
        Picked(
            name, facts["considered_rows"], facts["offered_rows"], facts["considered_rows_a_site"]
        )
        for name, facts in offered.items()
        if facts.get("considered_rows")
    ]


def _by_site(story: Story) -> Table:
    parts = story.header["sections"]
    givers = (site for part in parts for site in part["rows_by_site"])
    sites = list(dict.fromkeys([*story.header["sites"], *givers]))
    rows = [
        row(site, *(f"{n:,}" if (n := p["rows_by_site"].get(site, 0)) else "–" for p in parts))
        for site in sites
    ]
    return table(
        ["rows from", *(p["name"] for p in parts)],
        rows,
        fold="rows of the bank by site",
        is_open=len(sites) <= MANY_SITES,
    )


def _thresholds(story: Story) -> Table | None:
    thresholds = story.header["thresholds"]
    sites = sorted({site for values in thresholds.values() for site in values})
    if not sites:
        return None
    rows = [row(s, *(f"{v[s]:.4g}" if s in v else "–" for v in thresholds.values())) for s in sites]
    return table(
        ["threshold of", *thresholds],
        rows,
        fold="thresholds in the bank",
        is_open=len(sites) <= MANY_SITES,
    )
