"""The report's sections on the run as a whole: coverage, bank, traffic, settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.report.charts import coverage_figure
from fedpatchcore.report.markup import (
    Html,
    amount,
    element,
    folded,
    join,
    percent,
    seconds,
    size,
    table,
)
from fedpatchcore.report.robustness import robustness
from fedpatchcore.report.story import MANY_SITES, WITHHELD, Story
from fedpatchcore.server.acceptance import COVERAGE_SITES

__all__ = ["bank", "configuration", "coverage", "no_pictures", "traffic"]

KINDS = {
    "full": "whole coreset",
    "delta": "what was new",
    "none": "nothing new",
    "sums": "noisy sums",
}

RADIUS = (
    "Radius: every coreset row a site offered lies within this distance of a row of the bank; "
    "a radius near 0 means that next to nothing was left out."
)
NOISY = (
    "Radius: the largest error that the noise is expected to leave in a row. Offered: cells of "
    "the codebook; a cell that does not rise above the noise gives no row."
)

# -- coverage, bank -----------------------------------------------------------------


def coverage(story: Story) -> Html:
    """Whose bank rows are nearest to whose normal patches."""
    columns = story.header["sites"]
    totals: dict[str, Counter[str]] = {}  # of each site by site of the bank; "" counts all
    for site, told in sorted((story.last.get("evaluate") or {}).items()):
        for result in (told.get("products") or {}).values():
            if counts := _counted(result.get("coverage") or (), columns):
                totals[site] = totals.get(site, Counter()) + counts
    note = (
        "Row: whose normal images. Column: whose bank rows are nearest to their patches. A site "
        "that is explained mostly by others gains from the federation; one explained by itself "
        "alone sees conditions nobody else has."
    )
    if story.withholds:
        told = f"Which bank rows are nearest to a site's training images is {WITHHELD}: "
        return element("p", told + "this run is private.")
    if not totals:
        return element("p", "No site has reported which bank rows explain its images.")
    if max(len(totals), len(columns)) > COVERAGE_SITES:
        return join([element("p", note, class_="note"), _explained(totals)])
    matrix = np.array([[_share(c[name], c) for name in columns] for c in totals.values()])
    figure = element("figure", Html(coverage_figure(matrix, list(totals), columns)))
    return join([element("p", note, class_="note"), element("div", figure, class_="scroll")])


def _counted(told: Any, columns: list[str]) -> Counter[str]:
    """Counts in either form of `evaluate_record`; empty if they are of another bank."""
    if isinstance(told, Mapping):
        return Counter({"": told["patches"], **told["sites"]})
    if len(told) != len(columns):
        return Counter()
    return Counter({"": sum(told), **dict(zip(columns, told, strict=True))})


def _explained(totals: Mapping[str, Counter[str]]) -> Html:
    """In the place of a figure that would have sites × sites cells: a line a site."""
    rows = []
    for site, counts in totals.items():
        others = [(n, name) for name, n in counts.items() if name not in ("", site)]
        most, name = max(others, default=(0, "–"), key=lambda one: one[0])
        own = counts[site]
        shares = [_share(n, counts) for n in (own, counts[""] - own, most)]
        rows.append(("", [site, percent(shares[0]), percent(shares[1]), name, percent(shares[2])]))
    head = ["images of", "nearest to its own rows", "to those of others", "most to", "share"]
    return folded(f"all {len(rows)} sites", table(head, rows))


def _share(count: int, counts: Counter[str]) -> float:
    return count / counts[""] if counts[""] else math.nan


def bank(story: Story) -> Html:
    """Sections of the bank, their rows by site, and the thresholds in it."""
    rows = []
    offered = story.last.get("sections") or {}
    for part in story.header["sections"]:
        facts = offered.get(part["name"]) or {}
        rows.append(
            (
                "",
                [
                    part["name"],
                    f"{part['rows']:,}",
                    f"{facts['offered_rows']:,}" if facts.get("offered_rows") else "–",
                    WITHHELD if story.private else f"{sum(part['images'].values()):,}",
                    f"{part['radius']:.4g}",
                    len(facts.get("sites") or part["rows_by_site"]),
                    f"{part['flagged']:,}",
                ],
            )
        )
    head = ["section", "rows", "offered", "training images", "radius", "sites", "flagged"]
    print_ = story.header["fingerprint"]
    scoring = story.header["scoring"]
    facts = (
        f"Features: {print_['architecture']}, layers {', '.join(print_['layers']) or '–'}, "
        f"{print_['dimension']} numbers a patch, {print_['image_size']} px "
        f"({print_['geometry']}), weights {print_['weights_sha256'][:12]}…. "
        f"Scoring: {amount(scoring['neighbours'], 'neighbour')}"
        + (f", re-weighted over {scoring['reweight']}" if scoring.get("reweight") else "")
        + f". Bank of round {story.header['round']}."
    )
    note = RADIUS
    if any("noise_error" in facts for facts in offered.values()):
        note = NOISY
    return join(
        [
            element("p", facts),
            table(head, rows),
            element("p", note, class_="note"),
            *_short_of_memory(offered),
            robustness(story),
            _by_site(story),
            _thresholds(story),
        ]
    )


def _short_of_memory(sections: Mapping[str, Any]) -> list[Html]:
    """Which sections were not made of all offered rows at once, and what it cost."""
    told = []
    for name, facts in sections.items():
        if tree := facts.get("tree"):
            told.append(
                f"Section {name} was merged in a tree of {tree['blocks']} blocks: merging at once "
                f"takes {tree['exact_memory_bytes'] / 1e9:.3g} GB, server-memory-gb allows "
                f"{tree['memory_bytes'] / 1e9:.3g}. Its radius is at most ×{tree['factor']:.3g} of "
                "the least possible one (merged at once: ×2)."
            )
        if considered := facts.get("considered_rows"):
            told.append(
                f"Section {name} was picked from {considered:,} of {facts['offered_rows']:,} "
                f"offered rows, the first {facts['considered_rows_a_site']:,} of each site: more "
                "do not fit into server-memory-gb. Its radius holds for all of them."
            )
    return [element("p", line) for line in told]


def _by_site(story: Story) -> Html:
    sections = story.header["sections"]
    sites = list(
        dict.fromkeys([*story.header["sites"], *(s for p in sections for s in p["rows_by_site"])])
    )
    rows = [
        (
            "",
            [
                site,
                *(f"{n:,}" if (n := p["rows_by_site"].get(site, 0)) else "–" for p in sections),
            ],
        )
        for site in sites
    ]
    content = table(["rows from", *(p["name"] for p in sections)], rows)
    return folded("rows of the bank by site", content, is_open=len(sites) <= MANY_SITES)


def _thresholds(story: Story) -> Html:
    thresholds = story.header["thresholds"]
    sites = sorted({site for values in thresholds.values() for site in values})
    if not sites and story.withholds:
        told = f"Thresholds are {WITHHELD}: each site has its own in its private.json."
        return element("p", told)
    if not sites:
        return element("p", "The bank holds no thresholds: no site held out normal images.")
    rows = [
        ("", [s, *(f"{v[s]:.4g}" if s in v else "–" for v in thresholds.values())]) for s in sites
    ]
    content = table(["threshold of", *thresholds], rows)
    return folded("thresholds in the bank", content, is_open=len(sites) <= MANY_SITES)


# -- traffic ------------------------------------------------------------------------


def traffic(story: Story) -> Html:
    """Bytes and seconds of each site in each round."""
    head = [
        "site",
        "sent",
        "images",
        "from cache",
        "unreadable",
        "rows",
        "bytes up",
        "extract",
        "select",
        "round trip",
        "evaluate",
        "memory",
    ]
    wires = any("wire" in record for record in story.rounds)
    head += ["up, on the wire", "down, on the wire"] if wires else []
    parts = []
    for record in story.rounds:
        train, told = record.get("train") or {}, record.get("evaluate") or {}
        rows = [
            _trip(
                s,
                train.get(s) or {},
                told.get(s) or {},
                story.withholds,
                sum(p.get(s) or 0 for p in _down(record).values()) if wires else None,
            )
            for s in sorted({*train, *told})
        ]
        up = sum(t.get("bytes") or 0 for t in train.values())
        down = record.get("bytes_down")
        line = f"{amount(len(train), 'site')} sent {size(up)}"
        if wires:
            line += f" of features in {size(sum(map(_wire_bytes, train.values())))} on the wire"
        if down:
            line += f"; the bank that went to each site is {size(down)}"
            phases = [(what, max(sent.values())) for what, sent in _down(record).items() if sent]
            if told_of := ", ".join(f"{size(most)} to {what}" for what, most in phases):
                line += f", and took at most {told_of}"
        if merge := (record.get("memory") or {}).get("merge"):
            line += f"; merging took at most {size(merge)} of memory at the server"
        slowest = max(
            ((t.get("round_trip_seconds") or 0, s) for s, t in train.items()), default=None
        )
        if slowest and slowest[0]:
            line += f"; slowest: {slowest[1]} in {seconds(slowest[0])}"
        content = table(head, rows, left=2)
        if len(rows) > MANY_SITES:
            content = folded(f"all {len(rows)} sites", content)
        parts += [element("h3", f"Round {record.get('round')}"), element("p", line + "."), content]
    return join(parts) if parts else element("p", "No round was completed.")


def _down(record: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    """Bytes sent to each site, by phase."""
    return (record.get("wire") or {}).get("down") or {}


def _wire_bytes(train: Mapping[str, Any]) -> int:
    return train.get("wire_bytes", train.get("bytes")) or 0


def _trip(
    site: str, train: Mapping[str, Any], told: Mapping[str, Any], silent: bool, down: int | None
) -> tuple[str, list[object]]:
    """A site's line; where it answered with noise, its counts and seconds are withheld."""
    stats = train.get("sections") or []
    private = bool(train.get("privacy"))

    def total(key: str) -> str:
        return WITHHELD if private else f"{sum(s.get(key) or 0 for s in stats):,}"

    rows = f"{sum(s.get('rows') or 0 for s in stats):,}"
    return "", [
        site,
        KINDS.get(train.get("kind"), "–"),
        total("images"),
        total("cached"),
        total("bad"),
        "–" if train.get("kind") == "sums" else rows,
        size(train.get("bytes") or 0),
        WITHHELD if private else seconds(train.get("extract_seconds")),
        WITHHELD if private else seconds(train.get("select_seconds")),
        seconds(train.get("round_trip_seconds") or None),
        WITHHELD if silent and told else seconds(told.get("seconds")),
        WITHHELD if private else size(most) if (most := _most_memory(train, told)) else "–",
        *([] if down is None else [size(_wire_bytes(train)), size(down)]),
    ]


def _most_memory(*told: Mapping[str, Any]) -> int:
    """The largest of what a site's phases took, in bytes; 0 where not told."""
    return max((n for one in told for n in (one.get("memory") or {}).values()), default=0)


# -- settings ----------------------------------------------------------------------


def configuration(story: Story) -> Html:
    """Every setting; those that differ from the default stand out."""
    defaults = RunConfig().table()
    lines = []
    for key, value in story.config.items():
        changed = key in defaults and defaults[key] != value
        shown_value = value if value not in ("", None) else "–"
        lines.append(
            element(
                "div",
                element("span", key),
                element(
                    "code", str(shown_value).lower() if isinstance(value, bool) else shown_value
                ),
                class_="changed" if changed else "",
            )
        )
    note = element("p", "Coloured: different from the default.", class_="note")
    return join([note, element("div", *lines, class_="columns")])


def no_pictures(story: Story) -> str:
    """Where the pictures are when they are not here."""
    place = f"{story.name}/heatmaps"
    return (
        "Pictures of single images stay at the sites. Each site finds its own on its own machine "
        f"under {place} in the folder that out='…' of its node-config (or FEDPATCHCORE_OUT) names; "
        f"without one, in ~/.cache/fedpatchcore/sites/<site>/results/{place}."
    )
