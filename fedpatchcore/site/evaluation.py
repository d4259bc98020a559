"""A bank on a site's images: thresholds from held-out normals, metrics on the test set.

Everything here is computed where the images are; `ProductResult` is what leaves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.data.images import load_image
from fedpatchcore.data.products import Product
from fedpatchcore.data.saturation import load_regions
from fedpatchcore.detection.calibration import calibrate
from fedpatchcore.detection.scoring import Scorer, anomaly_map, clipped
from fedpatchcore.features.extraction import Tally
from fedpatchcore.metrics import curves as metrics
from fedpatchcore.metrics import spro
from fedpatchcore.metrics.comparison import shown
from fedpatchcore.site.measuring import Scored, measure, nearer, score_images, truth_masks
from fedpatchcore.site.site import Site
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
        BankError: the bank has no section for any product here.
    """
    site.policy.allow(site.config, site.name)
    site.backbone.fingerprint.require(
        bank.fingerprint, ours=f"site '{site.name}'", theirs="the bank"
    )
    site.note_unprotected(run)
    with peak() as most:
        reply, scored = _evaluate(site, bank)
    return replace(reply, memory=(most.rss, most.cuda)), scored


def _evaluate(site: Site, bank: MemoryBank) -> tuple[EvaluateReply, dict[str, Scored]]:
    started = time.perf_counter()
    results, pictures, notes = [], {}, []
    for name, product in site.products.items():
        section = SHARED if SHARED in bank.sections else name
        if section not in bank.sections:
            notes.append(f"{name}: no site gave rows for it, not evaluated")
            continue
        result, scored = _evaluate_product(site, bank, product, section)
        results.append(result)
        if scored is not None:
            pictures[name] = scored
        site.say(
            f"{name}: {result.good} good and {result.defective} defective test images, "
            f"image AUROC {shown(result.image_auroc)}, threshold {shown(result.threshold, 4)}"
        )
    seconds = time.perf_counter() - started
    return EvaluateReply(site.name, tuple(results), seconds, tuple(notes)), pictures


def _evaluate_product(
    site: Site, bank: MemoryBank, product: Product, section: str
) -> tuple[ProductResult, Scored | None]:
    config, rows = site.config, bank.sections[section]
    scoring = {"neighbours": config.neighbours, "reweight": config.reweight}
    approximate = config.search == "approximate"
    scorers = {"global": Scorer.of(bank, product.name, site.name, approximate=approximate)}
    teaches = section in (site.sections() if any(p.train for p in site.products.values()) else {})
    clip = scorers["global"].clip
    if config.compare_local and teaches:
        own = site.own_rows(section)
        own = clipped(own, clip) if clip else own
        scorers["local"] = Scorer(own, **scoring, clip=clip)
        if len(own) > len(rows) and rows.metric is None:  # else its rows are no patches
            scorers["equal"] = Scorer(own[: len(rows)], **scoring, clip=clip)
    tally = Tally()
    local_rows = len(own) if "local" in scorers else 0
    result = ProductResult(product.name, coverage=(0,) * len(bank.sites), local_rows=local_rows)
    normal: list[tuple[np.ndarray, np.ndarray]] = []  # (scores, nearest) of normal images

    held = _held_out_of(site, section, product) if teaches else ()
    if held:
        with phase("score") as facts:
            facts["images"] = len(held)
            judges = {"global": scorers["global"]}
            if (elsewhere := scorers["global"].elsewhere()) is not None:
                judges["elsewhere"] = elsewhere
            both = score_images(site.extractor, held, judges, tally)
        scored = both["global"]
        threshold = calibrate(scored.scores, config.target_fpr)
        if elsewhere is not None:
            vote = calibrate(both["elsewhere"].scores, config.target_fpr)
            result = replace(result, vote_threshold=vote.value)
        result = replace(
            result,
            held_out=threshold.images,
            threshold=threshold.value,
            promised_fpr=threshold.promised_fpr,
        )
        normal.append((scored.scores, scored.nearest))
    tested = None
    if product.test:
        with phase("score") as facts:
            facts["images"] = len(product.test)
            both = score_images(site.extractor, product.test, scorers, tally)
        tested = both["global"]
        with phase("evaluate") as facts:
            facts["images"] = len(tested.images)
            result, good = _with_tests(
                site, product, result, both, distances=rows.scores_are_distances
            )
        normal.append((tested.scores[good], tested.nearest[good]))
    origin = rows.origin[np.concatenate([n.ravel() for _, n in normal])] if normal else np.empty(0)
    coverage = tuple(int((origin == at).sum()) for at in range(len(bank.sites)))
    return replace(result, bad=len(tally.bad), coverage=coverage), tested


def _held_out_of(site: Site, section: str, product: Product) -> tuple[Path, ...]:
    own = set(product.train)
    return tuple(p for p in site.training_images(section).held_out if p in own)


def _with_tests(
    site: Site,
    product: Product,
    result: ProductResult,
    both: Mapping[str, Scored],
    *,
    distances: bool,
) -> tuple[ProductResult, np.ndarray]:
    """Figures of labelled images; ``distances``: the bank's scores may be compared with others."""
    tested = both["global"]
    size = site.backbone.geometry.size
    masks = truth_masks(site.extractor, tested.images)
    labels = np.array([t.anomalous for t in tested.images])
    found = measure(tested, masks, size)
    if product.saturation:
        found.update(_spro(site, product, tested))
    if "local" in both:
        local = measure(both["local"], masks, size)
        found["local_image_auroc"] = local["image_auroc"]
        found["local_average_precision"] = local["average_precision"]
        found["local_pixel_auroc"] = local.get("pixel_auroc", float("nan"))
        if "equal" in both:
            found["local_equal_image_auroc"] = measure(both["equal"], None, size)["image_auroc"]
        if (site.config.dp != "off" and distances) or site.config.votes > 1:
            hybrid = measure(nearer(both["local"], tested), masks, size)
            found["hybrid_image_auroc"] = hybrid["image_auroc"]
            found["hybrid_average_precision"] = hybrid["average_precision"]
            found["hybrid_pixel_auroc"] = hybrid.get("pixel_auroc", float("nan"))
    called = tested.scores > result.threshold  # all False while the threshold is NaN
    top = float(tested.scores.max()) * 1.05 or 1.0
    edges = np.linspace(0, top, BINS + 1)
    decided = np.isfinite(result.threshold)
    return (
        replace(
            result,
            good=int((~labels).sum()),
            defective=int(labels.sum()),
            true_positives=int((called & labels).sum()) if decided else 0,
            false_positives=int((called & ~labels).sum()) if decided else 0,
            true_negatives=int((~called & ~labels).sum()) if decided else 0,
            false_negatives=int((~called & labels).sum()) if decided else 0,
            histogram_top=top,
            histogram_good=_counts(tested.scores[~labels], edges),
            histogram_defective=_counts(tested.scores[labels], edges),
            roc=_roc(tested.scores, labels),
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
        width, height = load_image(test.path).size
        square = anomaly_map(patches[None], geometry.size)[0]
        maps.append(np.nan_to_num(geometry.restore(square, width, height)))  # cut away: score 0
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
