"""The report's section on privacy: what protects the training images, and what does not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from fedpatchcore.report.markup import Html, amount, element, folded, join, table
from fedpatchcore.report.story import MANY_SITES, Story

__all__ = ["privacy"]

NEVER = "Images, masks, file names and single scores never left the sites."
LEFT = (
    f"{NEVER} What left them: the coresets (feature vectors of patches of normal images), counts, "
    "ROC curves, score histograms and thresholds."
)
MECHANISMS = {
    "cells": (
        "Each site cuts its patches by a public codebook, adds what its images have in the cells "
        "and adds Gaussian noise to the sums, calibrated to one whole image; the bank is read from "
        "the noisy sums alone."
    ),
    "moments": (
        "Each site adds up what mean its images have in a public slice of feature space and how "
        "their patches spread about it, and adds Gaussian noise to the sums, calibrated to one "
        "whole image; the bank is one row and a metric, read from the noisy sums alone."
    ),
    "kernel": (
        "Each site adds up one function an image, high where the image's patches are in a public "
        "slice of feature space, and adds Gaussian noise to the sum, calibrated to one whole "
        "image; the bank is that function, read from the noisy sums alone."
    ),
    "per-vector": (
        "Each site clips every row of its coreset and adds Gaussian noise to it, calibrated to one "
        "row; the selection of the rows is not protected."
    ),
}
LISTS = (
    ("covered", "Covered by (ε, δ)"),
    ("withheld", "Withheld: stays at the sites"),
    ("not_covered", "Not covered"),
)


def privacy(story: Story) -> Html:
    """What left the sites and what protects it."""
    told = dict(story.privacy or story.header["privacy"])
    mechanism = told.get("mechanism", "off")
    if mechanism == "off":
        risk = (
            "Coresets are shipped without differential privacy: nothing was added to hide a "
            "training image, and feature vectors can tell something of the images they come from. "
            "Whoever holds the bank or a checkpoint of this run holds these vectors; treat both "
            "as confidential."
        )
        return join([element("p", element("b", risk)), element("p", LEFT)])
    if mechanism not in MECHANISMS or not isinstance(told.get("sites"), Mapping):
        rows = [("", [key.replace("_", " "), element("code", v)]) for key, v in told.items()]
        what = table(["what protects the training images", ""], rows, left=2)
        return join([element("p", NEVER if mechanism in MECHANISMS else LEFT), what])
    return join(
        [
            _headline(told),
            element("p", element("b", "Unit of privacy. "), told.get("unit", "")),
            element("p", element("b", "Mechanism. "), MECHANISMS[mechanism], " ", _asked(told)),
            element("p", NEVER),
            element("h3", "Ledgers of the sites"),
            _ledgers(told["sites"]),
            element("p", element("b", "Composition. "), told.get("composition", ""), "."),
            *(_listed(title, told.get(key) or ()) for key, title in LISTS),
        ]
    )


def _headline(told: Mapping[str, Any]) -> Html:
    bound = join(["ε = ", element("b", _epsilon(told.get("epsilon"))), f", δ = {_delta(told)}"])
    if told["mechanism"] != "per-vector":
        words = ", per image: the largest over the sites, whose images are disjoint."
        return element("p", "Differential privacy of the federation: ", bound, words, class_="lead")
    title = element("b", "This is not privacy per image.")
    words = join(
        [
            " The noise hides one row of a coreset, once it was selected, with ε = ",
            f"{_epsilon(told.get('nominal_epsilon'))}. One image decides which rows are selected "
            "and may own many of them. For one image, what holds is ",
            bound,
            " (the largest over the sites, by their ledgers). An ε far above 10 promises next to "
            "nothing: treat the bank as if nothing protected it, or run with dp='moments'.",
        ]
    )
    return element("div", title, words, class_="alert bad")


def _asked(told: Mapping[str, Any]) -> str:
    asked = (
        f"The run asked for ε = {_epsilon(told.get('nominal_epsilon'))}, δ = {_delta(told)}, "
        f"{told.get('adjacency', '')} adjacency"
    )
    clip = told.get("clip")
    return f"{asked}, rows clipped to norm {clip:g}." if clip else f"{asked}."


def _ledgers(sites: Mapping[str, Mapping[str, Any]]) -> Html:
    head = ["site", "ε spent", "left", "budget", "δ", "releases", "this run", "ledger begun"]
    rows = [
        (
            "",
            [
                site,
                _epsilon(note.get("spent")),
                _epsilon(note.get("left"), lost="–"),
                _epsilon(note.get("budget")),
                _delta(note),
                note.get("releases", "–"),
                "re-sent, not charged again" if note.get("again") else "charged",
                str(note.get("begun") or "–")[:16].replace("T", " "),
            ],
        )
        for site, note in sorted(sites.items())
    ]
    content = table(head, rows)
    if len(rows) > MANY_SITES:
        content = folded(f"all {len(rows)} sites", content)
    note = (
        "Spent: by the image used most, over all releases in the site's ledger, this run's "
        "included. A site that is asked again for the same release sends the same noisy figures "
        "again, which costs nothing."
    )
    return join([content, element("p", note, class_="note"), _unprotected(sites)])


def _unprotected(sites: Mapping[str, Mapping[str, Any]]) -> Html:
    bare = {site: note["unprotected"] for site, note in sites.items() if note.get("unprotected")}
    if not bare:
        return Html()
    told = ", ".join(f"{site} ({amount(n, 'time')})" for site, n in sorted(bare.items()))
    words = f"Coresets left these sites without noise in other runs, by their ledgers: {told}."
    return element("div", words, class_="alert")


def _listed(title: str, items: Iterable[object]) -> Html:
    lines = [element("li", item) for item in items]
    return join([element("h3", title), element("ul", *lines)]) if lines else Html()


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
