"""Each site alone, federated, hybrid, and (in simulation) all images in one place: the figures.

Hybrid is the smaller of the distances to the site's own bank and to the global bank. Plain
numbers without any layout; the report and the command line both print them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from fedpatchcore.metrics.compared import Judged, judged_by, together
from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.metrics.verdicts import verdict

__all__ = [
    "EQUAL",
    "METHODS",
    "NAMES",
    "PIXEL_METHODS",
    "SHARED",
    "best",
    "comparison_rows",
    "last_evaluated",
    "shown",
    "used",
    "weakest",
]

NAMES = {"local": "local only", "federated": "federated", "hybrid": "hybrid", "pooled": "pooled"}
METHODS = tuple(NAMES)
PIXEL_METHODS = tuple(f"{name}_pixel" for name in METHODS)
EQUAL = {"local_equal": "local, equal size", "pooled_equal": "pooled, equal size"}
NAN = math.nan
SHARED = "shared"  # the section of a bank that judges all products


def comparison_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content of ``metrics.json`` → rows of a table, by product and site.

    Figures are those of the last round that was evaluated.

    Returns:
        One dict a row: ``product``, ``site``, ``kind``, ``good`` and ``defective`` (test
        images), ``sites`` (how many the row rests on), image AUROCs ``local``, ``federated``,
        ``hybrid``, ``pooled`` and pixel AUROCs ``local_pixel``, ``federated_pixel``,
        ``hybrid_pixel``, ``pooled_pixel``; NaN where undefined. After the sites of a product
        (``kind`` "site") follows its row of ``kind`` "mean", taken column by column over the same
        sites for every column: those where all columns in use are defined. Image and pixel
        columns are treated apart; ``sites`` counts those of the image columns.

        ``local_rows``, ``federated_rows`` and ``pooled_rows`` say how large the banks are that
        were compared; 0 where not told. `EQUAL` columns are image AUROCs of banks that are
        larger than the federated one, cut to its size; NaN where they are not larger.

        ``found`` of the defects and ``stopped`` of the good parts are ``[count, of]`` by the
        site's threshold, ``planted`` the same of planted defects, ``promised`` is ``[share, low,
        high]``; None where there is no threshold, or where sites keep these (``withheld``). The
        row of means has the sums over all sites that have one.

        ``compared`` of the row of means holds the same three by bank ("local", "federated",
        "pooled" and "pooled_equal", the pooled one cut to the federated one's size), each bank
        at a threshold of its own: sums over the sites that all of them have judged; empty where
        fewer than two banks have. That of a site's row holds what each bank decided there.

        Where figures were added up under masks (`fedpatchcore.metrics.totals`) a product has its
        row of ``kind`` "mean" alone: sums of counts, and each column's mean over the sites that
        have it.
    """
    record = last_evaluated(metrics) or {}
    if totals := (record.get("figures") or {}).get("products"):
        return [_of_totals(product, told, record) for product, told in sorted(totals.items())]
    pooled = metrics.get("pooled") or {}
    by_product: dict[str, list[dict[str, Any]]] = {}
    judged: dict[str, list[dict[str, Judged]]] = {}
    for site, told in sorted((record.get("evaluate") or {}).items()):
        for product, result in (told.get("products") or {}).items():
            central = (pooled.get(site) or {}).get(product) or {}
            by_bank = judged_by(result, central)
            judged.setdefault(product, []).append(by_bank)
            by_product.setdefault(product, []).append(
                {
                    "product": product,
                    "site": site,
                    "kind": "site",
                    "good": result.get("good") or 0,
                    "defective": result.get("defective") or 0,
                    "sites": 1,
                    "local": _number(result.get("local_image_auroc")),
                    "federated": _number(result.get("image_auroc")),
                    "hybrid": _number(result.get("hybrid_image_auroc")),
                    "pooled": _number(central.get("image_auroc")),
                    "local_pixel": _number(result.get("local_pixel_auroc")),
                    "federated_pixel": _number(result.get("pixel_auroc")),
                    "hybrid_pixel": _number(result.get("hybrid_pixel_auroc")),
                    "pooled_pixel": _number(central.get("pixel_auroc")),
                    "local_equal": _number(result.get("local_equal_image_auroc")),
                    "pooled_equal": _number(central.get("equal_image_auroc")),
                    "local_rows": result.get("local_rows") or 0,
                    "federated_rows": _rows_of(record, product),
                    "pooled_rows": int(central.get("rows") or 0),
                    "compared": {bank: one.brief() for bank, one in by_bank.items()},
                    **_verdict(result),
                }
            )
    rows = []
    for product, own in sorted(by_product.items()):
        every = {bank: one.brief() for bank, one in together(judged[product]).items()}
        rows += [*own, _means(own) | {"compared": every}]
    return rows


def _of_totals(product: str, told: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    means = {name: one["mean"] for name, one in (told.get("means") or {}).items()}
    columns = {"local": "local_", "federated": "", "hybrid": "hybrid_", "pooled": "pooled_"}
    planted = [sum(told.get(f"planted_{name}") or ()) for name in ("found", "of")]
    rates = {
        name: [told[key]["count"], told[key]["of"]] if told.get("decided") else None
        for name, key in (("found", "defects_found"), ("stopped", "good_stopped"))
    }
    return {
        "product": product,
        "site": "mean",
        "kind": "mean",
        "good": told.get("good") or 0,
        "defective": told.get("defective") or 0,
        "sites": ((told.get("means") or {}).get("image_auroc") or {}).get("sites", 0),
        **{name: _number(means.get(f"{key}image_auroc")) for name, key in columns.items()},
        **{f"{name}_pixel": _number(means.get(f"{k}pixel_auroc")) for name, k in columns.items()},
        **dict.fromkeys(EQUAL, NAN),
        "local_rows": 0,
        "federated_rows": _rows_of(record, product),
        "pooled_rows": 0,
        "compared": {},
        **rates,
        "planted": planted if planted[1] else None,
        "promised": None,
        "withheld": not told.get("decided"),
    }


def _verdict(result: Mapping[str, Any]) -> dict[str, Any]:
    found, promise = verdict(result), Promise.of_result(result)
    return {
        "found": found and [found.found.count, found.found.of],
        "stopped": found and [found.stopped.count, found.stopped.of],
        "planted": _planted(result),
        "promised": promise and [promise.promised, promise.low, promise.high],
        "withheld": result.get("calibrated", 0) is None,
    }


def _planted(result: Mapping[str, Any]) -> list[int] | None:
    """Planted defects found, and of how many; None where none was planted."""
    counts = [sum(result.get(f"planted_{name}") or ()) for name in ("found", "of")]
    return counts if counts[1] else None


def _rows_of(record: Mapping[str, Any], product: str) -> int:
    """Rows of the bank's section that judges a product; 0 where the round made none."""
    sections = record.get("sections") or {}
    return int((sections.get(product) or sections.get(SHARED) or {}).get("rows") or 0)


def _means(own: list[dict[str, Any]]) -> dict[str, Any]:
    row = {
        "product": own[0]["product"],
        "site": "mean",
        "kind": "mean",
        "good": sum(r["good"] for r in own),
        "defective": sum(r["defective"] for r in own),
        "sites": len(_common(own, METHODS)),
    }
    for names in (METHODS, PIXEL_METHODS):
        common = _common(own, names)
        for name in names:
            values = [r[name] for r in common if math.isfinite(r[name])]
            row[name] = _mean(values) if values else NAN
    for name in EQUAL:
        values = [_at_equal_size(r, name) for r in _common(own, METHODS)]
        row[name] = _mean(values) if used(own, name) and all(map(math.isfinite, values)) else NAN
    for name in ("found", "stopped", "planted"):
        counts = [Rate(*r[name]) for r in own if r[name]]
        rate = sum(counts, Rate(0, 0))
        row[name] = [rate.count, rate.of] if counts else None
    row["promised"] = None
    row["withheld"] = all(r["withheld"] for r in own)
    for name in METHODS:
        sizes = {r.get(f"{name}_rows", 0) for r in own}
        row[f"{name}_rows"] = sizes.pop() if len(sizes) == 1 else 0
    return row


def _at_equal_size(row: Mapping[str, Any], name: str) -> float:
    """A site's figure in a column of `EQUAL`; its plain one where its bank is as large anyway."""
    if math.isfinite(row[name]):
        return row[name]
    method = name.removesuffix("_equal")
    return row[method] if row[f"{method}_rows"] == row["federated_rows"] else NAN


def weakest(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The site's row with the lowest federated image AUROC; None if there is none."""
    sites = [r for r in rows if r["kind"] == "site" and math.isfinite(r["federated"])]
    return min(sites, key=lambda r: (r["federated"], r["product"], r["site"]), default=None)


def _common(own: list[dict[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Rows in which every column that is in use at all is defined."""
    columns = [name for name in names if used(own, name)]
    return [r for r in own if columns and all(math.isfinite(r[name]) for name in columns)]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def last_evaluated(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the last round in which any site was evaluated, else of the last round."""
    rounds = metrics.get("rounds") or []
    for record in reversed(rounds):
        if record.get("evaluate"):
            return record
    return rounds[-1] if rounds else None


def used(rows: Iterable[Mapping[str, Any]], name: str) -> bool:
    """Whether any row has a figure in this column."""
    return any(math.isfinite(_number(row.get(name))) for row in rows)


def best(row: Mapping[str, Any], names: Iterable[str] = METHODS) -> set[str]:
    """Which columns hold the row's largest figure as printed; none if fewer than two exist."""
    figures = {n: round(row[n], 3) for n in names if used([row], n)}
    if len(figures) < 2:
        return set()
    return {n for n, v in figures.items() if v == max(figures.values())}


def shown(value: float | None, digits: int = 3) -> str:
    """A figure as printed; "–" where undefined."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else NAN
