"""The report's section on one product: who gains, what is found, what it looks like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedpatchcore.metrics.comparison import METHODS, PIXEL_METHODS, shown, used
from fedpatchcore.report.charts import comparison_figure, histogram_figure, roc_figure
from fedpatchcore.report.markup import Html, amount, element, folded, join, percent, table
from fedpatchcore.report.pictures import Picture
from fedpatchcore.report.story import (
    HYBRID,
    MANY_SITES,
    WEAKEST,
    WITHHELD,
    Story,
    figures,
    method_keys,
)

__all__ = ["product_section"]

MOST_COLUMNS = 6  # with more, headings are short, or the table is wider than the page
KIND_TITLES = {
    "best": ("Clearest detections", "the defects with the highest scores"),
    "worst": ("Largest errors", "missed defects and false alarms; if none, the closest calls"),
    "median": ("Typical", "the defect and the good image in the middle of their class"),
}
FURTHER = {
    "average_precision": "average precision",
    "f1_best": "best F1",
    "aupro": "AUPRO",
    "spro_001": "sPRO ≤ .01",
    "spro_005": "sPRO ≤ .05",
    "spro_01": "sPRO ≤ .1",
    "spro_03": "sPRO ≤ .3",
    "spro_1": "sPRO ≤ 1",
}


def product_section(story: Story, product: str) -> Html:
    """Comparison, verdicts, curves, histograms and pictures of one product."""
    results = {
        site: told["products"][product]
        for site, told in sorted((story.last.get("evaluate") or {}).items())
        if product in (told.get("products") or {})
    }
    return join(
        [
            _comparison(story, product),
            _withheld() if story.withholds else _verdicts(results),
            _curves(results),
            _further(results),
            _cases(story, product),
        ]
    )


def _comparison(story: Story, product: str) -> Html:
    rows = [r for r in story.rows if r["product"] == product]
    sites = [r for r in rows if r["kind"] == "site"]
    image = [m for m in METHODS if m == "federated" or story.uses(m)]
    pixel = [m for m in PIXEL_METHODS if used(sites, m)]
    unit = "" if len(image) + len(pixel) > MOST_COLUMNS else " AUROC"
    head = ["site", "good", "defective", *(method_keys(m, f"image{unit}") for m in image)]
    head += [method_keys(m.removesuffix("_pixel"), f"pixel{unit}") for m in pixel]

    def line(row: Mapping[str, Any]) -> tuple[str, list[object]]:
        name = row["site"] if row["kind"] == "site" else _summary_name(row, len(sites))
        cells = figures(row, image) + figures(row, pixel)
        return (
            "" if row["kind"] == "site" else "sum",
            [name, f"{row['good']:,}", f"{row['defective']:,}", *cells],
        )

    summary = [line(r) for r in rows if r["kind"] != "site"]
    chart = element("figure", Html(comparison_figure(sites)))
    if len(sites) > MANY_SITES:
        every = join([table(head, [line(r) for r in sites]), chart])
        weak = sorted(sites, key=lambda r: _rank(r["federated"]))[:WEAKEST]
        told = [
            table(head, [*map(line, weak), *summary]),
            element("p", f"The {WEAKEST} weakest of {len(sites)} sites.", class_="note"),
            folded(f"all {len(sites)} sites", every),
        ]
    else:
        lines = [line(r) for r in sites] + (summary if len(sites) > 1 else [])
        told = [element("div", table(head, lines), chart, class_="side")]
    hybrid = story.uses("hybrid")
    title = "Alone, federated, hybrid, pooled" if hybrid else "Alone, federated, pooled"
    title += "" if unit else ": AUROC by image and by pixel"
    note = element("p", HYBRID, class_="note") if hybrid else Html()
    return join([element("h3", title), *told, note])


def _summary_name(row: Mapping[str, Any], count: int) -> str:
    name = "mean" if row["kind"] == "mean" else "worst"
    return name if row["sites"] == count else f"{name} ({row['sites']} of {count} sites)"


def _withheld() -> Html:
    """In place of verdicts, where training images have a part in them."""
    told = (
        f"Thresholds, verdicts, numbers of held-out images and the figures of the sites' own banks "
        f"are {WITHHELD}: training images have a part in them, and this run is private. Each "
        "site finds them in private.json in its own results folder."
    )
    return join([element("h3", "Verdicts at the threshold"), element("p", told)])


def _verdicts(results: Mapping[str, Mapping[str, Any]]) -> Html:
    rows = [_verdict(site, r) for site, r in results.items()]
    head = [
        "site",
        "defects found",
        "good parts passed",
        "TP",
        "FN",
        "TN",
        "FP",
        "false alarms",
        "promised",
        "threshold",
        "held out",
    ]
    note = element(
        "p",
        "Each threshold was set on normal images that the site held out, never on defects. TP and "
        "FN: defects found and missed; TN and FP: good parts passed and called defective. The "
        "promise holds for normal images taken under the same conditions as the held-out ones.",
        class_="note",
    )
    shown_rows = table(head, rows, left=3)
    if len(rows) > MANY_SITES:
        weak = sorted(results, key=lambda s: -_wrong(results[s]))[:WEAKEST]
        shown_rows = join(
            [
                table(head, [_verdict(s, results[s]) for s in weak], left=3),
                element("p", f"The {WEAKEST} sites with the most errors.", class_="note"),
                folded(f"all {len(rows)} sites", shown_rows),
            ]
        )
    total = _total(results)
    return join([element("h3", "Verdicts at the threshold"), total, shown_rows, note])


def _verdict(site: str, result: Mapping[str, Any]) -> tuple[str, list[object]]:
    threshold = result.get("threshold")
    held = result.get("held_out") or 0
    if threshold is None:
        return "", [site, "–", "–", *(["–"] * 7), held]
    tp, fn, tn, fp = _counts(result)
    alarms = fp / (tn + fp) if tn + fp else None
    promised = result.get("promised_fpr")
    over = alarms is not None and promised is not None and alarms > promised
    told = element("span", percent(alarms), class_="down" if over else "")
    cells = [_bar(tp, fn), _bar(tn, fp), tp, fn, tn, fp]
    return "", [site, *cells, told, percent(promised), f"{threshold:.4g}", held]


def _wrong(result: Mapping[str, Any]) -> float:
    """Share of wrong verdicts."""
    tp, fn, tn, fp = _counts(result)
    return (fn + fp) / max(1, tp + fn + tn + fp)


def _rank(figure: float | None) -> float:
    """Order from the weakest up, undefined figures last."""
    return math.inf if figure is None or not math.isfinite(figure) else figure


def _counts(result: Mapping[str, Any]) -> tuple[int, int, int, int]:
    names = ("true_positives", "false_negatives", "true_negatives", "false_positives")
    tp, fn, tn, fp = (int(result.get(name) or 0) for name in names)
    return tp, fn, tn, fp


def _bar(right: int, wrong: int) -> Html:
    if not right + wrong:
        return Html("–")
    share = 100 * right / (right + wrong)
    halves = "".join(f'<i style="width:{s:.2f}%"></i>' for s in (share, 100 - share))
    bar = element("span", Html(halves), class_="bar")
    return element("span", bar, f"{right} of {right + wrong}", class_="bars")


def _total(results: Mapping[str, Mapping[str, Any]]) -> Html:
    decided = [_counts(r) for r in results.values() if r.get("threshold") is not None]
    tp, fn, tn, fp = (sum(c[at] for c in decided) for at in range(4))
    if not tp + fn + tn + fp:
        return element("p", "No verdicts: no threshold could be set, or no test images are here.")
    parts = []
    if tp + fn:
        parts.append(f"{tp:,} of {amount(tp + fn, 'defect')} found")
    if tn + fp:
        parts.append(f"{fp:,} of {amount(tn + fp, 'good part')} called defective")
    return element("p", f"{', '.join(parts)}, over {amount(len(decided), 'site')}.")


def _curves(results: Mapping[str, Mapping[str, Any]]) -> Html:
    curves = {
        f"{site}  {shown(r.get('image_auroc'))}": r.get("roc") or () for site, r in results.items()
    }
    tested = {s: r for s, r in results.items() if r.get("good") or r.get("defective")}
    if not tested:
        return Html()
    keys = [
        element("span", "good", class_="key good"),
        " ",
        element("span", "defective", class_="key defect"),
    ]
    histograms = element("div", *(_histogram(s, r) for s, r in tested.items()), class_="charts")
    every = Html()
    if len(tested) > MANY_SITES:
        every = folded(f"histograms of all {len(tested)} sites", histograms)
        weak = sorted(tested, key=lambda s: _rank(tested[s].get("image_auroc")))[:4]
        histograms = element("div", *(_histogram(s, tested[s]) for s in weak), class_="charts")
    roc = element(
        "figure", element("figcaption", "ROC of the federated bank"), Html(roc_figure(curves))
    )
    return join(
        [
            element("h3", "Image scores"),
            element(
                "p",
                *keys,
                " – share of each class by score; a good separation leaves the classes on "
                "either side of the threshold.",
                class_="note",
            ),
            element("div", roc, histograms, class_="side"),
            every,
        ]
    )


def _histogram(site: str, result: Mapping[str, Any]) -> Html:
    picture = histogram_figure(
        result.get("histogram_good") or (),
        result.get("histogram_defective") or (),
        result.get("histogram_top") or 0.0,
        result.get("threshold"),
    )
    tested = f" {result.get('good') or 0} good, {result.get('defective') or 0} defective"
    return element("figure", element("figcaption", element("b", site), tested), Html(picture))


def _further(results: Mapping[str, Mapping[str, Any]]) -> Html:
    used = [n for n in FURTHER if any(r.get(n) is not None for r in results.values())]
    if not used:
        return Html()
    rows = [("", [site, *(shown(r.get(n)) for n in used)]) for site, r in results.items()]
    return folded(
        "further metrics of the federated bank", table(["site", *map(FURTHER.get, used)], rows)
    )


def _cases(story: Story, product: str) -> Html:
    if not story.pictures:
        return Html()
    parts = [element("h3", "Pictures")]
    for kind, (name, meaning) in KIND_TITLES.items():
        shown_here, more = story.pictures.of(product, kind)
        drawn = [f for f in map(_figure, shown_here) if f]
        if not drawn:
            continue
        note = f" – {meaning}"
        if more:
            note += f"; {more} more in the folder heatmaps beside this page"
        parts.append(element("p", element("b", name), note))
        parts.append(element("div", *drawn, class_="cases"))
    if len(parts) == 1:
        parts.append(element("p", "None of this product.", class_="note"))
    return join(parts)


def _figure(picture: Picture) -> Html:
    try:
        source, wide = picture.data_uri()
    except OSError:
        return Html()
    image = Html(f'<img alt="heatmap" src="{source}">')
    caption = element("figcaption", element("b", picture.site), f" · {picture.image}")
    return element("figure", image, caption, class_="wide" if wide else "")
