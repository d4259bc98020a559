"""The colour scale: absolute, monotone, and no gross defect hides where it is worst."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.errors import ConfigError
from fedpatchcore.pictures.figures import colour
from fedpatchcore.pictures.scale import BEND, MOST, Scale

ANY = st.floats(-1e3, 1e3)


def _shade(scale: Scale, score: float) -> list[int]:
    return colour(np.array([[score]]), scale)[0, 0].tolist()


@given(threshold=st.floats(1e-3, 1e3))
def test_multiples_of_the_threshold_have_colours_of_their_own(threshold: float) -> None:
    scale = Scale.of(threshold)
    shades = [
        np.array(_shade(scale, times * threshold)) for times in (0.75, 0.9, 1, 1.25, 1.5, 2, 4, 8)
    ]
    for one, other in itertools.pairwise(shades):
        assert np.abs(one - other).max() >= 15  # of 255, in the channel that differs most


def test_places_that_stand_in_the_docs() -> None:
    scale = Scale.of(2.0)
    assert scale.share(2.0) == pytest.approx(BEND) and scale.share(1.5) == 0
    assert scale.share(2.0 * MOST) == 1 and scale.share(1e9) == 1
    expected = BEND + (1 - BEND) * math.log(5) / math.log(37)  # (2 - .75) / .25, (10 - .75) / .25
    assert scale.share(4.0) == pytest.approx(expected)


@given(low=ANY, bend=ANY)
def test_a_scale_rises_from_0_to_1_and_back_again(low: float, bend: float) -> None:
    scale = Scale.around(low, bend)
    shares = np.linspace(0, 1, 257)
    scores = scale.at(shares)
    assert (np.diff(scores) > 0).all()
    assert scores[0] == pytest.approx(scale.low) and scores[-1] == pytest.approx(scale.high)
    assert scale.share(scores) == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("worst", [1.1, 8.0, 80.0])
def test_a_score_keeps_its_colour_beside_any_other(worst: float) -> None:
    scale = Scale.of(1.0)
    scores = np.array([[0.5, 0.8, 1.0, 1.05, worst]])
    assert (colour(scores, scale)[0, :4] == colour(scores[:, :4], scale)[0]).all()


@pytest.mark.parametrize("threshold", [None, math.nan, math.inf, 0.0, -1.0])
def test_without_a_threshold_a_score_has_one_colour_all_the_same(threshold: float | None) -> None:
    assert Scale.of(threshold) == Scale(0.0, 1.0, MOST)


@pytest.mark.parametrize(
    "ends", [(1, 1, 2), (2, 1, 3), (0, 2, 1), (math.nan, 1, 2), (0, 1, math.inf)]
)
def test_a_scale_without_extent_is_refused(ends: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="low < bend < high"):
        Scale(*ends)
