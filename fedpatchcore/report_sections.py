"""The report's sections on the run as a whole: headline, coverage, bank, traffic, settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpatchcore.charts import coverage_figure
from fedpatchcore.comparison import METHODS, best, shown
from fedpatchcore.config import RunConfig
from fedpatchcore.markup import Html, amount, element, folded, join, seconds, size, table
from fedpatchcore.report_pictures import Pictures

__all__ = ["Story", "bank", "configuration", "coverage", "headline", "privacy", "summary"]

MANY_SITES = 12  # above this, sites are listed behind a line that opens them
NAMES = {"local": "local only", "federated": "federated", "pooled": "pooled"}
KINDS = {"full": "whole coreset", "delta": "what was new", "none": "nothing new"}


@dataclass(frozen=True)
class Story:
    """What the report tells.

    Attributes:
        header: of the bank, see `MemoryBank.header`.
        last: record of the round whose figures are shown.
        rows: of `comparison_rows`.
    """

    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    header: Mapping[str, Any]
    last: Mapping[str, Any]
    rows: list[dict[str, Any]]
    pictures: Pictures

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """One record a round."""
        return list(self.metrics.get("rounds") or [])

    def products(self) -> list[str]:
        """Products that some site evaluated."""
        return sorted({row["product"] for row in self.rows})

    def uses(self, method: str) -> bool:
        """Whether any site has a figure of this method."""
        return any(math.isfinite(r[method]) for r in self.rows if r["kind"] == "site")

    def summaries(self, kind: str) -> list[dict[str, Any]]:
        """The "mean" or "worst" row of each product."""
        return [r for r in self.rows if r["kind"] == kind]


def method_keys(method: str, what: str = "") -> Html:
    """A method's name with the sign it has in the charts."""
    name = element("span", NAMES[method], class_=f"key {method}")
    return join([Html(f"{what}<br>"), name]) if what else name


# -- headline -----------------------------------------------------------------------


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
            _alerts(story),
            _tiles(story),
        ]
    )


def _alerts(story: Story) -> Html:
    bad, mild = [], []
    several = len(story.rounds) > 1
    for record in story.rounds:
        when = f"Round {record.get('round')}: " if several else ""
        for site, reason in sorted((record.get("rejected") or {}).items()):
            bad.append(_told(when, site, "was refused", reason))
        for site, reason in sorted((record.get("lost") or {}).items()):
            bad.append(_told(when, site, "was lost", reason))
        for site in record.get("absent") or []:
            mild.append(_told(when, site, "was absent", "its last contribution stays in the bank"))
        for note in record.get("notes") or []:
            bad.append(join([when, note]))
        for site, told in sorted((record.get("evaluate") or {}).items()):
            mild += [join([when, element("b", site), ": ", n]) for n in told.get("notes") or []]
        for name, facts in sorted((record.get("sections") or {}).items()):
            mild += _rows_told(when, name, facts)
    return join(
        element("div", element("b", title), element("ul", *map(_item, items)), class_=look)
        for title, items, look in (
            ("Not everything went well", bad, "alert bad"),
            ("Worth knowing", mild, "alert"),
        )
        if items
    )


def _rows_told(when: str, name: str, facts: Mapping[str, Any]) -> list[Html]:
    told = []
    if rows := facts.get("rejected_rows"):
        told.append(f"{amount(rows, 'row')} rejected by the aggregation")
    if rows := facts.get("flagged"):
        told.append(f"{amount(rows, 'row')} rest on fewer sites than the aggregation asks for")
    return [join([when, "section ", element("b", name), ": ", text]) for text in told]


def _told(when: str, site: str, what: str, reason: str) -> Html:
    return join([when, "site ", element("b", site), f" {what}: ", reason])


def _item(content: Html) -> Html:
    return element("li", content)


def _tiles(story: Story) -> Html:
    up = sum(t.get("bytes") or 0 for r in story.rounds for t in (r.get("train") or {}).values())
    evaluated = len(story.last.get("evaluate") or {})
    means = {m: _mean([r[m] for r in story.summaries("mean")]) for m in METHODS}
    worst = [r["federated"] for r in story.rows if r["kind"] == "site"]
    worst = [v for v in worst if math.isfinite(v)]
    others = [f"{NAMES[m]} {shown(means[m])}" for m in ("local", "pooled") if story.uses(m)]
    features = sum(s["rows"] for s in story.header["sections"])
    nbytes = features * story.header["fingerprint"]["dimension"] * 4
    tiles = [
        (shown(means["federated"]), "mean image AUROC, federated", " · ".join(others), "main"),
        (shown(min(worst) if worst else None), "worst site and product, federated", "", ""),
        (f"{evaluated}", "sites evaluated", amount(len(story.products()), "product"), ""),
        (f"{features:,}", "rows in the bank", size(nbytes), ""),
        (size(up), "sent by all sites", "feature vectors, no images", ""),
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
    for what in ("mean image AUROC", "worst image AUROC"):
        head += [method_keys(m, what) for m in used]
    rows = []
    for mean, worst in zip(story.summaries("mean"), story.summaries("worst"), strict=True):
        cells = [mean["product"], mean["sites"]]
        for row in (mean, worst):
            tops = best(row, used)
            cells += [
                element("span", shown(row[m]), class_="top" if m in tops else "") for m in used
            ]
        rows.append(("", cells))
    overall = {m: _mean([r[m] for r in story.summaries("mean")]) for m in used}
    tops = best(overall, used)
    rows.append(
        (
            "sum",
            [
                "mean of the products",
                "",
                *(
                    element("span", shown(overall[m]), class_="top" if m in tops else "")
                    for m in used
                ),
                *([""] * len(used)),
            ],
        )
    )
    meaning = (
        "Local only: each site with a bank of its own images. Federated: the bank all sites made "
        "together."
        + (" Pooled: one bank from all images in one place." if "pooled" in used else "")
        + " The dot marks the best of a row."
    )
    return element(
        "section",
        element("h2", "At a glance"),
        element("p", meaning, class_="note"),
        table(head, rows),
    )


# -- coverage, bank -----------------------------------------------------------------


def coverage(story: Story) -> Html:
    """Whose bank rows are nearest to whose normal patches."""
    columns = story.header["sites"]
    totals: dict[str, np.ndarray] = {}
    for site, told in sorted((story.last.get("evaluate") or {}).items()):
        for result in (told.get("products") or {}).values():
            counts = result.get("coverage") or ()
            if len(counts) == len(columns):
                before = totals.get(site, np.zeros(len(columns)))
                totals[site] = before + np.asarray(counts, dtype=np.float64)
    note = (
        "Row: whose normal images. Column: whose bank rows are nearest to their patches. A site "
        "that is explained mostly by others gains from the federation; one explained by itself "
        "alone sees conditions nobody else has."
    )
    if not totals:
        return element("p", "No site has reported which bank rows explain its images.")
    matrix = np.array([_shares(counts) for counts in totals.values()])
    figure = element("figure", Html(coverage_figure(matrix, list(totals), columns)))
    return join([element("p", note, class_="note"), element("div", figure, class_="scroll")])


def _shares(counts: np.ndarray) -> np.ndarray:
    total = counts.sum()
    return counts / total if total else np.full(len(counts), math.nan)


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
                    f"{sum(part['images'].values()):,}",
                    f"{part['radius']:.4g}",
                    len(part["rows_by_site"]),
                    f"{part['flagged']:,}",
                ],
            )
        )
    head = ["section", "rows", "offered", "training images", "radius", "sites", "flagged"]
    print_ = story.header["fingerprint"]
    scoring = story.header["scoring"]
    facts = (
        f"Features: {print_['architecture']}, layers {', '.join(print_['layers']) or '–'}, "
        f"{print_['dimension']} numbers a patch, {print_['image_size']} px ({print_['geometry']}), "
        f"weights {print_['weights_sha256'][:12]}…  Scoring: {amount(scoring['neighbours'], 'neighbour')}"
        + (f", re-weighted over {scoring['reweight']}" if scoring.get("reweight") else "")
        + f". Bank of round {story.header['round']}."
    )
    note = (
        "Radius: every coreset row a site offered lies within this distance of a row of the bank; "
        "a radius near 0 means that next to nothing was left out."
    )
    return join(
        [
            element("p", facts),
            table(head, rows),
            element("p", note, class_="note"),
            _by_site(story),
            _thresholds(story),
        ]
    )


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
    ]
    parts = []
    for record in story.rounds:
        train, told = record.get("train") or {}, record.get("evaluate") or {}
        rows = [_trip(s, train.get(s) or {}, told.get(s) or {}) for s in sorted({*train, *told})]
        up = sum(t.get("bytes") or 0 for t in train.values())
        down = record.get("bytes_down")
        line = f"{amount(len(train), 'site')} sent {size(up)}"
        if down:
            line += f"; the bank that went to each site is {size(down)}"
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


def _trip(site: str, train: Mapping[str, Any], told: Mapping[str, Any]) -> tuple[str, list[object]]:
    stats = train.get("sections") or []

    def total(key: str) -> int:
        return sum(s.get(key) or 0 for s in stats)

    return "", [
        site,
        KINDS.get(train.get("kind"), "–"),
        f"{total('images'):,}",
        f"{total('cached'):,}",
        f"{total('bad'):,}",
        f"{total('rows'):,}",
        size(train.get("bytes") or 0),
        seconds(train.get("extract_seconds")),
        seconds(train.get("select_seconds")),
        seconds(train.get("round_trip_seconds") or None),
        seconds(told.get("seconds")),
    ]


# -- privacy, settings --------------------------------------------------------------


def privacy(story: Story) -> Html:
    """What left the sites and what protects it."""
    told = dict(story.header["privacy"])
    left = (
        "Images, masks, file names and single scores never left the sites. What left them: the "
        "coresets (feature vectors of patches of normal images), counts, ROC curves, score "
        "histograms and thresholds."
    )
    if told.get("mechanism", "off") == "off":
        risk = (
            "Coresets are shipped without differential privacy: nothing was added to hide a "
            "training image, and feature vectors can tell something of the images they come from. "
            "Whoever holds the bank or a checkpoint of this run holds these vectors; treat both "
            "as confidential."
        )
        return join([element("p", element("b", risk)), element("p", left)])
    rows = [("", [key.replace("_", " "), element("code", value)]) for key, value in told.items()]
    return join(
        [element("p", left), table(["what protects the training images", ""], rows, left=2)]
    )


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
