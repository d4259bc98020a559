"""The strip below a part says what its map's colours mean; the gauge shows how far a score is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.pictures.figures import overlay
from fedpatchcore.pictures.scale import BEND, Scale
from fedpatchcore.station.colours import gauge, legend


def test_the_strip_has_the_colours_of_a_map() -> None:
    told = legend(2.0)
    grey = Image.new("L", (1, 1), 128)
    ends = [overlay(grey, np.array([[score]]), Scale.of(2.0))[0, 0] for score in (0.1, 20.0)]
    assert [told.colours[0], told.colours[-1]] == ["#{:02x}{:02x}{:02x}".format(*e) for e in ends]
    assert [words for _, words in told.ticks] == ["2", "2×", "4×", "10×"]
    assert [at for at, _ in told.ticks] == pytest.approx(Scale.of(2.0).share([2, 4, 8, 20]))


def test_the_strip_without_a_threshold_tells_scores() -> None:
    assert [words for _, words in legend(None).ticks] == ["2", "4", "10"]


def test_the_gauge_tells_2_from_8_thresholds() -> None:
    lengths = [gauge(times * 1.5, 1.5)[0] for times in (0, 0.5, 1, 2, 8, 10, 50)]
    assert lengths[:5] == sorted(set(lengths[:5])) and lengths[4] - lengths[3] > 0.3
    assert lengths[2] == gauge(0.3, 1.5)[1] == BEND and lengths[-1] == lengths[-2] == 1
