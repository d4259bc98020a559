"""A bank on a site's images: thresholds from normal ones, metrics on the test set.

Everything here is computed where the images are; `ProductResult` is what leaves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED, Section
from fedpatchcore.data.products import Product
from fedpatchcore.data.saturation import load_regions
from fedpatchcore.detection.scale import Together
from fedpatchcore.detection.scoring import Scorer, flat
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.features.tally import Tally
from fedpatchcore.metrics import curves as metrics
from fedpatchcore.metrics import spro
from fedpatchcore.metrics.comparison import shown
from fedpatchcore.metrics.verdicts import verdict
from fedpatchcore.site.hybrid import by_both, hybrid_of
from fedpatchcore.site.measuring import (
    Scored,
    called,
    decisions,
    measure,
    score_images,
    truth_masks,
)
from fedpatchcore.site.methods.registry import site_method
from fedpatchcore.site.normals import Normals, by_folds, by_hold_out, own_scorer
from fedpatchcore.site.odd import tell_normals
from fedpatchcore.site.planted import with_planted
from fedpatchcore.site.site import Site
from fedpatchcore.site.vetting import vet
from fedpatchcore.timing.peaks import peak
from fedpatchcore.timing.phases import phase
from fedpatchcore.wire.messages import BINS, ROC_POINTS, EvaluateReply, ProductResult

__all__ = ["evaluate_site"]


def evaluate_site(
    site: Site, bank: MemoryBank, *, run: str = ""
) -> tuple[EvaluateReply, dict[str, Scored]]:
    """Answer an evaluate message of a ``run``; the scored test images by product stay at the site.

    Thresholds and figures of a run without privacy tell of training images too: a ledger in use
    learns of it first.

    Raises:
        PrivacyError: the site's policy forbids such a run.
        FingerprintError: the bank was made with another feature extractor.
        BankError: the bank is not one that this run makes.
    """
    site.policy.allow(site.config, site.name)
    site.backbone.fingerprint.require(
        bank.fingerprint, ours=f"site '{site.name}'", theirs="the bank"
    )
    vet(bank, site.config)
    site.note_unprotected(run)
    with peak() as most:
        bank = site_method(site.config.method).judged(site, bank, run)
        reply, scored = _evaluate(site, bank)
    return replace(reply, memory=(most.rss, most.cuda)), scored


def _evaluate(site: Site, bank: MemoryBank) -> tuple[EvaluateReply, dict[str, Scored]]:
    started = time.perf_counter()
    results, pictures, notes = [], {}, []
    normals: dict[str, Normals | None] = {}
    for name, product in site.products.items():
        section = SHARED if SHARED in bank.sections else name
        if section not in bank.sections:
            notes.append(f"{name}: no site gave rows for it, not evaluated")
            continue
        if section not in normals:
            normals[section] = _normals(site, bank, section)
        result, scored = _evaluate_product(site, bank, product, section, normals[section])
        results.append(result)
        if scored is not None:
            pictures[name] = scored
        tell_normals(site, name)
        decided = str(verdict(vars(result)) or "")
        site.say_own(
            f"{name}: {result.good} good and {result.defective} defective test images"
            f"{f': {decided}' if decided else ''}; threshold {shown(result.threshold, 4)}, "
            f"image AUROC {shown(result.image_auroc)}"
        )
    seconds = time.perf_counter() - started
    return EvaluateReply(site.name, tuple(results), seconds, tuple(notes)), pictures


def _evaluate_product(
    site: Site, bank: MemoryBank, product: Product, section: str, normals: Normals | None
) -> tuple[ProductResult, Scored | None]:
    config, rows = site.config, bank.sections[section]
    approximate = config.search == "approximate"
    where = {"device": site.backbone.device, "approximate": approximate}
    scorers = {"global": Scorer.of(bank, product.name, site.name, **where)}
    if config.compare_local and _teaches(site, section):
        scorers["local"] = own_scorer(site, section, clip=scorers["global"].clip)
        if len(scorers["local"].rows) > len(rows) and not rows.by_metric:  # else no patches
            scorers["equal"] = own_scorer(site, section, most=len(rows))
    tally = Tally()
    local_rows = len(scorers["local"].rows) if "local" in scorers else 0
    result = ProductResult(product.name, coverage=(0,) * len(bank.sites), local_rows=local_rows)
    origins: list[np.ndarray] = []  # of the rows nearest to patches of normal images
    mine = normals.of(product.train) if normals else None
    if mine is not None:
        site.normals[product.name] = mine
    hybrid = None
    if mine is not None and len(mine.groups):
        result = _with_threshold(site, result, mine)
        origins.append(flat(mine.scored["global"].nearest))
        result = replace(result, uncovered=_uncovered(site, rows, mine))
        hybrid = hybrid_of(site, mine)
        if hybrid is not None:
            site.hybrids[product.name] = hybrid
            result = replace(result, hybrid_threshold=hybrid.threshold)
    tested = None
    if product.test:
        with phase("score") as facts:
            facts["images"] = len(product.test)
            both = score_images(site.extractor, product.test, scorers, tally)
        tested = both["global"]
        with phase("evaluate") as facts:
            facts["images"] = len(tested.images)
            result, good = _with_tests(site, product, result, both, hybrid)
        origins.append(rows.origin[flat(tested.some(good).nearest).astype(np.int64)])
    result = with_planted(site, product, section, result, scorers["global"])
    origin = np.concatenate(origins) if origins else np.empty(0, np.int64)
    counts = np.bincount(origin[origin >= 0], minlength=len(bank.sites))
    coverage = tuple(counts.tolist())
    return replace(result, bad=len(tally.bad), coverage=coverage), tested


def _teaches(site: Site, section: str) -> bool:
    """Whether the site has training images of the section."""
    return any(p.train for p in site.products.values()) and section in site.sections()


def _normals(site: Site, bank: MemoryBank, section: str) -> Normals | None:
    """The section's normal images as the bank would score them had it not seen them."""
    if not _teaches(site, section):
        return None
    with phase("score") as facts:
        if site.config.by_folds:
            normals = by_folds(site, bank, section, Tally())
        else:
            normals = by_hold_out(site, bank, section, Tally())
        facts["images"] = len(normals.groups) if normals else 0
    return normals


def _uncovered(site: Site, rows: Section, normals: Normals) -> float:
    """Share of the patches that the bank does not cover, of a site that gave nothing to it."""
    if rows.images.get(site.name) or rows.lens:
        return float("nan")
    return float((flat(normals.scored["global"].patches) > rows.covers).mean())


def _with_threshold(site: Site, result: ProductResult, normals: Normals) -> ProductResult:
    """What the normal images say: the threshold, and what it is worth."""
    target = site.config.target_fpr
    found = normals.threshold("global", target)
    told = {"threshold": found.value}
    if "elsewhere" in normals.scored:
        told["vote_threshold"] = normals.threshold("elsewhere", target).value
    if "local" in normals.scored:
        told["local_threshold"] = normals.threshold("local", target).value
    return replace(
        result,
        **found.promise(normals.folds).as_result(),
        **told,
    )


def _with_tests(
    site: Site,
    product: Product,
    result: ProductResult,
    both: Mapping[str, Scored],
    hybrid: Together | None,
) -> tuple[ProductResult, np.ndarray]:
    """Figures of labelled images."""
    tested = both["global"]
    geometry = site.backbone.geometry
    masks = truth_masks(site.extractor, tested.images, tested.grids)
    labels = np.array([t.anomalous for t in tested.images])
    found = measure(tested, masks, geometry)
    if product.saturation:
        found.update(_spro(site, product, tested))
    if "local" in both:
        local = measure(both["local"], masks, geometry)
        found["local_image_auroc"] = local["image_auroc"]
        found["local_average_precision"] = local["average_precision"]
        found["local_pixel_auroc"] = local.get("pixel_auroc", float("nan"))
        own = both.get("equal", both["local"]) if result.folds else both["local"]
        if "equal" in both:
            found["local_equal_image_auroc"] = measure(both["equal"], None, geometry)["image_auroc"]
        if hybrid is not None:
            told = measure(by_both(hybrid, own, tested), masks, geometry)
            found["hybrid_image_auroc"] = told["image_auroc"]
            found["hybrid_average_precision"] = told["average_precision"]
            found["hybrid_pixel_auroc"] = told.get("pixel_auroc", float("nan"))
        found.update(called(own, result.local_threshold, "local_"))
    top = float(tested.scores.max()) * 1.05 or 1.0
    edges = np.linspace(0, top, BINS + 1)
    return (
        replace(
            result,
            histogram_top=top,
            histogram_good=_counts(tested.scores[~labels], edges),
            histogram_defective=_counts(tested.scores[labels], edges),
            roc=_roc(tested.scores, labels),
            **decisions(tested, result.threshold),
            **found,
        ),
        ~labels,
    )


def _spro(site: Site, product: Product, tested: Scored) -> dict[str, float]:
    """AUC-sPRO on full-size maps, for data that state saturation thresholds (AutoVI)."""
    geometry = site.backbone.geometry
    maps, regions = [], []
    for test, patches in zip(tested.images, tested.patches, strict=True):
        if test.anomalous and not test.masks:
            continue
        width, height = site.backbone.open(test.path).size
        whole = geometry.restore(map_of(patches, geometry), width, height)
        maps.append(np.nan_to_num(whole))  # cut away: score 0
        regions.append(load_regions(test.masks, product.saturation, (width, height)))
    areas = spro.auc_spro(maps, regions)
    names = ("spro_001", "spro_005", "spro_01", "spro_03", "spro_1")
    return dict(zip(names, areas.values(), strict=True))


def _counts(scores: np.ndarray, edges: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in np.histogram(scores, edges)[0])


def _roc(scores: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    if labels.all() or not labels.any():
        return (float("nan"),) * ROC_POINTS
    _, rates = metrics.roc_points(scores, labels, ROC_POINTS)
    return tuple(float(r) for r in rates)
