"""Features of images whose grids differ, in one array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.features.maps import FeatureMaps, Gathering

GRIDS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=9)


@given(GRIDS, st.integers(1, 12), st.integers(1, 5))
def test_each_image_keeps_its_patches(grids, expected: int, most: int) -> None:
    rng = np.random.default_rng(0)
    images = [rng.random((*grid, 3), np.float32) for grid in grids]
    maps = Gathering(expected).add_all([[one] for one in images])
    assert len(maps) == len(images) and maps.grids == tuple(grids)
    for mine, one in zip(maps, images, strict=True):
        assert np.array_equal(mine, one)
    assert np.array_equal(maps.rows, np.concatenate([one.reshape(-1, 3) for one in images]))
    assert np.array_equal(maps[-1], images[-1])
    runs = list(maps.runs(most))
    assert sum(map(len, runs)) == len(images) and max(map(len, runs)) <= most
    flat = [one for run in runs for one in run]
    assert all(np.array_equal(a, b) for a, b in zip(flat, images, strict=True))
    assert maps.alike == (len(set(grids)) == 1)
    if maps.alike:
        assert np.array_equal(maps.dense(), np.stack(images))


def test_what_is_not_there_is_no_image() -> None:
    with pytest.raises(IndexError):
        FeatureMaps.of(np.zeros((2, 1, 1, 3), np.float32))[2]
