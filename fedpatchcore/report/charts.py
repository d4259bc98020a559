"""Charts as SVG text, to stand inside an HTML page.

Colours are CSS variables with a fallback, so that a page can restyle them for dark or paper;
text takes the page's colour. Names from outside are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from fedpatchcore.metrics.comparison import METHODS, NAMES, used
from fedpatchcore.report.svg import FAINT, GRID, empty, polyline, short, svg, text, ticks

__all__ = ["comparison_figure", "coverage_figure", "histogram_figure", "roc_figure"]

LOCAL = "var(--local, #7b8794)"
FEDERATED = "var(--federated, #1f6feb)"
HYBRID = "var(--hybrid, #8e4ec6)"
POOLED = "var(--pooled, #b7791f)"
GOOD = "var(--good, #2f7fb8)"
DEFECT = "var(--defect, #d9622b)"
SERIES = tuple(
    f"var(--series-{at}, {shade})"
    for at, shade in enumerate(
        ("#1f6feb", "#d9622b", "#1a7f64", "#8e4ec6", "#b7791f", "#c2255c", "#0b7285", "#5c6b7a")
    )
)


def roc_figure(curves: Mapping[str, Sequence[float | None]]) -> str:
    """ROC curves → SVG text.

    Args:
        curves: name → true-positive rates at evenly spaced false-positive rates 0 … 1. Curves
            with NaN or None are left out. More than eight are drawn as one faint bundle with
            their mean.
    """
    defined = {n: c for n, c in ((n, _floats(c)) for n, c in curves.items()) if _all_finite(c)}
    if not defined:
        return empty("no ROC curve: no test set with both good and defective images")
    side, left, top = 230, 40, 10
    few = len(defined) <= len(SERIES)
    legend = (len(defined) if few else 2) * 17 + 8

    def path(rates: np.ndarray) -> str:
        xs = left + np.linspace(0, side, len(rates))
        return polyline(xs, top + side * (1 - np.clip(rates, 0, 1)))

    parts = [_axes(left, top, side)]
    parts.append(
        f'<path d="M{left} {top + side}L{left + side} {top}" stroke="{FAINT}" '
        'stroke-dasharray="3 4" stroke-opacity="0.6"/>'
    )
    entries: list[tuple[str, float, str]] = []
    for at, (name, rates) in enumerate(defined.items()):
        shade, look = (SERIES[at], 'stroke-width="2"') if few else (FEDERATED, 'opacity="0.28"')
        tip = f"<title>{escape(name)}</title>"
        parts.append(f'<path d="{path(rates)}" stroke="{shade}" fill="none" {look}>{tip}</path>')
        entries.append((shade, 1, short(name, 34)))
    if not few:
        mean = np.mean([_resampled(c) for c in defined.values()], axis=0)
        parts.append(
            f'<path d="{path(mean)}" stroke="{FEDERATED}" stroke-width="2.6" fill="none"/>'
        )
        entries = [
            (FEDERATED, 1, "mean of the sites"),
            (FEDERATED, 0.35, f"{len(defined)} sites"),
        ]
    y = top + side + 48
    for shade, opacity, words in entries:
        parts.append(
            f'<rect x="{left}" y="{y - 8}" width="14" height="4" rx="2" fill="{shade}" '
            f'opacity="{opacity}"/>'
        )
        parts.append(text(left + 20, y - 2, words))
        y += 17
    return svg(left + side + 14, top + side + 36 + legend, parts, "ROC curves")


def _axes(left: float, top: float, side: float) -> str:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + share * side, top + (1 - share) * side
        parts.append(
            f'<path d="M{x} {top}V{top + side}M{left} {y}H{left + side}" stroke="{GRID}"/>'
        )
        parts.append(text(x, top + side + 14, f"{share:g}", anchor="middle", faint=True))
        parts.append(text(left - 6, y + 4, f"{share:g}", anchor="end", faint=True))
    parts.append(
        text(left + side / 2, top + side + 30, "false-positive rate", anchor="middle", faint=True)
    )
    parts.append(
        f'<text x="10" y="{top + side / 2}" font-size="11" fill="{FAINT}" text-anchor="middle" '
        f'transform="rotate(-90 10 {top + side / 2})">true-positive rate</text>'
    )
    return "".join(parts)


def histogram_figure(
    good: Sequence[int], defective: Sequence[int], top: float, threshold: float | None
) -> str:
    """Scores of good and of defective test images → SVG text.

    Args:
        good, defective: counts in equal bins from 0 to ``top``. Each class is scaled to its own
            share of images, so that a small class is not hidden by a large one.
        threshold: marked if finite.
    """
    counts = [np.asarray(c, dtype=np.float64) for c in (good, defective)]
    total = sum(float(c.sum()) for c in counts)
    if not total or not top or not math.isfinite(top):
        return empty("no test images")
    left, width, height, roof = 8, 300, 92, 18
    shares = [c / c.sum() if c.sum() else c for c in counts]
    peak = max(float(s.max(initial=0)) for s in shares)
    first = min(int(np.flatnonzero(s)[0]) for s in shares if s.any())
    begin = max(0.0, (first - 2) / len(counts[0]))  # the empty bins near 0 say nothing
    limit = threshold if _finite(threshold) else None
    if limit is not None:
        begin = min(begin, max(0.0, limit / top - 0.05))
    end = max(1.0, limit / top * 1.04) if limit is not None else 1.0

    def place(share: float) -> float:
        return left + (share - begin) / (end - begin) * width

    parts = []
    for share, shade, name, number in zip(
        shares, (GOOD, DEFECT), ("good", "defective"), counts, strict=True
    ):
        bins, outline = len(share), []
        for at, value in enumerate(share):
            if value and at >= int(begin * bins):
                x, wide = place(at / bins), width / bins / (end - begin)
                tall = value / peak * height
                outline.append(f"M{x:.1f} {roof + height}v{-tall:.1f}h{wide:.1f}v{tall:.1f}z")
        parts.append(
            f'<path d="{"".join(outline)}" fill="{shade}" fill-opacity="0.55" stroke="{shade}" '
            f'stroke-width="0.8"><title>{name}: {int(number.sum())} images</title></path>'
        )
    floor = roof + height
    parts.append(f'<path d="M{left} {floor}H{left + width}" stroke="{FAINT}"/>')
    for tick in ticks(begin * top, end * top, 5):
        x = place(tick / top)
        parts.append(f'<path d="M{x:.1f} {floor}v4" stroke="{FAINT}"/>')
        parts.append(text(x, floor + 16, f"{tick:g}", anchor="middle", faint=True))
    if limit is not None:
        x = place(limit / top)
        parts.append(
            f'<path d="M{x:.1f} {roof - 4}V{floor}" stroke="currentColor" stroke-width="1.5" '
            'stroke-dasharray="4 3"/>'
        )
        anchor = "end" if x > left + width * 0.6 else "start"
        shift = -5 if anchor == "end" else 5
        parts.append(text(x + shift, roof - 6, f"threshold {limit:.3g}", anchor=anchor))
    return svg(left * 2 + width, floor + 22, parts, "score histogram")


def coverage_figure(
    matrix: np.ndarray, sites: Sequence[str], bank_sites: Sequence[str] | None = None
) -> str:
    """Whose bank rows explain whose images → SVG text.

    Args:
        matrix: float ``[sites, bank sites]``, shares in [0, 1]; a row of NaN is left blank.
            Up to 12 sites are shown with their figures; of more, the largest share has the full
            colour and the figures appear on hovering.
        sites: names of the rows (whose images).
        bank_sites: names of the columns (whose bank rows); as ``sites`` if None.
    """
    columns = list(sites if bank_sites is None else bank_sites)
    shares = np.asarray(matrix, dtype=np.float64).reshape(len(sites), len(columns))
    if not shares.size or not np.isfinite(shares).any():
        return empty("no single site can be named: the rows of this bank are merged from several")
    wide = max(len(sites), len(columns)) <= 12
    cell_x, cell_y = (62, 32) if wide else (15, 15)
    longest = max(len(short(n, 20)) for n in sites)
    left = 14 + longest * 6.4
    tilt = not wide
    roof = 34 if wide else 24 + max(len(short(n, 20)) for n in columns) * 5.6
    full = 1.0 if wide else float(np.nanmax(shares)) or 1.0
    parts = []
    for at, name in enumerate(columns):
        x = left + (at + 0.5) * cell_x
        if tilt:
            parts.append(
                f'<text x="{x + 4}" y="{roof - 5}" font-size="10" fill="{FAINT}" '
                f'transform="rotate(-90 {x + 4} {roof - 5})">{escape(short(name, 20))}</text>'
            )
        else:
            parts.append(text(x, roof - 8, short(name, 10), anchor="middle", tip=name))
    for row, name in enumerate(sites):
        y = roof + row * cell_y
        parts.append(text(left - 8, y + cell_y / 2 + 4, short(name, 20), anchor="end", tip=name))
        for at, share in enumerate(shares[row]):
            if not math.isfinite(share):
                continue
            x = left + at * cell_x
            tip = f"images of {name}: {share:.0%} nearest to rows of {columns[at]}"
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{cell_x - 2}" height="{cell_y - 2}" rx="3" '
                f'fill="{FEDERATED}" fill-opacity="{0.05 + 0.95 * share / full:.3f}">'
                f"<title>{escape(tip)}</title></rect>"
            )
            if wide:
                ink = "#fff" if share > 0.7 else "currentColor"
                parts.append(
                    f'<text x="{x + cell_x / 2 - 1:.1f}" y="{y + 20}" font-size="12" fill="{ink}" '
                    f'text-anchor="middle">{share:.0%}</text>'
                )
    width, height = left + len(columns) * cell_x + 8, roof + len(sites) * cell_y + 6
    if not wide:
        height += 18
        parts.append(text(left, height - 6, f"full colour: {full:.0%}", faint=True))
    return svg(width, height, parts, "coverage of sites by bank rows")


def comparison_figure(rows: Sequence[Mapping[str, object]]) -> str:
    """Local-only, federated, hybrid and pooled, one line a site → SVG text.

    Args:
        rows: each with ``site`` and, by name of `METHODS`, figures in [0, 1]; NaN where undefined.
    """
    values = [{n: float(row.get(n, math.nan)) for n in METHODS} for row in rows]  # type: ignore[arg-type]
    finite = [v for line in values for v in line.values() if math.isfinite(v)]
    if not finite:
        return empty("no AUROC: no test set with both good and defective images")
    low = min(0.95, math.floor(min(finite) * 20 - 0.2) / 20)
    step = 26 if len(rows) <= 15 else 14
    left = 16 + max(len(short(str(r["site"]), 22)) for r in rows) * 6.6
    width, roof = 300, 8
    floor = roof + len(rows) * step

    def place(value: float) -> float:
        return left + (value - low) / (1 - low) * width

    parts = []
    for tick in ticks(low, 1, 6):
        x = place(tick)
        parts.append(f'<path d="M{x:.1f} {roof}V{floor}" stroke="{GRID}"/>')
        parts.append(text(x, floor + 15, f"{tick:g}", anchor="middle", faint=True))
    for at, (row, line) in enumerate(zip(rows, values, strict=True)):
        y = roof + (at + 0.5) * step
        site = str(row["site"])
        parts.append(text(left - 10, y + 4, short(site, 22), anchor="end", tip=site))
        local, federated = line["local"], line["federated"]
        if math.isfinite(local) and math.isfinite(federated):
            parts.append(
                f'<path d="M{place(local):.1f} {y}H{place(federated):.1f}" stroke="{FEDERATED}" '
                'stroke-width="2" stroke-opacity="0.45"/>'
            )
        for name in ("pooled", "hybrid", "local", "federated"):  # the last lies on top
            if math.isfinite(line[name]):
                parts.append(_mark(name, place(line[name]), y, f"{site}: {line[name]:.3f}"))
    x = left
    for name in METHODS:
        if used(values, name):
            parts.append(_mark(name, x + 6, floor + 33))
            parts.append(text(x + 16, floor + 37, NAMES[name]))
            x += 30 + 6 * len(NAMES[name])
    return svg(left + width + 14, floor + 44, parts, "AUROC by site")


# -- parts --------------------------------------------------------------------------


def _mark(name: str, x: float, y: float, tip: str = "") -> str:
    """A method's sign at (x, y): ring, dot, triangle or diamond."""
    shape = {
        "local": f'circle cx="{x:.1f}" cy="{y}" r="4.4" fill="var(--paper, #fff)" '
        f'stroke="{LOCAL}" stroke-width="2.2"',
        "federated": f'circle cx="{x:.1f}" cy="{y}" r="5" fill="{FEDERATED}"',
        "hybrid": f'path d="M{x:.1f} {y - 6}l6 10.5h-12z" fill="{HYBRID}"',
        "pooled": f'path d="M{x:.1f} {y - 6}l6 6l-6 6l-6 -6z" fill="{POOLED}"',
    }[name]
    title = f"{NAMES[name]}, {tip}" if tip else NAMES[name]
    return f"<{shape}><title>{escape(title)}</title></{shape.split()[0]}>"


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64)


def _all_finite(values: np.ndarray) -> bool:
    return bool(values.size) and bool(np.isfinite(values).all())


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _resampled(rates: np.ndarray, points: int = 101) -> np.ndarray:
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(rates)), rates)
