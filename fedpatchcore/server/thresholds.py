"""The sites' thresholds, as part of the bank they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.metrics.planted_found import PlantedFound
from fedpatchcore.metrics.promises import Promise
from fedpatchcore.planted.cells import CELLS

__all__ = ["with_thresholds"]


def with_thresholds(bank: MemoryBank, evaluated: Mapping[str, Any]) -> MemoryBank:
    """The bank with what sites calibrated in this round; others keep theirs.

    Args:
        evaluated: by site, the record of its evaluation (`server.acceptance.evaluate_record`).
    """
    thresholds, elsewhere, worth, planted = (
        {name: dict(values) for name, values in known.items()}
        for known in (bank.thresholds, bank.vote_thresholds, bank.calibration, bank.planted)
    )
    for site, told in evaluated.items():
        for product, result in told["products"].items():
            if result["calibrated"] and product not in told.get("unkept", ()):
                worth.setdefault(product, {})[site] = Promise.of_result(result).told()
                thresholds.setdefault(product, {})[site] = result["threshold"]
                planted.setdefault(product, {}).pop(site, None)  # by another threshold
                if (found := PlantedFound.of_result(result, CELLS)) is not None:
                    planted[product][site] = found.brief()
                if bank.scoring.get("home"):
                    vote = result["vote_threshold"]
                    value = result["threshold"] if math.isnan(vote) else vote
                    elsewhere.setdefault(product, {})[site] = value
    planted = {name: own for name, own in planted.items() if own}
    return replace(
        bank,
        thresholds=thresholds,
        vote_thresholds=elsewhere,
        calibration=worth,
        planted=planted,
    )
