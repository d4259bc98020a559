"""The sites' thresholds, as part of the bank they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank

__all__ = ["with_thresholds"]


def with_thresholds(bank: MemoryBank, evaluated: Mapping[str, Any]) -> MemoryBank:
    """The bank with what sites calibrated in this round; others keep theirs.

    Args:
        evaluated: by site, the record of its evaluation (`server.acceptance.evaluate_record`).
    """
    thresholds, elsewhere, worth = (
        {name: dict(values) for name, values in known.items()}
        for known in (bank.thresholds, bank.vote_thresholds, bank.calibration)
    )
    for site, told in evaluated.items():
        for product, result in told["products"].items():
            if result["calibrated"]:
                worth.setdefault(product, {})[site] = _worth(result)
                thresholds.setdefault(product, {})[site] = result["threshold"]
                if bank.scoring.get("home"):
                    vote = result["vote_threshold"]
                    value = result["threshold"] if math.isnan(vote) else vote
                    elsewhere.setdefault(product, {})[site] = value
    return replace(bank, thresholds=thresholds, vote_thresholds=elsewhere, calibration=worth)


def _worth(result: Mapping[str, Any]) -> dict[str, float | int]:
    """As `fedpatchcore.detection.calibration.Threshold.told`."""
    names = {
        "folds": "folds",
        "images": "calibrated",
        "groups": "groups",
        "promised": "promised_fpr",
        "low": "fpr_low",
        "high": "fpr_high",
        "new_group": "new_group_fpr",
    }
    told = {name: result[key] for name, key in names.items()}
    return {name: value for name, value in told.items() if not math.isnan(value)}
