"""Sensitivity, noise and reading of private releases."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import CoresetError, PrivacyError
from fedpatchcore.privacy.accounting import composed_epsilon, gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.per_vector import PerVectorGaussian
from fedpatchcore.privacy.releases import LARGEST, Release
from fedpatchcore.privacy.round_noise import round_sigma
from tests.support.codebooks import BOOK, BOOKS, D, images, no_image, public, squares
from tests.support.strategies import SEEDS

pytestmark = pytest.mark.usefixtures("one_thread")


# -- sensitivity ----------------------------------------------------------------------


@settings(max_examples=120)
@given(images(), st.floats(0.05, 400), st.sampled_from(BOOKS))
def test_no_image_contributes_more_than_one(x: np.ndarray, sigma: float, book: Codebook) -> None:
    sums = CellSums(book, sigma)
    u = sums.contribution(x)
    assert u.dtype == np.int64 and u.shape == sums.shape
    assert squares(u, sums.step) <= 1


def axis_book() -> Codebook:
    """One cell at the origin, axes as directions: projections are exact."""
    one = np.zeros((1, 2), np.float32)
    return Codebook(one[0], np.eye(2, dtype=np.float32), one, np.ones(2, np.float32), 1.0)


def test_the_bound_holds_to_the_last_digit_where_rounding_would_break_it() -> None:
    """Steps that divide α and β: nothing is cut off, and √.2, √.8 are rounded up and down."""
    book = axis_book()
    for parts in range(1, 400):
        sums = CellSums(book, math.sqrt(0.2) * 4096 / parts)
        u = sums.contribution(np.float32([[5, 0]]))
        assert squares(u, sums.step) <= 1
        assert abs(int(u[0, 0]) - parts) <= 1  # and hardly anything was given away for it


def test_a_typical_image_uses_what_it_may() -> None:
    """A bound that is met by sending next to nothing would be no feat."""
    sums = CellSums(BOOK, 1.0)
    x = BOOK.lift(np.full((20, 3), 50, np.float32))
    assert 0.99 < squares(sums.contribution(x), sums.step) <= 1


@settings(max_examples=30)
@given(st.lists(images(), min_size=1, max_size=5), images(), images(), st.floats(0.2, 50))
def test_one_image_more_or_less_moves_the_sum_by_its_own_share(data, x, y, sigma) -> None:
    sums = CellSums(BOOK, sigma)
    base = sums.total(data)
    added, changed = sums.total([*data, x]), sums.total([*data, y])
    np.testing.assert_array_equal(added - base, sums.contribution(x))
    assert squares(added - base, sums.step) <= 1
    assert squares(added - changed, sums.step) <= 4
    np.testing.assert_array_equal(sums.total([x, *data[::-1]]), added)  # whatever the order


def test_a_patch_counts_by_its_share_of_the_image() -> None:
    """The same patches ten times over: the same contribution."""
    x = np.random.default_rng(3).normal(size=(7, D)).astype(np.float32)
    sums = CellSums(BOOK, 1.0)
    one, ten = sums.contribution(x), sums.contribution(np.tile(x, (10, 1)))
    assert np.abs(one - ten).max() <= 1
    assert one.any()


@no_image
def test_an_image_that_cannot_be_bounded_is_refused(x: np.ndarray) -> None:
    with pytest.raises(PrivacyError, match="cannot be bounded"):
        CellSums(BOOK, 1.0).total([x])


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_noise_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(PrivacyError):
        CellSums(BOOK, sigma)
    with pytest.raises(PrivacyError):
        PerVectorGaussian(1.0, sigma)
    with pytest.raises(PrivacyError):
        PerVectorGaussian(sigma if sigma == sigma else -1.0, 1.0 if sigma != math.inf else sigma)


# -- noise ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["system", "injected"])
def test_the_noise_is_that_of_sigma_on_the_lattice(source: str) -> None:
    book = public(cells=60)
    sums = CellSums(book, 2.5)
    kind = {} if source == "system" else {"randbytes": np.random.default_rng(1).bytes}
    total = sums.total([np.random.default_rng(0).normal(size=(30, D)).astype(np.float32)])
    draws = np.stack([sums.release(total, **kind) for _ in range(60)])
    assert draws.dtype == np.int64  # the lattice
    noise = (draws - total) * sums.step
    assert noise.var() == pytest.approx(2.5**2, rel=5 * math.sqrt(2 / noise.size))
    assert abs(noise.mean()) < 5 * 2.5 / math.sqrt(noise.size)
    assert np.unique(draws - total).size > 0.2 * noise.size  # fine enough to hide the value
    each = noise.reshape(60, -1).std(0)  # every coordinate has it, none less
    assert each.min() > 1.2 and each.max() < 4.5
    assert len({d.tobytes() for d in draws}) == 60


def test_equal_randomness_gives_equal_noise_whatever_the_total() -> None:
    sums = CellSums(BOOK, 1.0)
    totals = [np.zeros(sums.shape, np.int64), np.full(sums.shape, 12345, np.int64)]
    one, two = (sums.release(t, randbytes=np.random.default_rng(7).bytes) for t in totals)
    np.testing.assert_array_equal(two - one, 12345)


# -- reading --------------------------------------------------------------------------


@settings(max_examples=10)
@given(SEEDS)
def test_a_known_centroid_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spots = BOOK.cells[[1, 4]] + rng.normal(size=(2, 3)).astype(np.float32) * 0.05
    assert BOOK.assign(spots).tolist() == [1, 4]
    x = np.concatenate([BOOK.lift(spots[:1]).repeat(9, 0), BOOK.lift(spots[1:]).repeat(3, 0)])
    sums = CellSums(BOOK, 1e-3)
    found = sums.centroids(sums.release(40 * sums.contribution(x)))
    known = np.isin(found.cells, [1, 4])  # an empty cell passes for one in 1 of 700 releases
    assert found.cells[known].tolist() == [1, 4] and (found.mass[~known] < 0.02).all()
    np.testing.assert_allclose(found.coordinates[known], spots, atol=5e-3)
    np.testing.assert_allclose(found.mass[known], [40 * 0.75**0.5, 40 * 0.25**0.5], rtol=1e-3)
    assert (found.error[known] < 5e-3).all()


def test_noise_alone_makes_one_cell_and_says_that_it_knows_nothing() -> None:
    """No cell above the noise: the one with most mass is kept, within the radius, finite."""
    for seed in range(30):
        sums = CellSums(BOOK, 5.0)
        drawn = sums.release(
            np.zeros(sums.shape, np.int64), randbytes=np.random.default_rng(seed).bytes
        )
        found = sums.centroids(drawn)
        away = np.linalg.norm(found.coordinates - BOOK.cells[found.cells], axis=1)
        assert 1 <= len(found.cells) <= 2
        assert (away <= BOOK.radius * (1 + 1e-5)).all()
        assert np.isfinite(found.error).all() and (found.mass > 0).all()
    nothing = sums.centroids(np.full(sums.shape, -(10**6), np.int64))
    assert len(nothing.cells) == 1 and np.isfinite(nothing.coordinates).all()


def test_more_noise_keeps_fewer_cells_and_trusts_less() -> None:
    x = [BOOK.lift(BOOK.cells + np.float32(0.1))] * 25
    kept, shifts = [], []
    for sigma in (1e-3, 1.0, 6.0):
        sums = CellSums(BOOK, sigma)
        found = sums.centroids(sums.total(x))  # what is there, read as if it were so noisy
        kept.append(len(found.cells))
        shifts.append(np.linalg.norm(found.coordinates - BOOK.cells[found.cells], axis=1).mean())
    assert kept[0] == len(BOOK) and kept[0] >= kept[1] > kept[2]
    assert shifts[0] > 5 * shifts[2]


def test_sums_of_two_sites_read_like_one_with_the_noise_of_both() -> None:
    x = BOOK.lift(BOOK.cells[[2]] + np.float32(0.05))
    sums = CellSums(BOOK, 0.5)
    both = sums.release(sums.total([x] * 30)) + sums.release(sums.total([x] * 10))
    found = sums.centroids(both, sigma=0.5 * math.sqrt(2))
    assert found.cells.tolist() == [2]
    assert found.mass[0] == pytest.approx(40, abs=8)


# -- what a server takes --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codebook": "0" * 64}, "another codebook"),
        ({"values": np.zeros((6, 3), np.int64)}, "expected int64"),
        ({"values": np.zeros((6, 4), np.int32)}, "expected int64"),
        ({"values": np.zeros((6, 4))}, "expected int64"),
        ({"sigma": 0.999}, "says its noise is 0.999"),
        ({"sigma": math.nan}, "says its noise is nan"),
        ({"values": np.full((6, 4), LARGEST + 1)}, "no images can give"),
        ({"values": np.full((6, 4), -LARGEST - 1)}, "no images can give"),
        ({"values": np.full((6, 4), np.iinfo(np.int64).min)}, "no images can give"),
    ],
    ids=lambda v: "" if isinstance(v, str) else next(iter(v)),
)
def test_a_release_that_is_not_what_was_asked_for_is_refused(change, words: str) -> None:
    good = Release(np.zeros((6, 4), np.int64), 1.0, BOOK.digest)
    good.check((6, 4), BOOK.digest, 1.0, where="here")
    with pytest.raises(CoresetError, match=words):
        replace(good, **change).check((6, 4), BOOK.digest, 1.0, where="here")


# -- rows -----------------------------------------------------------------------------


@settings(max_examples=60)
@given(SEEDS, st.floats(0.1, 5), st.floats(0.01, 20))
def test_rows_are_clipped_and_lie_on_the_lattice(seed: int, clip: float, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(8, 6)) * 10.0 ** rng.integers(-3, 30, size=(8, 1))
    mechanism = PerVectorGaussian(clip, sigma)
    silent = mechanism.release(rows.astype(np.float32), randbytes=quiet)
    assert (np.linalg.norm(silent.astype(float), axis=1) <= clip * (1 + 1e-6)).all()
    steps = silent / mechanism.step
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6 * np.abs(steps).max() + 1e-6)
    short = np.linalg.norm(rows, axis=1) < clip
    np.testing.assert_allclose(silent[short], rows[short], atol=1.01 * mechanism.step)


def quiet(count: int) -> bytes:
    """Randomness that draws zero noise: the uniform number is just below a half."""
    return np.full(count // 8, 2**53 - 1, "<u8").tobytes()


def test_row_noise_has_its_sigma_and_refuses_what_has_no_length() -> None:
    mechanism = PerVectorGaussian(1.0, 3.0)
    drawn = mechanism.release(np.zeros((300, 40), np.float32))
    assert drawn.dtype == np.float32
    assert drawn.var() == pytest.approx(9, rel=0.08)
    for bad in (np.nan, np.inf):
        with pytest.raises(PrivacyError, match="cannot be bounded"):
            mechanism.release(np.float32([[bad, 1.0]]))


def test_an_image_may_own_all_rows_and_the_multiplier_says_so() -> None:
    """Noise for one row of norm C; an image that changes k rows by 2C each moves 2C√k."""
    sigma = 2.0 * gaussian_sigma(1.0, 1e-5)
    mechanism = PerVectorGaussian(2.0, sigma)
    assert mechanism.image_multiplier(25) == pytest.approx(sigma / (2 * 2.0 * 5))
    assert gaussian_epsilon(mechanism.image_multiplier(1) * 2, 1e-5) == pytest.approx(1, rel=1e-6)
    honest = gaussian_epsilon(mechanism.image_multiplier(62), 1e-5)
    assert honest > 10  # of a nominal 1
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(25, 6)).astype(np.float32) * 1e3 for _ in range(2))
    moved = np.linalg.norm(
        mechanism.release(a, randbytes=quiet) - mechanism.release(b, randbytes=quiet)
    )
    assert moved <= sigma / mechanism.image_multiplier(25)


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("epsilon", [0.3, 1.0, 8.0])
def test_all_rounds_together_cost_what_was_asked(rounds: int, epsilon: float) -> None:
    config = RunConfig(dp="cells", dp_epsilon=epsilon, dp_budget_epsilon=epsilon, num_rounds=rounds)
    told = [round_sigma(config, rounds, number) for number in range(1, rounds + 1)]
    spent = composed_epsilon(told, config.dp_delta)
    assert spent <= epsilon * (1 + 1e-9)
    assert spent == pytest.approx(epsilon, rel=1e-6)
