"""What stands above a picture."""

from __future__ import annotations

import math

import pytest

from fedpatchcore.pictures.header import digits


@pytest.mark.parametrize(
    ("score", "threshold", "told"),
    [
        (1.0843, 1.0791, ("1.084", "1.079")),
        (1.5, 1.08, ("1.50", "1.08")),
        (0.50004, 0.49996, ("0.50004", "0.49996")),
        (1234.4, 1234.1, ("1234.4", "1234.1")),
        (2.0, 2.0, ("2.00", "2.00")),
        (2.0000000001, 2.0, ("2.00000", "2.00000")),  # there is an end to it
        (0.7, math.nan, ("0.700", "–")),
    ],
)
def test_a_defect_never_looks_as_if_it_were_at_the_threshold(
    score: float, threshold: float, told: tuple[str, str]
) -> None:
    assert (digits(score, threshold), digits(threshold, score)) == told
