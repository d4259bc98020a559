"""Intervals of AUROCs by the figure and the numbers of images alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from fedpatchcore.metrics.areas import Area
from fedpatchcore.metrics.curves import image_auroc


@pytest.mark.parametrize(
    ("auroc", "good", "bad"), [(0.8, 20, 30), (0.99, 8, 8), (0.5, 100, 7), (0.3, 5, 5)]
)
def test_newcombes_equation_is_solved(auroc: float, good: int, bad: int) -> None:
    """Method 5, with another solver and the variance written as in the paper."""

    def variance(t: float) -> float:
        n = (good + bad) / 2
        return (
            t * (1 - t) * (1 + (n - 1) * (1 - t) / (2 - t) + (n - 1) * t / (1 + t)) / (good * bad)
        )

    z = norm.ppf(0.95)
    low, high = Area.of(auroc, good, bad).interval
    far = [
        brentq(lambda t: abs(auroc - t) - z * math.sqrt(variance(t)), *ends)
        for ends in ((1e-9, auroc), (auroc, 1 - 1e-9))
    ]
    assert (low, high) == (pytest.approx(far[0], abs=1e-9), pytest.approx(far[1], abs=1e-9))


def test_a_perfect_figure_of_few_images_is_no_certainty() -> None:
    low, high = Area.of(1.0, 8, 8).interval
    assert high == 1 and 0.6 < low < 0.9 < Area.of(1.0, 80, 80).interval[0] < 1
    assert Area.of(0.0, 8, 8).interval == pytest.approx((0.0, 1 - low))
    assert Area.of(0.7, 0, 8).interval == (0.0, 1.0)


def test_a_surer_interval_is_wider_and_holds_the_figure() -> None:
    area = Area.of(0.85, 15, 25)
    ends = [area.within(sure) for sure in (0.5, 0.9, 0.99, 0.9999)]
    assert all(low <= 0.85 <= high for low, high in ends)
    assert sorted(low for low, _ in ends)[::-1] == [low for low, _ in ends]


@pytest.mark.parametrize(("shift", "images"), [(0.5, 12), (1.5, 12), (2.5, 30), (1.5, 60)])
def test_the_true_value_is_held_about_nine_times_in_ten(shift: float, images: int) -> None:
    true, rng, held = norm.cdf(shift / math.sqrt(2)), np.random.default_rng(0), 0
    labels = np.repeat([0, 1], images)
    for _ in range(600):
        scores = rng.normal(size=2 * images) + shift * labels
        low, high = Area.of(image_auroc(scores, labels), images, images).interval
        held += low <= true <= high
    assert 0.86 <= held / 600 <= 0.97  # standard error .012


def test_a_mean_is_held_too_and_is_narrower_than_its_parts() -> None:
    labels, rng, held = np.repeat([0, 1], 15), np.random.default_rng(1), 0
    shifts = (0.7, 1.5, 2.2)
    true = np.mean([norm.cdf(shift / math.sqrt(2)) for shift in shifts])
    for _ in range(400):
        parts = [
            Area.of(image_auroc(rng.normal(size=30) + shift * labels, labels), 15, 15)
            for shift in shifts
        ]
        mean = parts[0] + parts[1] + parts[2]
        low, high = mean.interval
        held += low <= true <= high
    assert 0.86 <= held / 400 <= 0.97
    assert mean.share == pytest.approx(np.mean([part.share for part in parts]))
    assert high - low < max(b - a for a, b in (part.interval for part in parts))
    assert str(Area.of(0.9, 20, 20)).startswith("0.900 (0.7")
