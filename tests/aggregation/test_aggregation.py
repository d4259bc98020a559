"""What each aggregation promises, as properties over random sites."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.aggregation import AGGREGATIONS, Donor, MergeSettings
from fedpatchcore.aggregation.common import covering_radius, quotas
from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.errors import CoresetError


def donors(sizes: list[int], seed: int = 0, spread: float = 1.0) -> list[Donor]:
    rng = np.random.default_rng(seed)
    made = []
    for at, k in enumerate(sizes):
        x = (rng.normal(size=(max(k, 1) * 5, 5)) + at * spread).astype(np.float32)
        rows = x[greedy_k_center(x, k).indices]
        made.append(Donor(f"s{at}", rows, 10 * (at + 1)))
    return made


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 200), st.booleans(), st.integers(0, 9))
def test_unions_keep_their_promises(sizes: list[int], size: int, weighted: bool, seed: int) -> None:
    given_ = donors(sizes, seed)
    rows = np.concatenate([d.features for d in given_])
    for name in ("federated_coreset", "simple_concatenate", "diversity_preserving"):
        merged = AGGREGATIONS[name](given_, MergeSettings(size, weighted, seed))
        assert len(merged.features) == len(merged.origin) <= size
        for row, at in zip(merged.features, merged.origin, strict=True):  # provenance is true
            assert (given_[at].features == row).all(1).any()
        if name != "federated_coreset" or not weighted:
            expected = covering_radius(rows, merged.features)
            assert merged.radius == pytest.approx(expected, rel=1e-3, abs=1e-6)
            assert len(merged.features) == min(size, len(rows))
        again = AGGREGATIONS[name](given_, MergeSettings(size, weighted, seed))
        np.testing.assert_array_equal(merged.features, again.features)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(1, 300), st.booleans())
def test_quotas_are_fair_and_complete(sizes: list[int], total: int, weighted: bool) -> None:
    given_ = [Donor("s", np.zeros((k, 1), np.float32), 7 * k + 1) for k in sizes]
    shares = quotas(given_, total, weighted=weighted)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= s <= k for s, k in zip(shares, sizes, strict=True))
    if total >= len(sizes):
        assert min(shares) >= 1
    if not weighted:  # whoever got less than another site had no more to give
        for s, k in zip(shares, sizes, strict=True):
            assert s == k or s >= max(shares) - 1


def test_weights_shift_the_quotas() -> None:
    given_ = [Donor("a", np.zeros((99, 1), np.float32), 100)]
    given_ += [Donor("b", np.zeros((99, 1), np.float32), 300)]
    assert quotas(given_, 80, weighted=False) == [40, 40]
    assert quotas(given_, 80, weighted=True) == [20, 60]


def test_concatenate_takes_each_sites_first_rows() -> None:
    given_ = donors([50, 50])
    merged = AGGREGATIONS["simple_concatenate"](given_, MergeSettings(30))
    np.testing.assert_array_equal(merged.features[:15], given_[0].features[:15])
    np.testing.assert_array_equal(merged.features[15:], given_[1].features[:15])


def test_federated_coreset_covers_better_than_the_others() -> None:
    given_ = donors([80, 80, 80], spread=0.3)
    radius = {n: AGGREGATIONS[n](given_, MergeSettings(60)).radius for n in AGGREGATIONS}
    assert radius["federated_coreset"] < radius["diversity_preserving"]
    assert radius["diversity_preserving"] < radius["simple_concatenate"]


def test_diversity_keeps_a_quiet_site_that_k_center_crowds_out() -> None:
    rng = np.random.default_rng(0)
    loud = Donor("loud", (rng.normal(size=(200, 4)) * 50).astype(np.float32), 10)
    quiet = Donor("quiet", rng.normal(size=(200, 4)).astype(np.float32), 10)
    crowded = AGGREGATIONS["federated_coreset"]([loud, quiet], MergeSettings(100))
    fair = AGGREGATIONS["diversity_preserving"]([loud, quiet], MergeSettings(100))
    assert (crowded.origin == 1).sum() < 10
    assert (fair.origin == 1).sum() == 50


def test_diversity_does_not_repeat_what_another_site_covers() -> None:
    """Two sites with the same rows: the union has no duplicate until all rows are used."""
    rows = donors([40])[0].features
    merged = AGGREGATIONS["diversity_preserving"](
        [Donor("a", rows, 1), Donor("b", rows.copy(), 1)], MergeSettings(40)
    )
    assert len(np.unique(merged.features, axis=0)) == 40


# -- the medians ----------------------------------------------------------------------

MEDIANS = pytest.mark.parametrize("name", ["coordinate_median", "geometric_median"])


def same_normal(sites: int, seed: int = 0) -> list[Donor]:
    """Sites that see the same 12 modes of normal with small differences."""
    rng = np.random.default_rng(seed)
    modes = rng.normal(size=(12, 6)) * 20
    return [
        Donor(f"s{i}", (np.repeat(modes, 4, 0) + rng.normal(size=(48, 6))).astype(np.float32), 9)
        for i in range(sites)
    ]


@MEDIANS
def test_median_does_not_depend_on_row_order(name: str) -> None:
    """A bank is a set. Rows of one site shuffled: the same bank up to the codebook's start."""
    given_ = same_normal(5)
    rng = np.random.default_rng(1)
    shuffled = [
        Donor(d.site, d.features[rng.permutation(len(d.features))], d.images) for d in given_
    ]
    a = AGGREGATIONS[name](given_, MergeSettings(40))
    b = AGGREGATIONS[name](shuffled, MergeSettings(40))
    everything = np.concatenate([d.features for d in given_])
    for one in (a, b):  # close to what all sites see, whatever the order
        assert covering_radius(everything, one.features) < 6
        assert covering_radius(one.features, everything) < 4
    rowwise = np.median(np.stack([d.features for d in shuffled]), axis=0)
    assert covering_radius(rowwise.astype(np.float32), given_[0].features) > 8  # what not to do


@MEDIANS
def test_one_bad_site_cannot_move_the_median_bank(name: str) -> None:
    honest = same_normal(5)
    everything = np.concatenate([d.features for d in honest[:4]])
    for spoil in (
        lambda x: x * 100,
        lambda x: -x,
        lambda x: np.tile(np.float32([500, 0, 0, 0, 0, 0]), (48, 1)),
    ):
        bad = Donor("s4", spoil(honest[4].features).astype(np.float32), 9)
        merged = AGGREGATIONS[name]([*honest[:4], bad], MergeSettings(40))
        assert covering_radius(merged.features, everything) < 8  # no row where nobody honest is
        assert covering_radius(everything, merged.features) < 12  # and nothing honest is lost


@MEDIANS
def test_what_too_few_sites_support_is_rejected_or_flagged(name: str) -> None:
    given_ = same_normal(4)
    lonely = np.full((6, 6), 300, np.float32)
    given_[0] = Donor("s0", np.concatenate([given_[0].features, lonely]), 9)
    merged = AGGREGATIONS[name](given_, MergeSettings(20))
    assert covering_radius(lonely, merged.features) > 100
    two = AGGREGATIONS[name](given_[1:3], MergeSettings(20))
    assert two.flagged == len(two.features)  # two supporters cannot make a median with f = 1


@MEDIANS
def test_a_product_of_one_site_only_is_flagged_or_dropped_as_told(name: str) -> None:
    alone = same_normal(1)
    admitted = AGGREGATIONS[name](alone, MergeSettings(12))
    assert admitted.flagged == len(admitted.features) == 12
    with pytest.raises(CoresetError, match=f"{name}: only s0 makes this product"):
        AGGREGATIONS[name](alone, MergeSettings(12, single_source="drop"))


@MEDIANS
def test_no_common_cell_is_an_error_that_names_the_aggregation(name: str) -> None:
    apart = [Donor(d.site, d.features + 1000 * i, 9) for i, d in enumerate(same_normal(3))]
    with pytest.raises(CoresetError, match=f"{name}: no cell is supported by more than 1 of 3"):
        AGGREGATIONS[name](apart, MergeSettings(12))


def test_medians_agree_on_cells_and_differ_in_position() -> None:
    given_ = same_normal(5)
    a, b = (
        AGGREGATIONS[n](given_, MergeSettings(12))
        for n in ("coordinate_median", "geometric_median")
    )
    assert a.features.shape == b.features.shape
    assert (a.flagged, a.rejected) == (b.flagged, b.rejected)
    between = np.linalg.norm(a.features - b.features, axis=1)
    assert 0 < between.max() < 3


@MEDIANS
def test_medians_refuse_to_start_with_too_few_sites(name: str) -> None:
    RunConfig(aggregation=name, min_sites=3, tolerated_sites=1)
    with pytest.raises(ValueError, match=f"{name}.*min-sites >= 5"):
        RunConfig(aggregation=name, min_sites=4, tolerated_sites=2)


def test_nothing_to_aggregate_is_an_error() -> None:
    for name in ("federated_coreset", "simple_concatenate", "diversity_preserving"):
        with pytest.raises(CoresetError, match="nothing to aggregate"):
            AGGREGATIONS[name]([], MergeSettings(5))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_registered_name_is_a_module_with_a_function_of_that_name(name: str) -> None:
    module = import_module(f"fedpatchcore.aggregation.{name}")
    assert callable(getattr(module, name))
    assert module.__all__ == [name]
    assert RunConfig(aggregation=name, min_sites=3).aggregation == name
