"""Lower bounds on ε, from runs with an image and without it.

A proof gives an upper bound on ε and may be wrong, or its code may be. An attack gives a lower
bound, and a lower bound above the claim refutes it. The reverse does not hold: an attack that
fails proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.accounting import gaussian_epsilon
from fedpatchcore.privacy.audit.intervals import rates_at_least, rates_at_most

__all__ = ["EpsilonBound", "epsilon_lower_bound"]

PICK = 1e-4  # level at which a threshold is chosen: strict, or luck far out in a tail wins


@dataclass(frozen=True)
class EpsilonBound:
    """With ``confidence``, the true ε at ``delta`` is at least ``epsilon``.

    Attributes:
        epsilon: the lower bound; 0 says that nothing was found.
        ceiling: what a perfect attack would have shown with so many runs, never more.
        threshold: "the image was in" is the verdict at this score or above.
        true_positive_low: lower confidence bound of how often that is said rightly.
        false_positive_high: upper confidence bound of how often it is said wrongly.
        runs: with the image and without it; the second half of each was counted.
        gaussian: whether it was assumed that the mechanism adds Gaussian noise.
    """

    epsilon: float
    ceiling: float
    threshold: float
    true_positive_low: float
    false_positive_high: float
    runs: tuple[int, int]
    delta: float
    confidence: float
    gaussian: bool = False


def epsilon_lower_bound(
    with_canary: np.ndarray,
    without: np.ndarray,
    *,
    delta: float,
    confidence: float = 0.95,
    gaussian: bool = False,
) -> EpsilonBound:
    """ε that independent runs on two neighbouring data sets refute.

    (ε, δ) bounds every test: TPR ≤ e^ε FPR + δ and TNR ≤ e^ε FNR + δ (Kairouz, Oh & Viswanath,
    ICML 2015), so ε ≥ log((TPR − δ)/FPR) and ε ≥ log((TNR − δ)/FNR). The threshold is chosen on
    the first half of the runs; on the second half TPR and FPR each get a one-sided
    Clopper–Pearson bound at (1 − confidence)/2, which both inequalities share (Jagielski, Ullman
    & Oprea, NeurIPS 2020; Nasr et al., S&P 2021).

    That is weak for Gaussian noise, whose ε at a small δ is earned far out in a tail where few
    runs fall. With ``gaussian`` the claim under test is "this is the Gaussian mechanism with that
    multiplier": the same two rates bound μ ≥ Φ⁻¹(TPR) − Φ⁻¹(FPR), and ε is read from μ (Nasr et
    al., "Tight auditing of differentially private machine learning", USENIX Security 2023).

    Args:
        with_canary: score of each run with the image, float ``[n]``; high = "it was in".
        without: score of each run without it, float ``[m]``.

    Raises:
        ConfigError: fewer than two runs, scores that are not finite, or a level outside (0, 1).
    """
    if not (0 < confidence < 1 and 0 <= delta < 1):
        raise ConfigError(f"an audit at confidence {confidence} and delta {delta}")
    for scores in (with_canary, without):
        if scores.ndim != 1 or len(scores) < 2 or not np.isfinite(scores).all():
            raise ConfigError(f"an audit needs two runs or more with finite scores, got {scores}")
    alpha = (1 - confidence) / 2
    first_in, second_in = np.array_split(with_canary, 2)
    first_out, second_out = np.array_split(without, 2)
    threshold = _best_threshold(first_in, first_out, min(alpha, PICK), delta, gaussian)
    tpr, fpr = _rates(second_in, second_out, np.array([threshold]), alpha)
    best_tpr, best_fpr = (
        rates_at_least(len(second_in), alpha)[-1],
        rates_at_most(len(second_out), alpha)[0],
    )
    evidence = _evidence(np.append(tpr, best_tpr), np.append(fpr, best_fpr), delta, gaussian)
    epsilon, ceiling = (_epsilon(float(e), delta, gaussian) for e in evidence)
    runs = (len(with_canary), len(without))
    rates = (float(tpr[0]), float(fpr[0]))
    return EpsilonBound(epsilon, ceiling, threshold, *rates, runs, delta, confidence, gaussian)


def _best_threshold(
    inside: np.ndarray, outside: np.ndarray, alpha: float, delta: float, gaussian: bool
) -> float:
    """Of all midpoints between scores, the one that shows most."""
    values = np.unique(np.concatenate([inside, outside]))
    middles = (values[1:] + values[:-1]) / 2
    if not len(middles):  # all scores equal
        return float(values[0])
    evidence = _evidence(*_rates(inside, outside, middles, alpha), delta, gaussian)
    return float(middles[evidence.argmax()])


def _rates(
    inside: np.ndarray, outside: np.ndarray, thresholds: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower bound of the TPR and upper bound of the FPR at each threshold."""
    hits, alarms = (len(s) - np.searchsorted(np.sort(s), thresholds) for s in (inside, outside))
    return rates_at_least(len(inside), alpha)[hits], rates_at_most(len(outside), alpha)[alarms]


def _evidence(tpr: np.ndarray, fpr: np.ndarray, delta: float, gaussian: bool) -> np.ndarray:
    """ε, or μ for Gaussian noise; at or below 0 where there is none."""
    if gaussian:
        return ndtri(tpr) - ndtri(fpr)
    tiny = np.finfo(float).tiny
    there = np.log(np.maximum(tpr - delta, tiny) / fpr)
    back = np.log(np.maximum(1 - fpr - delta, tiny) / np.maximum(1 - tpr, tiny))
    return np.maximum(there, back)


def _epsilon(evidence: float, delta: float, gaussian: bool) -> float:
    if not evidence > 0:
        return 0.0
    return gaussian_epsilon(1 / evidence, delta) if gaussian else evidence
