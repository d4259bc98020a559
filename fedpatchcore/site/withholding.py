"""With differential privacy on, what is not charged to the ledger stays at the site."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import (
    ConfigError,
    FedPatchCoreError,
    FingerprintError,
    Halted,
    NotNow,
    PrivacyError,
    SecureSumError,
    WeightsError,
    WorkerError,
)
from fedpatchcore.files import write_atomically
from fedpatchcore.metrics.comparison import shown
from fedpatchcore.metrics.verdicts import verdict
from fedpatchcore.wire.messages import EvaluateReply, ProductResult

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["FROM_TRAINING", "discreet", "keep_private", "withheld"]

FROM_TRAINING = (
    "calibrated",
    "groups",
    "folds",
    "bad",
    "threshold",
    "vote_threshold",
    "hybrid_threshold",
    "local_threshold",
    "promised_fpr",
    "fpr_low",
    "fpr_high",
    "new_group_fpr",
    "kinds",
    "planted_found",
    "planted_of",
    "planted_pictures",
    "planted_stopped",
    "planted_learnt",
    "local_true_positives",
    "local_false_positives",
    "true_positives",
    "false_positives",
    "true_negatives",
    "false_negatives",
    "local_rows",
    "local_image_auroc",
    "local_equal_image_auroc",
    "local_average_precision",
    "local_pixel_auroc",
    "hybrid_image_auroc",
    "hybrid_average_precision",
    "hybrid_pixel_auroc",
    "coverage",
    "uncovered",
)
"""Fields of a `ProductResult` that training images have a part in."""

# these say nothing of images
OPEN = (
    ConfigError,
    FingerprintError,
    Halted,
    NotNow,
    PrivacyError,
    SecureSumError,
    WeightsError,
    WorkerError,
)


def withheld(reply: EvaluateReply, config: RunConfig) -> EvaluateReply:
    """The reply with every figure that training images have a part in at its empty value.

    Memory, which grows with the number of images, is among them.

    ``dp-share-metrics`` lets them pass; the privacy report then names them as not covered.
    """
    if config.dp_share_metrics:
        return replace(reply, memory=(0, 0))
    empty = ProductResult("")
    results = []
    for result in reply.results:
        blank = {name: getattr(empty, name) for name in FROM_TRAINING}
        blank["coverage"] = (0,) * len(result.coverage)  # its length is the number of sites
        results.append(replace(result, **blank))
    return EvaluateReply(reply.site, tuple(results), 0.0, reply.notes)


def keep_private(site: Site, reply: EvaluateReply, folder: Path) -> None:
    """Write the full figures into the site's own results: ``private.json``.

    Threshold, DP-only (``image_auroc``), local-only and hybrid, side by side, for the eyes of
    this site alone.
    """
    content = {r.product: _plain(asdict(r)) for r in reply.results}
    try:
        write_atomically(folder / "private.json", json.dumps(content, indent=1).encode())
    except OSError as error:
        site.say(f"figures for this site alone not written to {folder}: {error.strerror}")
        return
    for r in reply.results:
        decided = str(verdict(vars(r)) or "") or "no verdicts"
        site.say_own(
            f"{r.product}: {decided}; image AUROC DP-only {shown(r.image_auroc)}, local-only "
            f"{shown(r.local_image_auroc)}, hybrid {shown(r.hybrid_image_auroc)}, threshold "
            f"{shown(r.threshold, 4)} (kept at this site: {folder.parent / 'private.json'})"
        )


def _plain(figures: dict) -> dict:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in figures.items()}


def discreet(error: BaseException) -> BaseException:
    """An error whose text may leave: those about images could tell of them."""
    if isinstance(error, OPEN):
        return error
    return FedPatchCoreError(
        f"{type(error).__name__} (its text may tell of images and stays in the site's own log)"
    )
