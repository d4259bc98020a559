"""Whether one product's figures are such as an evaluation gives: each alone, and to each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from itertools import pairwise

from fedpatchcore.planted.cells import CELLS
from fedpatchcore.texts import is_name, one_line
from fedpatchcore.wire.bounds import (
    IMAGES,
    KINDS,
    LONGEST,
    MOST,
    PLANTED,
    is_count,
    is_figure,
    is_share,
)
from fedpatchcore.wire.messages import BINS, ROC_POINTS, ProductResult

__all__ = ["check_result"]

WIDTHS = {"roc": ROC_POINTS, "histogram_good": BINS, "histogram_defective": BINS}
WIDTHS |= {"planted_found": len(CELLS), "planted_of": len(CELLS)}
SCORES = ("threshold", "vote_threshold", "hybrid_threshold", "local_threshold", "histogram_top")
OF_BOTH = (  # undefined unless both good and defective images were tested
    "image_auroc",
    "local_image_auroc",
    "local_equal_image_auroc",
    "hybrid_image_auroc",
)


def check_result(result: ProductResult) -> None:
    """Raise ValueError for figures that no evaluation can give: this came over the wire."""
    if not is_name(result.product):
        raise ValueError(f"a product called {one_line(repr(result.product), 60)}")
    where = f"of product '{result.product}'"
    for name, width in WIDTHS.items():
        if len(value := getattr(result, name)) != width:
            raise ValueError(f"'{name}' holds {len(value)} values, expected {width}")
    for name, fits in _single(result):
        if not fits:
            told = one_line(repr(getattr(result, name)), 60)
            raise ValueError(f"'{name}' {where} is {told}, which no evaluation gives")
    if result.calibrated and not _rests(result):
        raise ValueError(f"the threshold {where} rests on impossible figures")
    if not result.calibrated and not _undecided(result):
        raise ValueError(f"a threshold {where} rests on no images")
    for name, fits in _together(result):
        if not fits:
            raise ValueError(f"'{name}' {where} does not agree with its other figures")
    _check_kinds(result, where)


def _single(result: ProductResult) -> Iterable[tuple[str, bool]]:
    """Each figure but the kinds, and whether it can be one."""
    for item in fields(result):
        value, name, kind = getattr(result, item.name), item.name, str(item.type)
        if name in ("product", "kinds"):
            continue
        values = value if kind.startswith("tuple") else (value,)
        if "int" in kind:
            most = IMAGES if kind == "int" and name != "local_rows" else MOST
            fits = all(is_count(one, most) for one in values)
        else:
            known = is_figure if name in SCORES else is_share
            fits = all(known(one) or _undefined(one) for one in values)
        yield name, fits


def _undefined(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _rests(result: ProductResult) -> bool:
    """Whether there is a threshold, by images that there are, with shares in their order."""
    return (
        1 <= result.groups <= result.calibrated
        and math.isfinite(result.threshold)
        and 0 <= result.fpr_low <= result.fpr_high <= 1
        and 0 <= result.promised_fpr <= 1
    )


def _undecided(result: ProductResult) -> bool:
    """Whether nothing is told that takes a threshold."""
    thresholds = (getattr(result, name) for name in SCORES if name != "histogram_top")
    counts = (result.groups, result.folds, result.local_true_positives)
    return all(map(math.isnan, thresholds)) and not any(counts + (result.local_false_positives,))


def _together(result: ProductResult) -> Iterable[tuple[str, bool]]:
    """Figures that others decide, and whether they agree."""
    decided = math.isfinite(result.threshold)
    good, defective = (result.good, result.defective) if decided else (0, 0)
    yield "true_positives", result.true_positives + result.false_negatives == defective
    yield "false_positives", result.false_positives + result.true_negatives == good
    own = math.isfinite(result.local_threshold)
    yield "local_true_positives", result.local_true_positives <= (result.defective if own else 0)
    yield "local_false_positives", result.local_false_positives <= (result.good if own else 0)
    yield "histogram_good", sum(result.histogram_good) == result.good
    yield "histogram_defective", sum(result.histogram_defective) == result.defective
    tested = bool(result.good or result.defective)
    yield "histogram_top", result.histogram_top > 0 if tested else result.histogram_top >= 0
    both = bool(result.good and result.defective)
    for name in OF_BOTH:
        yield name, both or math.isnan(getattr(result, name))
    yield from _planted(result)
    rising = all(one <= other for one, other in pairwise(result.roc))
    yield "roc", (both and rising) or all(map(math.isnan, result.roc))


def _planted(result: ProductResult) -> Iterable[tuple[str, bool]]:
    """Counts of planted defects: no more found than there are, and none without a threshold."""
    pairs = zip(result.planted_found, result.planted_of, strict=True)
    yield "planted_found", all(found <= of for found, of in pairs)
    trials = sum(result.planted_of)
    known = math.isfinite(result.threshold) and result.planted_pictures > 0
    yield "planted_of", trials <= (PLANTED if known else 0)
    yield "planted_pictures", result.planted_pictures == 0 or trials > 0
    yield "planted_stopped", result.planted_stopped <= result.planted_pictures
    yield "planted_learnt", result.planted_learnt <= min(1, result.planted_pictures)


def _check_kinds(result: ProductResult, where: str) -> None:
    if len(result.kinds) > KINDS:
        raise ValueError(f"'kinds' {where} are {len(result.kinds)}, at most {KINDS} are told")
    for name, (found, of) in result.kinds.items():
        if not is_name(name, LONGEST):
            raise ValueError(f"a kind of defect called {one_line(repr(name), 60)}")
        if not (is_count(found) and is_count(of, IMAGES) and found <= of):
            raise ValueError(f"'kinds' {where}: {name} is {found} of {of}")
    sums = [sum(pair[at] for pair in result.kinds.values()) for at in (0, 1)]
    if result.kinds and sums != [result.true_positives, result.defective]:
        raise ValueError(f"'kinds' {where} are {sums[0]} of {sums[1]}")
