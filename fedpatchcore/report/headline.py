"""The top of the report: what ran, what went wrong, the figures to remember."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedpatchcore.metrics.comparison import METHODS, NAMES, shown
from fedpatchcore.report.markup import Html, amount, element, join, percent, seconds, size, table
from fedpatchcore.report.robustness import left_out
from fedpatchcore.report.story import HYBRID, Story, figures, method_keys

__all__ = ["headline", "summary"]

MOST_TOLD = 20
SENT = {
    "off": "feature vectors",
    "cells": "noisy sums",
    "moments": "noisy sums",
    "kernel": "noisy sums",
    "per-vector": "noised feature vectors",
}


def headline(story: Story) -> Html:
    """Title, what ran, what went wrong, and the figures to remember."""
    sites = story.header["sites"]
    made = amount(len(story.header["sections"]), "section")
    text = (
        f"{amount(len(sites), 'site')} built one memory bank of what normal looks like: {made}, "
        f"{amount(sum(s['rows'] for s in story.header['sections']), 'row')}, in "
        f"{amount(len(story.rounds), 'round')}. Backbone "
        f"{story.header['fingerprint']['architecture']}, aggregation "
        f"{story.header['aggregation']}."
    )
    return join(
        [
            element("div", "FedPatchCore report", class_="kicker"),
            element("h1", story.name),
            element("p", text, class_="lead"),
            _rehearsal(story),
            _alerts(story),
            _tiles(story),
        ]
    )


def _rehearsal(story: Story) -> Html:
    """A run in which some virtual sites attacked must not be taken for a real one."""
    attack = story.config.get("attack")
    if not attack:
        return Html()
    share = percent(story.config.get("malicious-fraction"))
    told = (
        "Some virtual sites sent malicious coresets on purpose, to show what the settings of this "
        "run withstand. Do not use this bank."
    )
    title = element("b", f"attack rehearsal: {attack} by {share} of the sites")
    return element("div", title, element("p", told), class_="alert bad")


def _alerts(story: Story) -> Html:
    bad, mild = [], []
    several = len(story.rounds) > 1
    kept = story.config.get("keep-absent-sites", True)
    absence = "its last contribution stays in the bank" if kept else "its rows left the bank"
    for record in story.rounds:
        when = f"Round {record.get('round')}: " if several else ""
        for site, reason in sorted((record.get("rejected") or {}).items()):
            bad.append(_told(when, site, "was refused", reason))
        for site, reason in sorted((record.get("lost") or {}).items()):
            bad.append(_told(when, site, "was lost", reason))
        gone = left_out(record, story.config)
        for site, reason in sorted((record.get("outliers") or {}).items()):
            what = "was left out as an outlier" if site in gone else "stands out, but was admitted"
            bad.append(_told(when, site, what, reason))
        for site in record.get("absent") or []:
            mild.append(_told(when, site, "was absent", absence))
        for note in record.get("notes") or []:
            bad.append(join([when, note]))
        for site, told in sorted((record.get("evaluate") or {}).items()):
            mild += [join([when, element("b", site), ": ", n]) for n in told.get("notes") or []]
        for name, facts in sorted((record.get("sections") or {}).items()):
            mild += _rows_told(when, name, facts)
    return join(
        element("div", element("b", title), element("ul", *_items(items)), class_=look)
        for title, items, look in (
            ("Not everything went well", bad, "alert bad"),
            ("Worth knowing", mild, "alert"),
        )
        if items
    )


def _rows_told(when: str, name: str, facts: Mapping[str, Any]) -> list[Html]:
    told, rows = [], facts.get("rejected_rows")
    if "noise_error" in facts:
        lost = facts["of"] - facts["known"] if "known" in facts else rows
        what = amount(facts.get("of", facts.get("offered_rows") or 0), facts.get("what", "cell"))
        told += [f"{lost:,} of {what} did not rise above the noise"] if lost else []
    elif rows:
        told.append(f"{amount(rows, 'row')} rejected by the aggregation")
    if rows := facts.get("flagged"):
        told.append(f"{amount(rows, 'row')} rest on fewer sites than the aggregation asks for")
    return [join([when, "section ", element("b", name), ": ", text]) for text in told]


def _told(when: str, site: str, what: str, reason: str) -> Html:
    return join([when, "site ", element("b", site), f" {what}: ", reason])


def _items(told: list[Html]) -> list[Html]:
    items = [element("li", content) for content in told[:MOST_TOLD]]
    if len(told) > MOST_TOLD:
        items.append(element("li", f"and {len(told) - MOST_TOLD} more, see metrics.json"))
    return items


def _tiles(story: Story) -> Html:
    trips = [t for r in story.rounds for t in (r.get("train") or {}).values()]
    up = sum(t.get("wire_bytes") or t.get("bytes") or 0 for t in trips)
    evaluated = len(story.last.get("evaluate") or {})
    means = {m: _mean([r[m] for r in story.summaries("mean")]) for m in METHODS}
    worst = [r["federated"] for r in story.rows if r["kind"] == "site"]
    worst = [v for v in worst if math.isfinite(v)]
    others = [m for m in METHODS if m != "federated" and story.uses(m)]
    others = [f"{NAMES[m]} {shown(means[m])}" for m in others]
    features = sum(s["rows"] for s in story.header["sections"])
    how = story.config.get("dp", "off")
    nbytes = features * story.header["fingerprint"]["dimension"] * 4
    tiles = [
        (shown(means["federated"]), "mean image AUROC, federated", " · ".join(others), "main"),
        (shown(min(worst) if worst else None), "worst site and product, federated", "", ""),
        (f"{evaluated}", "sites evaluated", amount(len(story.products()), "product"), ""),
        (f"{features:,}", "rows in the bank", size(nbytes), ""),
        (size(up), "sent by all sites", f"{SENT.get(how, SENT['off'])}, no images", ""),
        (seconds(story.metrics.get("seconds")), "whole run", "", ""),
    ]
    return element(
        "div",
        *(
            element(
                "div",
                element("b", value),
                element("span", what),
                element("span", more) if more else "",
                class_=f"tile {look}".strip(),
            )
            for value, what, more, look in tiles
        ),
        class_="tiles",
    )


def _mean(values: list[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def summary(story: Story) -> Html:
    """All products in one table; nothing for a single product."""
    if len(story.products()) < 2:
        return Html()
    used = [m for m in METHODS if m == "federated" or story.uses(m)]
    head = ["product", "sites"]
    for what in ("mean", "worst site"):
        head += [method_keys(m, what) for m in used]
    rows = [
        ("", [mean["product"], mean["sites"], *figures(mean, used), *figures(worst, used)])
        for mean, worst in zip(story.summaries("mean"), story.summaries("worst"), strict=True)
    ]
    overall = {m: _mean([r[m] for r in story.summaries("mean")]) for m in used}
    rows.append(("sum", ["mean of the products", "", *figures(overall, used), *([""] * len(used))]))
    meaning = (
        "Image AUROC by product, over its sites."
        + (" Local only: each site with a bank of its own images." if "local" in used else "")
        + " Federated: the bank all sites made together."
        + (f" {HYBRID}" if "hybrid" in used else "")
        + (" Pooled: one bank from all images in one place." if "pooled" in used else "")
        + " The dot marks the best of a row."
    )
    return element(
        "section",
        element("h2", "At a glance"),
        element("p", meaning, class_="note"),
        table(head, rows),
    )
