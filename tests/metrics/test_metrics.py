"""Every metric against an independent computation: pair counting, threshold loops, hand work."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import metrics as sk

from fedpatchcore.data.saturation import Region
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.metrics import curves as metrics
from fedpatchcore.metrics import spro
from fedpatchcore.metrics.curves import (
    auc_spro,
    aupro,
    average_precision,
    f1_best,
    image_auroc,
    paired_bootstrap,
    pixel_auroc,
    roc_points,
)

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)

# Few distinct values, so that ties are common; both classes present.
samples = st.lists(
    st.tuples(st.integers(-4, 4).map(lambda v: v / 2), st.booleans()), min_size=2, max_size=25
).filter(lambda rows: len({label for _, label in rows}) == 2)


def split(rows):
    return np.array([score for score, _ in rows]), np.array([label for _, label in rows])


# --- independent computations -----------------------------------------------------------------


def auroc_by_pairs(scores, labels):
    """Mann-Whitney: count pairs, ties half."""
    wins = total = 0
    for bad in scores[labels]:
        for good in scores[~labels]:
            wins += 1.0 if bad > good else 0.5 if bad == good else 0.0
            total += 1
    return wins / total


def spro_by_thresholds(maps, regions, limit):
    """Walk through all thresholds; integrate in small exact pieces up to the limit."""
    union = [
        np.any([mask for mask, _ in own] or [np.zeros(m.shape, bool)], axis=0)
        for m, own in zip(maps, regions, strict=True)
    ]
    good_total = sum(int((~u).sum()) for u in union)
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        false, overlaps = 0, []
        for m, own, u in zip(maps, regions, union, strict=True):
            called = m >= threshold
            false += int((called & ~u).sum())
            overlaps += [min(int((called & mask).sum()) / area, 1.0) for mask, area in own]
        points.append((false / good_total, sum(overlaps) / len(overlaps)))
    total = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        total += (end - x0) * (y0 + y_end) / 2
    return total / limit


def components(mask):
    """8-connected components by flood fill."""
    left = {tuple(cell) for cell in np.argwhere(mask).tolist()}
    found = []
    while left:
        stack, region = [left.pop()], np.zeros(mask.shape, bool)
        while stack:
            y, x = stack.pop()
            region[y, x] = True
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
        found.append(region)
    return found


# --- image scores -----------------------------------------------------------------------------


@given(samples)
def test_image_auroc(rows):
    scores, labels = split(rows)
    got = image_auroc(scores, labels)
    assert got == pytest.approx(auroc_by_pairs(scores, labels), abs=1e-12)
    assert got == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert image_auroc(-scores, labels) == pytest.approx(1 - got, abs=1e-12)


@given(samples)
def test_average_precision(rows):
    scores, labels = split(rows)
    positives = int(labels.sum())
    by_hand, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = scores >= threshold
        recall = int((called & labels).sum()) / positives
        by_hand += (recall - before) * int((called & labels).sum()) / int(called.sum())
        before = recall
    got = average_precision(scores, labels)
    assert got == pytest.approx(by_hand, abs=1e-12)
    assert got == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)


@given(samples)
def test_f1_best(rows):
    scores, labels = split(rows)
    tried = {
        threshold: sk.f1_score(labels, scores >= threshold) for threshold in set(scores.tolist())
    }
    f1, threshold = f1_best(scores, labels)
    assert f1 == pytest.approx(max(tried.values()), abs=1e-12)
    assert tried[threshold] == pytest.approx(f1, abs=1e-12)
    assert threshold == max(t for t, v in tried.items() if v > f1 - 1e-12)


@given(samples)
def test_roc_points(rows):
    scores, labels = split(rows)
    x, y = roc_points(scores, labels, grid=11)
    assert x.tolist() == np.linspace(0, 1, 11).tolist()
    assert (np.diff(y) >= -1e-12).all()
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    for rate, got in zip(x, y, strict=True):
        at = tpr[np.isclose(fpr, rate, atol=1e-12)]
        if at.size:
            assert got == pytest.approx(at.max(), abs=1e-9)
        else:
            i = np.searchsorted(fpr, rate)
            share = (rate - fpr[i - 1]) / (fpr[i] - fpr[i - 1])
            assert got == pytest.approx(tpr[i - 1] + share * (tpr[i] - tpr[i - 1]), abs=1e-9)


def test_fine_roc_points_integrate_to_the_auroc():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = rng.normal(size=400) + labels
    x, y = roc_points(scores, labels, grid=10_001)
    assert np.trapezoid(y, x) == pytest.approx(image_auroc(scores, labels), abs=1e-3)


def test_degenerate_classes_are_nan():
    for labels in ([0, 0, 0], [1, 1, 1]):
        scores = [0.1, 0.2, 0.3]
        assert math.isnan(image_auroc(scores, labels))
        assert math.isnan(average_precision(scores, labels))
        assert all(math.isnan(value) for value in f1_best(scores, labels))
        assert np.isnan(roc_points(scores, labels)[1]).all()
        assert all(math.isnan(value) for value in paired_bootstrap(labels, scores, scores))
    assert image_auroc([1.0, 1.0], [0, 1]) == 0.5
    assert f1_best([math.inf, math.inf, 0.0], [1, 1, 0]) == (1.0, math.inf)


@pytest.mark.parametrize(
    ("scores", "labels", "reason"),
    [
        ([0.1, math.nan], [0, 1], "1 of 2 scores are NaN"),
        ([0.1], [0, 1], "1 scores but labels of shape"),
        ([0.1, 0.2], [0, 2], "labels must be 0"),
        ([[0.1, 0.2]], [[0, 1]], "list of numbers"),
        ([], [], "no scores"),
    ],
)
def test_bad_scores_are_refused(scores, labels, reason):
    for metric in (image_auroc, average_precision, f1_best, roc_points):
        with pytest.raises(DataError, match=reason):
            metric(scores, labels)


def test_bad_parameters_are_refused():
    with pytest.raises(ConfigError, match="grid"):
        roc_points([0.0, 1.0], [0, 1], grid=1)
    with pytest.raises(ConfigError, match="bootstrap needs"):
        paired_bootstrap([0, 1], [0.0, 1.0], [0.0, 1.0], n=0)
    with pytest.raises(DataError, match="3 groups for 2 images"):
        paired_bootstrap([0, 1], [0.0, 1.0], [0.0, 1.0], groups="abc")
    with pytest.raises(ConfigError, match="limit must lie in"):
        aupro(np.zeros((1, 2, 2)), np.eye(2, dtype=bool)[None], max_fpr=0.0)
    with pytest.raises(ConfigError, match="limit must lie in"):
        auc_spro([], [], (1.1,))


# --- bootstrap --------------------------------------------------------------------------------


def bootstrap_by_hand(labels, a, b, groups, n, seed):
    """Draw the same groups, but copy their images into a new list and count pairs."""
    names = list(dict.fromkeys(groups))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n):
        picked = [names[i] for i in rng.integers(len(names), size=len(names))]
        rows = [i for name in picked for i, group in enumerate(groups) if group == name]
        own = labels[rows]
        if own.any() and not own.all():
            draws.append(auroc_by_pairs(a[rows], own) - auroc_by_pairs(b[rows], own))
    return np.quantile(draws, [0.025, 0.975])


def noisy(seed=0, size=40):
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % 2 == 0
    a = np.round(rng.normal(size=size) + labels, 1)
    b = np.round(rng.normal(size=size) + 0.2 * labels, 1)
    return labels, a, b


@pytest.mark.parametrize("clustered", [True, False])
def test_bootstrap_against_copied_samples(clustered):
    labels, a, b = noisy()
    groups = [f"g{i // 5}" for i in range(40)] if clustered else None
    difference, low, high = paired_bootstrap(labels, a, b, groups=groups, n=60, seed=4)
    assert difference == pytest.approx(auroc_by_pairs(a, labels) - auroc_by_pairs(b, labels))
    want = bootstrap_by_hand(labels, a, b, groups or list(range(40)), 60, 4)
    assert [low, high] == pytest.approx(want.tolist(), abs=1e-12)


def test_bootstrap_of_clusters_is_wider_when_groups_agree():
    labels, a, b = noisy(size=60)
    labels, a, b = (np.tile(values, 6) for values in (labels, a, b))  # six copies of each image
    groups = np.tile(np.arange(60), 6).tolist()
    _, low, high = paired_bootstrap(labels, a, b, n=300)
    _, wide_low, wide_high = paired_bootstrap(labels, a, b, groups=groups, n=300)
    assert wide_high - wide_low > 1.8 * (high - low)


def test_bootstrap_properties():
    labels, a, b = noisy()
    assert paired_bootstrap(labels, a, a, n=50) == (0.0, 0.0, 0.0)
    first = paired_bootstrap(labels, a, b, n=200, seed=1)
    assert first == paired_bootstrap(labels, a, b, n=200, seed=1)
    assert first != paired_bootstrap(labels, a, b, n=200, seed=2)
    assert first[1] < first[0] < first[2]
    swapped = paired_bootstrap(labels, b, a, n=200, seed=1)
    assert swapped == pytest.approx((-first[0], -first[2], -first[1]))
    difference, low, high = paired_bootstrap(labels, a, b, groups=["one"] * 40)
    assert difference == first[0]
    assert math.isnan(low)
    assert math.isnan(high)


# --- maps -------------------------------------------------------------------------------------


def random_maps(seed, count=3, height=7, width=9, levels=None):
    rng = np.random.default_rng(seed)
    masks = rng.random((count, height, width)) < 0.15
    masks[0] = False
    maps = rng.random((count, height, width)) + 0.5 * masks
    if levels:
        maps = np.round(maps * levels) / levels
    return maps.astype(np.float32), masks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 6])
def test_pixel_auroc(seed, levels):
    maps, masks = random_maps(seed, levels=levels)
    before = maps.copy()
    got = pixel_auroc(maps, masks)
    assert got == pytest.approx(auroc_by_pairs(maps.ravel(), masks.ravel()), abs=1e-12)
    assert got == pytest.approx(sk.roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)
    assert got == pixel_auroc(list(maps), [mask.astype(np.uint8) * 255 for mask in masks])
    assert (maps == before).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 6])
@pytest.mark.parametrize("limit", LIMITS)
def test_aupro_against_a_threshold_loop(seed, levels, limit):
    maps, masks = random_maps(seed, levels=levels)
    regions = [[(part, part.sum()) for part in components(mask)] for mask in masks]
    assert sum(map(len, regions)) >= 3
    want = spro_by_thresholds(maps, regions, limit)
    assert aupro(maps, masks, max_fpr=limit) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 6])
def test_auc_spro_against_a_threshold_loop(seed, levels):
    maps, masks = random_maps(seed, levels=levels)
    rng = np.random.default_rng(seed)
    regions = []
    for mask in masks:
        whole = [mask] if mask.any() else []  # not connected, and overlapping the next
        extra = [rng.random(mask.shape) < 0.2] if mask.any() else []
        regions.append([(m, float(rng.uniform(0.3, 1.0) * m.sum())) for m in whole + extra])
    got = auc_spro(maps, [[Region(*pair) for pair in own] for own in regions], LIMITS)
    assert list(got) == list(LIMITS)
    for limit, value in got.items():
        assert value == pytest.approx(spro_by_thresholds(maps, regions, limit), abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=12, max_size=12).filter(
        lambda rows: 0 < sum(label for _, label in rows) < 12
    ),
    st.floats(0.01, 1.0),
)
def test_aupro_of_tiny_maps(rows, limit):
    scores, labels = split(rows)
    maps, masks = scores.reshape(1, 3, 4), labels.reshape(1, 3, 4)
    regions = [[(part, part.sum()) for part in components(masks[0])]]
    want = spro_by_thresholds(maps, regions, limit)
    assert aupro(maps, masks, max_fpr=limit) == pytest.approx(want, abs=1e-9)


def test_aupro_golden():
    """Two regions, six good pixels, worked by hand."""
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    map_ = np.array([[9, 5, 8, 0], [0, 0, 4, 7], [0, 0, 0, 0]], float)
    # From the highest: 9 → overlap (1/2 + 0) / 2 = 1/4; 8 → rate 1/9; 7 → 3/4; 5 → 1; 4 → 2/9.
    want = {1 / 9: 1 / 4, 2 / 9: (1 / 4 + 1) / 2, 1.0: (1 / 4 + 8) / 9}
    for limit, value in want.items():
        assert aupro(map_[None], mask[None], max_fpr=limit) == pytest.approx(value, abs=1e-12)
    saturated = [Region(mask, 2.0)]  # two of three pixels are enough
    got = auc_spro(map_[None], [saturated], (1 / 9, 1.0))
    assert got == pytest.approx({1 / 9: 1 / 2, 1.0: (1 / 2 + 8) / 9}, abs=1e-12)


def test_perfect_inverted_and_constant_maps():
    _, masks = random_maps(1)
    perfect = masks.astype(np.float32)
    assert aupro(perfect, masks) == pytest.approx(1.0)
    assert pixel_auroc(perfect, masks) == 1.0
    assert aupro(-perfect, masks) == 0.0
    assert pixel_auroc(-perfect, masks) == 0.0
    # One threshold: the curve is the diagonal, so the area to 0.3 is 0.3 / 2.
    assert aupro(np.zeros_like(perfect), masks) == pytest.approx(0.15)
    assert pixel_auroc(np.zeros_like(perfect), masks) == 0.5


def test_diagonal_neighbours_are_one_region():
    mask = np.eye(3, dtype=bool)
    map_ = np.diag([3.0, 0.0, 0.0])[None]
    one = aupro(map_, mask[None], max_fpr=0.5)
    assert one == pytest.approx(spro_by_thresholds(map_, [[(mask, 3)]], 0.5))
    assert ndimage.label(mask)[1] == 3  # with 4-connectivity there would be three


def test_small_and_large_regions_weigh_the_same():
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    mask[3:8, 3:8] = True
    found_small, found_large = np.zeros((8, 8)), np.zeros((8, 8))
    found_small[0, 0] = 1.0
    found_large[3:8, 3:8] = 1.0
    assert aupro(found_small[None], mask[None]) == pytest.approx(
        aupro(found_large[None], mask[None])
    )


def test_maps_of_several_sizes():
    maps, masks = random_maps(2)
    extra, hole = np.zeros((3, 5), np.float32), np.zeros((3, 5), bool)
    got = aupro([*maps, extra], [*masks, hole])
    regions = [[(part, part.sum()) for part in components(mask)] for mask in masks]
    assert got == pytest.approx(spro_by_thresholds([*maps, extra], [*regions, []], 0.3), abs=1e-12)
    assert pixel_auroc([*maps, extra], [*masks, hole]) > pixel_auroc(maps, masks)


def test_undefined_maps_are_nan():
    maps = np.random.default_rng(0).random((2, 4, 4))
    for masks in (np.zeros((2, 4, 4), bool), np.ones((2, 4, 4), bool)):
        assert math.isnan(aupro(maps, masks))
        assert math.isnan(pixel_auroc(maps, masks))
    got = auc_spro(maps, [[], []])
    assert list(got) == list(LIMITS)
    assert all(math.isnan(value) for value in got.values())


def test_bad_maps_are_refused():
    maps, masks = random_maps(0)
    holed = maps.copy()
    holed[1, 0, 0] = np.nan
    for metric in (aupro, pixel_auroc):
        with pytest.raises(DataError, match="image 1: the anomaly map holds NaN"):
            metric(holed, masks)
        with pytest.raises(DataError, match="3 maps and 2 masks"):
            metric(maps, masks[:2])
        with pytest.raises(DataError, match="image 0: map of shape .7, 9. and mask of shape"):
            metric(maps, masks[:, :5])
        with pytest.raises(DataError, match="both must be"):
            metric(maps[0], masks[0])
    with pytest.raises(DataError, match="3 maps but regions of 1"):
        auc_spro(maps, [[]])
    with pytest.raises(DataError, match="image 0: region of shape"):
        auc_spro(maps, [[Region(np.ones((2, 2), bool), 1.0)], [], []])
    for region in (Region(np.zeros((7, 9), bool), 1.0), Region(masks[1], 0.0)):
        with pytest.raises(DataError, match="without pixels or saturation area"):
            auc_spro(maps, [[region], [], []])
    with pytest.raises(DataError, match="image 1: the anomaly map holds NaN"):
        auc_spro(holed, [[], [Region(masks[1], 1.0)], []])


def test_examples_in_docstrings():
    assert doctest.testmod(metrics).failed == 0


def test_public_names_exist():
    for module in (metrics, spro):
        assert all(hasattr(module, name) for name in module.__all__)


def test_a_perfect_detector_scores_one_and_not_a_rounding_more() -> None:
    """Whoever receives these figures refuses what is above 1: sums of shares must not be."""
    for bad in range(1, 200):
        labels = np.arange(bad + 5) >= 5
        scores = np.arange(bad + 5, dtype=float)
        assert average_precision(scores, labels) <= 1.0
        assert image_auroc(scores, labels) <= 1.0
        _, rates = roc_points(scores, labels)
        assert rates.max() <= 1.0


@given(samples)
def test_no_share_is_above_one(rows) -> None:
    scores, labels = split(rows)
    assert average_precision(scores, labels) <= 1.0
    assert roc_points(scores, labels)[1].max() <= 1.0
    maps, masks = scores.reshape(1, 1, -1), labels.reshape(1, 1, -1)
    assert all(aupro(maps, masks, limit) <= 1.0 for limit in LIMITS)
