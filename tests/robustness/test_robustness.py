"""Bounds that no honest site breaks, and medians that no minority can move."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torchvision.models import get_model

from fedpatchcore.errors import ConfigError, CoresetError
from fedpatchcore.features.backbones.filterbank import FilterBank
from fedpatchcore.features.backbones.torchvision_cnn import cut
from fedpatchcore.features.patches import embed
from fedpatchcore.robustness.alignment import align, cell_count
from fedpatchcore.robustness.density import dense_rows, isolation
from fedpatchcore.robustness.medians import coordinate_median, geometric_median
from fedpatchcore.robustness.support import admitted, cell_support, confirmed
from fedpatchcore.robustness.validation import Limits, limits_of, screen, screen_against
from tests.support.fingerprints import fingerprint


def network_rows(name: str, layers: tuple[str, ...], layer_norm: str) -> np.ndarray:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = get_model(name, weights=None).eval()
        images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        maps = cut(network, name, layers)(images)
    rows = embed([maps[layer] for layer in layers], layer_norm=layer_norm)
    return rows.reshape(-1, rows.shape[-1]).numpy()


# -- validation -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ("layer1", "layer2")),
        ("wide_resnet50_2", ("layer2.1", "layer3")),
        ("resnext50_32x4d", ("layer2",)),
        ("squeezenet1_0", ("features.1", "features.6", "features.12")),
        ("squeezenet1_1", tuple(f"features.{n}" for n in range(1, 13))),
    ],
)
@pytest.mark.parametrize("layer_norm", ["unit", "none"])
def test_no_honest_row_is_refused(name: str, layers: tuple[str, ...], layer_norm: str) -> None:
    limits = limits_of(fingerprint(architecture=name, layers=layers, layer_norm=layer_norm))
    assert limits.nonnegative
    rows = network_rows(name, layers, layer_norm)
    screen("north", "plate", rows, limits)
    with pytest.raises(CoresetError, match="negative values in"):
        screen("north", "plate", -rows, limits)
    if layer_norm == "unit":
        assert limits.norm_high == pytest.approx(math.sqrt(len(layers)))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), limits.norm_high, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("squeezenet1_1", ("features.0",)),
        ("squeezenet1_1", ("features.3.squeeze", "features.7")),
        ("resnet18", ("layer2.0.conv1",)),
        ("vgg16", ("features.22",)),
        ("mobilenet_v2", ("features.4",)),
        ("filterbank", ("surface",)),
    ],
)
def test_signs_are_only_claimed_where_certain(name: str, layers: tuple[str, ...]) -> None:
    assert not limits_of(fingerprint(architecture=name, layers=layers)).nonnegative


def test_the_filter_bank_keeps_its_bound() -> None:
    limits = limits_of(
        fingerprint(architecture="filterbank", layers=("surface",), layer_norm="none", dimension=51)
    )
    images = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64), torch.rand(3, 64, 64)])
    images[1, :, ::2] = 0
    rows = embed([FilterBank()(images)["surface"]]).reshape(-1, 51).numpy()
    assert limits.norm_high == pytest.approx(math.sqrt(51))
    screen("north", "plate", rows, limits)
    with pytest.raises(CoresetError, match="norm out of range"):
        screen("north", "plate", rows * 10, limits)


def test_a_layer_that_is_dead_at_a_patch_is_no_crime() -> None:
    limits = limits_of(fingerprint(dimension=4))
    alive = np.float32([[0.6, 0.8, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    screen("north", "plate", alive, limits)
    with pytest.raises(CoresetError, match="whole number"):
        screen("north", "plate", alive * np.float32(0.9), limits)


def test_refusals_name_site_section_and_reason() -> None:
    limits = limits_of(fingerprint(dimension=4), max_rows=3, max_images=50)
    good = np.float32([[1, 0, 0, 1]])
    screen("north", "plate", good, limits, images=50)
    cases = [
        (good * 10, 1, "norm out of range in 1 of 1 rows"),
        (good * np.float32(1e38), 1, "norm out of range in 1 of 1 rows"),
        (np.repeat(good, 4, 0), 1, "holds 4 rows, the limit is 3"),
        (good, 51, "claims 51 images, the limit is 50"),
    ]
    for rows, images, reason in cases:
        with pytest.raises(CoresetError, match="section 'plate' of site 'north'") as caught:
            screen("north", "plate", rows, limits, images=images)
        assert reason in str(caught.value)


def test_noised_rows_have_no_bounds_but_the_caps() -> None:
    limits = limits_of(fingerprint(), exact=False, max_rows=7)
    assert limits == Limits(0.0, math.inf, False, 7, None)
    screen("north", "plate", np.float32([[-1e9, 3]]), limits)


def test_without_a_bound_sites_are_compared() -> None:
    rng = np.random.default_rng(0)
    rows = {f"s{i}": rng.normal(size=(20, 4)).astype(np.float32) * (1 + i) for i in range(5)}
    assert screen_against(rows) == {}
    refused = screen_against({**rows, "far": rows["s0"] * 1000, "tiny": rows["s0"] * 1e-3})
    assert set(refused) == {"far", "tiny"}
    assert "factor 10" in refused["far"]
    assert screen_against({"s0": rows["s0"], "far": rows["s0"] * 1000}) == {}  # no majority


# -- alignment and support ------------------------------------------------------------


def test_a_flood_draws_no_more_cells_than_other_sites() -> None:
    rng = np.random.default_rng(0)
    honest = [rng.normal(size=(60, 4)).astype(np.float32) for _ in range(4)]
    flood = (rng.normal(size=(6000, 4)) + 50).astype(np.float32)
    sizes = [60, 60, 60, 60, 6000]
    count = cell_count(sizes, supporters=3, limit=1000)
    assert count == cell_count([60] * 5, supporters=3, limit=1000) == 50
    cells = align([*honest, flood], count, 0).cells
    assert len(cells) == 6240
    assert len(np.unique(cells[240:])) <= count / 3
    np.testing.assert_array_equal(cells, align([*honest, flood], count, 0).cells)


def test_same_places_get_the_same_cell() -> None:
    rng = np.random.default_rng(0)
    modes = rng.normal(size=(5, 3)) * 100
    sites = [(modes + rng.normal(size=(5, 3))).astype(np.float32) for _ in range(4)]
    cells = align([np.repeat(s, 3, 0) for s in sites], 5, 1).cells.reshape(4, 15)
    assert (cells == cells[0]).all()


@given(st.lists(st.integers(1, 500), min_size=1, max_size=8), st.integers(1, 7), st.integers(1, 99))
def test_cells_are_never_more_than_rows(sizes: list[int], supporters: int, limit: int) -> None:
    cap = sorted(sizes)[(len(sizes) - 1) // 2]
    assert 1 <= cell_count(sizes, supporters=supporters, limit=limit) <= limit
    assert cell_count(sizes, supporters=supporters, limit=10**9) <= sum(min(s, cap) for s in sizes)


def test_support_counts_sites_not_rows() -> None:
    cells = np.array([0, 0, 0, 1, 1, 3])
    origin = np.array([0, 0, 0, 0, 2, 1])
    support = cell_support(cells, origin, 5)
    np.testing.assert_array_equal(support, [1, 2, 0, 1, 0])
    np.testing.assert_array_equal(admitted(support, 1), [False, True, False, False, False])
    assert not confirmed(support, 1).any()
    assert admitted(np.array([3]), 2) and not confirmed(np.array([4]), 2)
    assert confirmed(np.array([5]), 2)


# -- medians --------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.integers(0, 4), st.integers(1, 6), st.integers(0, 10**6), st.floats(-30, 30))
def test_a_minority_cannot_move_a_coordinate_out_of_the_honest_range(
    f: int, dimension: int, seed: int, power: float
) -> None:
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(f + 1, dimension)).astype(np.float32)
    bad = (rng.normal(size=(f, dimension)) * 10.0**power).astype(np.float32)
    middle = coordinate_median(rng.permutation(np.concatenate([honest, bad])))
    assert middle.dtype == np.float32
    assert (honest.min(0) <= middle).all() and (middle <= honest.max(0)).all()


@settings(max_examples=60)
@given(st.integers(3, 9), st.integers(1, 5), st.integers(0, 10**6))
def test_geometric_median_is_the_minimum(count: int, dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, dimension)) * rng.choice([1, 1, 100], size=(count, 1))

    def total(at: np.ndarray) -> float:
        return float(np.linalg.norm(points - at, axis=1).sum())

    found = geometric_median(points).astype(np.float64)
    best = min(
        [minimize(total, np.median(points, axis=0), method="Nelder-Mead").fun]
        + [total(p) for p in points]
    )
    assert total(found) <= best * (1 + 1e-4)


def test_geometric_median_leaves_a_point_it_lands_on() -> None:
    """The start, the coordinate-wise median, is a data point but not the minimum."""
    points = np.array([[0, 0], [10, -1], [20, -1], [-1, 10], [-1, 20.0]])
    np.testing.assert_array_equal(np.median(points, axis=0), points[0])
    found = geometric_median(points)
    sums = [np.linalg.norm(points - at, axis=1).sum() for at in (points[0], found)]
    assert sums[1] < sums[0] - 1


def test_geometric_median_stays_on_a_majority_point() -> None:
    points = np.concatenate([np.ones((3, 4)), np.full((2, 4), 1e6)])
    np.testing.assert_array_equal(geometric_median(points), np.ones(4))
    np.testing.assert_array_equal(geometric_median(np.zeros((5, 2))), np.zeros(2))
    np.testing.assert_array_equal(geometric_median(np.array([[0.0, 0], [2, 4]])), [1, 2])


@pytest.mark.parametrize("middle", [coordinate_median, geometric_median])
def test_breakdown_at_one_half(middle: Callable[[np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(5, 16)).astype(np.float32)
    for size in (1e3, 1e6, 1e12, 1e37):
        bad = np.full((4, 16), size, dtype=np.float32)
        assert np.concatenate([honest, bad]).mean(0).min() > size / 10  # a mean goes anywhere
        assert np.linalg.norm(middle(np.concatenate([honest, bad]))) < 100
    turned = middle(np.concatenate([honest, np.full((6, 16), 1e6, np.float32)]))
    assert np.linalg.norm(turned) > 1e6  # against a majority nothing helps


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_geometric_median_turns_with_the_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(5, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned, before = geometric_median(points @ turn), geometric_median(points) @ turn
    np.testing.assert_allclose(turned, before, atol=3e-2)  # the sum is flat around its least
    sums = [np.linalg.norm(points @ turn - one, axis=1).sum() for one in (turned, before)]
    assert sums[0] == pytest.approx(sums[1], rel=5e-5)


# -- density --------------------------------------------------------------------------


def clusters_with_strays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A tight and a wide cluster, and 20 strays around; which rows are strays."""
    rng = np.random.default_rng(seed)
    tight = rng.normal(size=(600, 8)) * 0.1
    wide = rng.normal(size=(600, 8)) * 3 + 100
    strays = rng.normal(size=(20, 8)) * 2
    rows = np.concatenate([tight, wide, strays]).astype(np.float32)
    return rows, np.arange(1220) >= 1200


@pytest.mark.parametrize("references", [4096, 300])
def test_isolated_patches_go_and_sparse_regions_stay(references: int) -> None:
    rows, strays = clusters_with_strays()
    keep = dense_rows(rows, 20 / 1220, references=references, seed=0)
    assert (~keep).sum() == 20
    assert (~keep & strays).sum() >= 17
    factor = isolation(rows, references=references, seed=0)
    assert np.median(factor[:600]) == pytest.approx(np.median(factor[600:1200]), rel=0.2)
    np.testing.assert_array_equal(keep, dense_rows(rows, 20 / 1220, references=references, seed=0))


@given(st.integers(1, 40), st.floats(0, 0.999), st.booleans())
def test_a_share_is_dropped_but_never_all(total: int, share: float, equal: bool) -> None:
    rng = np.random.default_rng(total)
    rows = np.ones((total, 3)) if equal else rng.normal(size=(total, 3))
    keep = dense_rows(rows.astype(np.float32), share, seed=0)
    assert keep.shape == (total,) and keep.any()
    assert (~keep).sum() == min(int(share * total), total - 1)


def test_a_share_must_be_a_share() -> None:
    rows = np.zeros((4, 2), np.float32)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="share of patches"):
            dense_rows(rows, share, seed=0)
    with pytest.raises(ConfigError, match="neighbours"):
        dense_rows(rows, 0.5, neighbours=0, seed=0)
