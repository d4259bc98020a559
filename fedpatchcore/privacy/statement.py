"""What protects the training images of a bank, in words and figures that can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpatchcore.privacy.releases import LedgerNote, together, together_alone
from fedpatchcore.privacy.settings import PrivacySettings
from fedpatchcore.privacy.shares import round_share, surveys

__all__ = ["OFF", "privacy_report", "statement"]

OFF = {"mechanism": "off"}
NOT_COVERED = [
    "test images and their defects: AUROC, ROC curves, score histograms and their counts come from "
    "labelled test images, which are not training images",
    "which facilities take part, which products they make, and when and how fast they answer",
    "several images of one part: each image counts for itself",
    "what left a facility before its ledger began, or by other ways than these runs",
    "that a facility refused, and why: its budget is spent on these images, δ is too large for so "
    "many, or too many files are unreadable",
]
WITHHELD = [
    "numbers of training, held-out and unreadable images, and of patches",
    "thresholds and the verdicts made with them",
    "figures of the site's own bank and of the hybrid (they stay in the site's results folder)",
    "seconds and memory of extraction and selection, texts of errors",
]
SHARED = (
    "dp-share-metrics=true: thresholds, counts of verdicts, held-out images and coverage, and "
    "figures of the sites' own banks (local and hybrid) left the sites without noise, outside the "
    "guarantee"
)


LOSSES = "losses of training; the number of local steps is that of the settings"
SEEN = (
    "the server: it sees each site's updates as they are before it adds the noise, and is trusted "
    "to add it"
)
TOGETHER = (
    "epsilon: the opened sums and all that was made of them, against the server and everyone "
    "outside, as long as at most {} of the other sites tell it their shares of the noise"
)
ALONE = (
    "epsilon_alone: the same if all other sites collude with the server: a site's own share of the "
    "noise alone protects it then"
)


def statement(config: PrivacySettings, ledgers: Mapping[str, LedgerNote]) -> dict[str, Any]:
    """The ``privacy`` entry of a bank's header."""
    mechanism = config.mechanism
    masked = {"secure_figures": True} if config.secure_figures else {}
    if mechanism is None:
        return OFF | masked
    told: dict[str, Any] = masked | {
        "mechanism": config.dp,
        "unit": mechanism.words("unit", secure=config.secure_sums),
        "adjacency": mechanism.adjacency,
        "epsilon": together(ledgers),
        "delta": config.dp_delta,
        "nominal_epsilon": config.dp_epsilon,
    }
    if config.secure_sums:
        told["epsilon_alone"] = together_alone(ledgers)
        told["secure_sums"] = {
            "min_openers": config.min_openers,
            "colluding_sites": config.colluding_sites,
        }
    rounds = getattr(config, "num_rounds", 1)
    if surveys(config, rounds):
        told["shares"] = [round_share(config, rounds, at) for at in range(1, rounds + 1)]
    if mechanism.clipped:
        told["clip"] = config.dp_clip
    if config.sampling:
        told["sample_rate"] = config.sampling
    return told


def privacy_report(
    config: PrivacySettings, ledgers: Mapping[str, LedgerNote], *, simulated: bool
) -> dict[str, Any]:
    """The content of ``privacy.json``: per site spent and left, and what is (not) covered.

    Facilities hold different images, so the federation's ε is the largest of theirs.
    """
    report: dict[str, Any] = statement(config, ledgers)
    if config.mechanism is None:
        report["not_covered"] = ["everything: coresets left the sites without noise"]
        return report
    report["sites"] = {site: note.model_dump() for site, note in sorted(ledgers.items())}
    report["composition"] = (
        "ε of the federation is the largest over facilities, whose images are disjoint; within a "
        "facility, releases that used the same image add up (Gaussian composition), releases over "
        "disjoint images do not"
    )
    if "shares" in report:
        first, *others = (f"{share:.3g}" for share in report["shares"])
        report["composition"] += (
            f"; the first round had {first} of the budget (1/σ², which is what adds up), for the "
            f"mean to which the codebook was moved, the others {', '.join(others)}"
        )
    report["covered"] = [config.mechanism.covered]
    if config.secure_sums:
        report["covered"] = [TOGETHER.format(config.colluding_sites), ALONE]
    report["withheld"] = [] if config.dp_share_metrics else WITHHELD
    if config.mechanism.learned:
        report["withheld"] = [*report["withheld"], LOSSES]
    report["not_covered"] = ([SHARED] if config.dp_share_metrics else []) + NOT_COVERED
    if config.seen:
        report["not_covered"] = [SEEN, *report["not_covered"]]
    if simulated:
        report["not_covered"] = [
            "earlier runs: virtual sites begin a ledger with each run",
            *report["not_covered"],
        ]
    return report
