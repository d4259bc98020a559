"""Regions of a picture: they say what the verdict says, and lie where the patches are."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from fedpatchcore.detection.regions import Region, find_regions
from fedpatchcore.features.geometry import Geometry

FULL = Geometry("full", 56)
CROP = Geometry("crop", 56)
SIZES = [(1, 1), (8, 8), (3, 500), (500, 3), (1, 90), (56, 56), (97, 61), (130, 400), (333, 57)]
ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
NEAR = st.sampled_from([0.0, 0.25, 0.5, float(np.float32(0.1)), 1.0, 3.0])
PATCHES = arrays.arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=NEAR)
HOSTILE = arrays.arrays(np.float32, (3, 4), elements=ANY)


def check(patches, score: float, threshold: float, geometry: Geometry, size) -> None:
    """All that is promised of any input."""
    regions, mask = find_regions(patches, score, threshold, geometry, size)
    assert mask.shape == size[::-1] and mask.dtype == bool
    assert bool(regions) == mask.any() == (score > threshold)
    unseen = np.isnan(geometry.restore(np.zeros((geometry.size, geometry.size)), *size))
    assert not (mask & unseen).any()
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    assert len({labels[r.y, r.x] for r in regions}) == count == len(regions)
    assert sum(r.area for r in regions) == mask.sum()
    for region in regions:
        own = labels == labels[region.y, region.x]
        rows, columns = np.nonzero(own)
        assert region.area == own.sum() >= 1
        assert (region.left, region.right) == (columns.min(), columns.max() + 1)
        assert (region.top, region.bottom) == (rows.min(), rows.max() + 1)
    peaks = [r.peak for r in regions]
    assert peaks == sorted(peaks, reverse=True) or any(map(math.isnan, peaks))
    if regions and not np.isnan(patches).any():
        assert peaks[0] == patches.max()


@given(
    patches=PATCHES,
    shrink=st.sampled_from([1.0, 0.9, 1 / 3, 1e-9, 0.0]),
    threshold=st.one_of(NEAR, st.sampled_from([-1.0, -0.0, math.nan, math.inf, -math.inf])),
    share=st.sampled_from([None, 1.0, 0.999, 1.001]),
    geometry=st.sampled_from([FULL, CROP, Geometry("crop", 32)]),
    size=st.sampled_from(SIZES),
)
@settings(max_examples=400, deadline=None)
def test_a_picture_above_the_threshold_has_a_region_and_no_other(
    patches, shrink, threshold, share, geometry, size
) -> None:
    """The score may be less than the largest patch; thresholds lie on it, or by a hair beside."""
    score = float(patches.max()) * shrink
    check(patches, score, threshold if share is None else score * share, geometry, size)


@given(patches=HOSTILE, score=st.floats(), threshold=st.floats(), size=st.sampled_from(SIZES[:4]))
@settings(max_examples=300, deadline=None)
def test_the_same_of_numbers_that_no_bank_gives(patches, score, threshold, size) -> None:
    check(patches, score, threshold, FULL, size)


@pytest.mark.parametrize("ulps", [-1, 0, 1])
def test_a_hair_decides_both(ulps: int) -> None:
    patches = np.random.default_rng(3).random((28, 28)).astype(np.float32)
    for weight in (1.0, 0.7310585786300049, 1 / 3):
        score = float(patches.max()) * weight
        threshold = score
        for _ in range(abs(ulps)):
            threshold = math.nextafter(threshold, ulps * math.inf)
        found, mask = find_regions(patches, score, threshold, FULL, (101, 67))
        assert bool(found) == mask.any() == (ulps < 0)


def test_every_patch_above_is_covered_and_no_region_is_without() -> None:
    rng = np.random.default_rng(0)
    for geometry, size in product((FULL, CROP), SIZES):
        patches = rng.random((7, 7)).astype(np.float32)
        regions, mask = find_regions(patches, float(patches.max()), 0.6, geometry, size)
        left, top, right, bottom = geometry.extent(*size)
        limits = geometry.seen(*size)
        where = {}
        for (row, column), value in np.ndenumerate(patches):
            x = left + (column + 0.5) * (right - left) / 7
            y = top + (row + 0.5) * (bottom - top) / 7
            beside = [  # a middle between two pixels is of either
                (min(max(v, limits[1]), limits[3] - 1), min(max(u, limits[0]), limits[2] - 1))
                for u in {math.floor(x - 1e-6), math.floor(x + 1e-6)}
                for v in {math.floor(y - 1e-6), math.floor(y + 1e-6)}
            ]
            if value > 0.6:
                covered = [at for at in beside if mask[at]]
                assert covered, (geometry, size, row, column)
                where[covered[0]] = max(value, where.get(covered[0], 0))
        labels = ndimage.label(mask, np.ones((3, 3)))[0]
        for region in regions:
            own = [v for at, v in where.items() if labels[at] == labels[region.y, region.x]]
            assert region.peak == max(own)


def test_golden_cell_alone() -> None:
    """Four by four cells of ten pixels; one just above the level keeps its own cell."""
    patches = np.full((4, 4), 0.1, np.float32)
    patches[1, 2] = 1.0
    (only,), mask = find_regions(patches, 1.0, 0.99, FULL, (40, 40))
    assert only == Region(20, 10, 30, 20, 100, 1.0, 25, 15)
    assert mask[10:20, 20:30].all() and mask.sum() == 100
    wide = Region(60, 10, 90, 20, 300, 1.0, 75, 15)
    assert find_regions(patches, 1.0, 0.99, FULL, (120, 40))[0] == (wide,)


def test_golden_interpolation_reaches_beyond_the_cell() -> None:
    """Middles ten pixels apart, half a pixel beside the row: 0.1 + 0.9·0.95·(1 − d/10) > 0.4."""
    patches = np.full((4, 4), 0.1, np.float32)
    patches[1, 2] = 1.0
    (only,), mask = find_regions(patches, 1.0, 0.4, FULL, (40, 40))
    assert (only.left, only.top, only.right, only.bottom) == (19, 9, 31, 21)  # d < 6.49
    assert np.flatnonzero(mask[15]).tolist() == list(range(19, 31))
    y, x = np.mgrid[:40, :40] + 0.5
    near = (1 - np.abs(x - 25) / 10).clip(0) * (1 - np.abs(y - 15) / 10).clip(0)
    cell = np.zeros((40, 40), bool)
    cell[10:20, 20:30] = True
    np.testing.assert_array_equal(mask, cell | (0.1 + 0.9 * near > 0.4))
    _, mask = find_regions(patches, 1.0, 0.4, FULL, (4000, 2000))
    y, x = np.mgrid[:2000, :4000] + 0.5
    near = (1 - np.abs(x - 2500) / 1000).clip(0) * (1 - np.abs(y - 750) / 500).clip(0)
    cell = np.zeros((2000, 4000), bool)
    cell[500:1000, 2000:3000] = True
    assert (mask != cell | (0.1 + 0.9 * near > 0.4)).mean() < 1e-6


def test_no_region_is_a_patch_that_only_equals_the_threshold() -> None:
    """Whatever the quotient of threshold and score rounds to."""
    for threshold, most in np.random.default_rng(5).random((200, 2)).astype(np.float32) + [0, 1]:
        patches = np.array([[most, 0.0, threshold, 0.0, most]], np.float32)
        score, limit = float(patches.max()), float(patches[0, 2])
        assert len(find_regions(patches, score, limit, FULL, (50, 10))[0]) == 2


def test_a_sliver_without_a_patch_above_is_no_region() -> None:
    """Interpolated pixels in the middle rise above the level, where no patch does."""
    patches = np.array([[0, 1.04, 0], [1.04, 1, 1.04], [0, 1.04, 0]], np.float32)
    (ring,), mask = find_regions(patches, float(patches.max()), 1.0, FULL, (30, 30))
    assert not mask[14:16, 14:16].any()
    assert mask[14:16, 5].all() and ring.area == mask.sum()


def test_cells_that_meet_at_a_corner_are_one_region_and_others_two() -> None:
    patches = np.zeros((6, 6), np.float32)
    patches[0, 0], patches[1, 1], patches[4, 5] = 1.0, 2.0, 3.0
    far, near = find_regions(patches, 3.0, 0.9, FULL, (60, 60))[0]
    assert (far.peak, far.x, far.y) == (3.0, 55, 45)
    assert (near.peak, near.x, near.y) == (2.0, 15, 15)
    assert (near.left, near.top) == (0, 0)


def test_a_score_below_the_largest_patch_raises_the_level_alike() -> None:
    """Re-weighted to 60 %: a threshold of 0.3 on the score is one of 0.5 on patches."""
    patches = np.array([[1.0, 0.0, 0.45, 0.0, 0.55]], np.float32)
    (worst, second), _ = find_regions(patches, 0.6, 0.3, FULL, (50, 10))
    assert (worst.peak, second.peak) == (1.0, pytest.approx(0.55))
    assert len(find_regions(patches, 1.0, 0.3, FULL, (50, 10))[0]) == 3


def test_the_crop_is_where_regions_are() -> None:
    """256 → 224 of a picture of 512 × 256: its middle from x = 144 on, y = 16."""
    geometry = Geometry("crop", 224)
    assert geometry.extent(512, 256) == (144, 16, 368, 240)
    patches = np.zeros((28, 28), np.float32)
    patches[0, 27] = 1.0
    (only,), mask = find_regions(patches, 1.0, 0.999, geometry, (512, 256))
    assert only == Region(360, 16, 368, 24, 64, 1.0, 364, 20)
    (whole,), mask = find_regions(patches + 1, 2.0, 0.0, geometry, (512, 256))
    assert (whole.left, whole.top, whole.right, whole.bottom) == (144, 16, 368, 240)
    assert whole.area == mask.sum() == 224 * 224


def test_twelve_megapixels() -> None:
    patches = np.random.default_rng(1).random((28, 28)).astype(np.float32)
    for threshold in (0.99, 0.5, 0.0):
        check(patches, float(patches.max()), threshold, Geometry("crop", 224), (4000, 3000))
