"""Mean and spread from noisy sums: sensitivity, noise, reading, and the bank made of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import MERGED, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import BankError, CoresetError, PrivacyError
from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.moments import MEAN_WEIGHT, MomentSums
from fedpatchcore.privacy.releases import Release
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.server.private_rounds import PrivateRounds
from fedpatchcore.wire.banks import unpack_bank
from fedpatchcore.wire.packing import pack
from tests.support.codebooks import BOOK, BOOKS, D, images, no_image, public, squares
from tests.support.fingerprints import FINGERPRINT
from tests.support.releases import METRIC, WIDE, refuses, reply_of

WIDTH = 1 + 3 + 6  # of a release over three dimensions


# -- sensitivity ----------------------------------------------------------------------


VIEW = np.float32([[4, 0, 3], [0, 100, 0], [3, 0, 4]])
SCALED = [replace(one, cells=VIEW) for one in BOOKS]
POWERS = st.sampled_from([1.0, 0.5, 0.1])


@settings(max_examples=150)
@given(images(), st.floats(0.05, 400), st.sampled_from(BOOKS + SCALED), POWERS)
def test_no_image_contributes_more_than_one(
    x: np.ndarray, sigma: float, book: Codebook, power: float
) -> None:
    sums = MomentSums(book, sigma, power)
    u = sums.contribution(x)
    assert u.dtype == np.int64 and u.shape == sums.shape == (1, WIDTH)
    assert squares(u, sums.step) <= 1


@settings(max_examples=30)
@given(st.lists(images(), min_size=1, max_size=5), images(), images(), st.floats(0.2, 50))
def test_one_image_more_or_less_moves_the_sum_by_its_own_share(data, x, y, sigma) -> None:
    sums = MomentSums(BOOK, sigma)
    base = sums.total(data)
    added, changed = sums.total([*data, x]), sums.total([*data, y])
    np.testing.assert_array_equal(added - base, sums.contribution(x))
    assert squares(added - base, sums.step) <= 1
    assert squares(added - changed, sums.step) <= 4
    np.testing.assert_array_equal(sums.total([x, *data[::-1]]), added)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.01, 1e6), POWERS)
def test_an_image_uses_what_it_may_however_wide_it_is(seed: int, wide: float, power: float) -> None:
    """A bound that is met by sending next to nothing would be no feat."""
    sums = MomentSums(BOOK, 1.0, power)
    x = np.random.default_rng(seed).normal(size=(9, D)).astype(np.float32)
    assert squares(sums.contribution(x * np.float32(wide)), sums.step) > 0.98


def test_equal_patches_have_a_mean_and_no_spread() -> None:
    sums = MomentSums(BOOK, 1e-3)
    for x in (BOOK.lift(np.float32([[1, 2, 3]])), np.full((1, D), 0.3, np.float32)):
        for count in (1, 7, 729):
            u = sums.contribution(np.repeat(x, count, 0))
            assert not u[0, 4:].any() and u[0, :4].any()
            assert squares(u, sums.step) <= MEAN_WEIGHT * (1 + 1e-9)


def test_a_patch_counts_by_its_share_of_the_image() -> None:
    x = np.random.default_rng(3).normal(size=(7, D)).astype(np.float32)
    sums = MomentSums(BOOK, 1.0)
    assert np.abs(sums.contribution(x) - sums.contribution(np.tile(x, (10, 1)))).max() <= 1


@no_image
def test_an_image_that_cannot_be_bounded_is_refused(x: np.ndarray) -> None:
    with pytest.raises(PrivacyError, match="cannot be bounded"):
        MomentSums(BOOK, 1.0).total([x])


# -- noise ----------------------------------------------------------------------------


def test_every_number_of_a_release_has_the_noise_of_sigma() -> None:
    sums = MomentSums(BOOK, 2.5)
    total = sums.total([np.random.default_rng(0).normal(size=(30, D)).astype(np.float32)])
    noise = np.stack([sums.release(total) - total for _ in range(2000)]) * sums.step
    assert abs(noise.mean()) < 5 * 2.5 / math.sqrt(noise.size)
    each = noise.reshape(2000, -1).std(0)
    np.testing.assert_allclose(each, 2.5, rtol=5 / math.sqrt(2 * 2000))


# -- reading --------------------------------------------------------------------------


def slanted(seed: int, count: int = 60) -> tuple[list[np.ndarray], np.ndarray]:
    """Images of 500 patches about one mean with one covariance in the slice of `BOOK`."""
    rng = np.random.default_rng(seed)
    slant = np.linalg.qr(rng.normal(size=(3, 3)))[0] * [1.0, 0.6, 0.3]
    points = rng.normal(size=(count, 500, 3)) @ slant.T * 0.3 + [0.2, -0.3, 0.1]
    return [BOOK.lift(p.astype(np.float32)) for p in points], points


@pytest.mark.parametrize("power", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_without_noise_it_is_the_mahalanobis_distance(seed: int, rounds: int, power: float) -> None:
    """Against numpy's own mean and covariance, up to the one scale that the metric fixes."""
    pictures, points = slanted(seed)
    sums = MomentSums(BOOK, 1e-4, power)
    for number in range(2, rounds + 1):
        book = sums.refined(sums.release(sums.total(pictures)), sigma=sums.sigma, seed=0)
        sums = MomentSums(book, 1e-4, power)
        assert (sums.power, sums.form) == (1.0, ()) and sums.view.max() > 2, number
        c = sums.view @ np.cov(BOOK.project(np.concatenate(pictures)).T) @ sums.view
        np.testing.assert_allclose(c / c[0, 0], np.eye(3), atol=0.15)  # all vary alike
    found = sums.spread(sums.release(sums.total(pictures)))
    queries = np.random.default_rng(9).normal(size=(50, 3))
    flat = points.reshape(-1, 3)
    np.testing.assert_allclose(found.mean, flat.mean(0), atol=0.03)
    away = queries - flat.mean(0)
    covariance = np.cov(flat.T)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away))
    scale = math.sqrt(np.linalg.eigvalsh(covariance)[-1])
    scores = np.linalg.norm((queries - found.mean) @ found.metric, axis=1)
    np.testing.assert_allclose(scores, exact * scale, rtol=0.1)
    assert found.known == 3 and found.error < 1e-3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 50))
def test_no_direction_counts_less_than_in_plain_distance(seed: int, sigma: float) -> None:
    """Within the slice, whatever the noise made of the matrix: a hybrid leans on it."""
    rng = np.random.default_rng(seed)
    sums = MomentSums(BOOK, sigma)
    found = sums.spread(sums.release(sums.total(slanted(seed, 3)[0]), randbytes=rng.bytes))
    gains = np.linalg.svd(found.metric, compute_uv=False)
    assert gains[-1] == pytest.approx(1, rel=1e-5) and gains[0] <= 101
    assert np.linalg.norm(found.mean) <= BOOK.radius * (1 + 1e-5)
    assert found.mean.dtype == found.metric.dtype == np.float32


def test_more_noise_says_less_and_noise_alone_nothing() -> None:
    pictures, _ = slanted(1, 100)
    sums = MomentSums(BOOK, 1.0)
    total = sums.total(pictures)
    by_noise = [sums.spread(total, sigma=s) for s in (0.01, 3.0, 1e4)]  # read as if so noisy
    known = [f.known for f in by_noise]
    assert known[0] == 3 and known == sorted(known, reverse=True) and known[2] == 0
    gains = [np.linalg.svd(f.metric, compute_uv=False)[0] for f in by_noise]
    assert gains[0] > gains[1] > gains[2] and gains[2] == pytest.approx(1, abs=0.02)
    assert np.linalg.norm(by_noise[2].mean) == 0  # shrunk away: the public centre
    for values in (0, -(10**9), 10**12):
        odd = sums.spread(np.full(sums.shape, values))
        assert np.isfinite(odd.metric).all() and np.isfinite(odd.mean).all()


def test_standard_deviations_rise_above_a_noise_that_hides_variances() -> None:
    """Two directions of a hundredth of the variance: known by their square roots alone."""
    rng = np.random.default_rng(2)
    pictures = [
        BOOK.lift((rng.normal(size=(500, 3)) * [1.0, 0.1, 0.1]).astype(np.float32))
        for _ in range(200)
    ]
    known = []
    for power in (1.0, 0.5):
        sums = MomentSums(BOOK, 3.0, power)
        known.append(sums.spread(sums.total(pictures)).known)  # read as if so noisy
    assert known == [1, 3]


def test_powers_are_releases_of_their_own() -> None:
    told = [MomentSums(BOOK, 1.0, power).form for power in (1.0, 0.5, 0.25)]
    assert told == [(), ("power", 0.5), ("power", 0.25)]
    config = CONFIG.model_copy(update={"dp_power": 0.5})
    assert sums_over(config, BOOK, 1).power == 0.5
    fresh = MomentSums.prepared(BOOK, config, seed=0)
    assert np.array_equal(fresh.cells, np.eye(3)) and sums_over(config, fresh, 1).power == 0.5
    assert np.array_equal(MomentSums(SCALED[0], 1.0, 0.5).view, VIEW)
    assert MomentSums(SCALED[0], 1.0, 0.5).power == 1.0
    for odd in (np.eye(3) / 2, np.eye(3) * 101, -np.eye(3), VIEW + np.float32([[0, 1, 0]]).T):
        told = replace(BOOK, cells=odd.astype(np.float32))  # cells of another use
        assert np.array_equal(MomentSums(told, 1.0).view, np.eye(3))


def test_sums_of_two_sites_read_like_one_with_the_noise_of_both() -> None:
    pictures, _ = slanted(2)
    sums = MomentSums(BOOK, 0.01)
    both = sums.release(sums.total(pictures[:40])) + sums.release(sums.total(pictures[40:]))
    apart = sums.spread(both, sigma=0.01 * math.sqrt(2))
    alone = sums.spread(sums.release(sums.total(pictures)))
    np.testing.assert_allclose(apart.mean, alone.mean, atol=0.02)
    squared = [f.metric @ f.metric.T for f in (apart, alone)]
    np.testing.assert_allclose(*squared, rtol=0.1, atol=0.1 * np.abs(squared[0]).max())


# -- what a server takes --------------------------------------------------------------


CONFIG = RunConfig(dp="moments", dp_epsilon=8.0, dp_budget_epsilon=8.0)
reply = partial(reply_of, CONFIG, BOOK)


def made(count: int = 40) -> np.ndarray:
    sums = sums_over(CONFIG, BOOK, CONFIG.num_rounds)
    return sums.release(sums.total(slanted(5, count)[0]))


def test_the_bank_of_a_round_is_one_row_and_its_metric() -> None:
    rounds = PrivateRounds(CONFIG, BOOK)
    values = [made(), made()]
    for site, one in zip("ab", values, strict=True):
        rounds.accept(reply(site, one))
    section, facts = rounds.sections()["plate"]
    sums = sums_over(CONFIG, BOOK, CONFIG.num_rounds)
    expected = sums.spread(values[0] + values[1], sigma=sums.sigma * math.sqrt(2))
    np.testing.assert_array_equal(section.features, BOOK.lift(expected.mean[None]))
    np.testing.assert_allclose(section.metric, BOOK.basis @ expected.metric, rtol=1e-6)
    assert section.origin.tolist() == [MERGED]
    assert (facts["known"], facts["of"], facts["what"]) == (expected.known, 3, "direction")
    before = rounds.codebook("plate")
    rounds.next_round()
    after = rounds.codebook("plate")
    assert rounds.sums == {} and after.digest != before.digest
    assert np.array_equal(after.basis, before.basis)
    assert np.array_equal(after.cells, after.cells.T)
    assert np.linalg.eigvalsh(after.cells)[[0, -1]].tolist() == pytest.approx(
        [1, np.linalg.svd(expected.metric, compute_uv=False)[0]], rel=1e-4
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.zeros((6, 4), np.int64)}, "expected int64"),  # cell sums over this book
        ({"values": np.zeros((WIDTH,), np.int64)}, "expected int64"),
        ({"values": np.zeros((1, WIDTH - 1), np.int64)}, "expected int64"),
        ({"values": np.full((1, WIDTH), np.nan)}, "expected int64"),
        ({"values": np.full((1, WIDTH), 2**60)}, "no images can give"),
        ({"codebook": "0" * 64}, "another codebook"),
        ({"sigma": 0.1}, "says its noise is"),
    ],
)
def test_a_release_that_is_not_what_was_asked_for_is_refused(change, words: str) -> None:
    rounds = PrivateRounds(CONFIG, BOOK)
    with pytest.raises(CoresetError, match=words):
        rounds.accept(reply("a", **{"values": made(2), **change}))
    assert rounds.sums == {}


def test_cell_sums_and_moments_never_pass_for_one_another() -> None:
    """Codebooks are shared: only the shape tells them apart, and it cannot agree."""
    for dimensions in range(1, 60):
        assert 1 + dimensions + dimensions * (dimensions + 1) // 2 != 1 + dimensions
    cells = PrivateRounds(CONFIG.model_copy(update={"dp": "cells"}), public(cells=1))
    one = Release(made(2), round_sigma(CONFIG, CONFIG.num_rounds), public(cells=1).digest)
    with pytest.raises(CoresetError, match="expected int64"):
        cells.accept(replace(reply("a", made(2)), releases={"plate": one}))
    assert CellSums(public(cells=1), 1.0).shape == (1, 4)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"dp_combine": "per-site"}, "no rows to compare"),
        ({"robustness_enabled": True, "min_sites": 3}, "dp='cells' and dp-combine='per-site'"),
        ({"dp_epsilon": 9.0}, "no site could pay"),
    ],
)
def test_settings_that_moments_cannot_serve_are_refused(overrides, words: str) -> None:
    refuses(CONFIG, overrides, words)


# -- the bank -------------------------------------------------------------------------


def bank(metric: np.ndarray | None, rows: int = 3) -> MemoryBank:
    features = np.random.default_rng(1).normal(size=(rows, WIDE)).astype(np.float32)
    section = Section(features, np.full(rows, MERGED, np.int32), 0.5, 0.5, metric=metric)
    plain = Section(features + 1, np.full(rows, MERGED, np.int32), 0.5, 0.5)
    return MemoryBank(FINGERPRINT, {"plate": section, "ring": plain}, ("a",), 1)


def test_a_bank_with_a_metric_survives_its_file_and_the_wire(tmp_path: Path) -> None:
    one = bank(METRIC)
    one.save(tmp_path / "bank.safetensors")
    for again in (MemoryBank.load(tmp_path / "bank.safetensors"), unpack_bank(pack(one))):
        np.testing.assert_array_equal(again.section("plate").metric, METRIC)
        assert again.section("ring").metric is None
        assert again.to_bytes() == one.to_bytes()
    bare = bank(None)
    assert not any("metric" in part for part in bare.header()["sections"])  # as ever


def test_scores_are_distances_under_the_metric() -> None:
    features = np.random.default_rng(3).normal(size=(2, 3, 3, WIDE)).astype(np.float32)
    found = Scorer.of(bank(METRIC), "plate")(features)
    rows = bank(METRIC).section("plate").features
    apart = (features.reshape(-1, 1, WIDE) - rows[None]).astype(np.float64) @ METRIC
    exact = np.linalg.norm(apart, axis=2)
    np.testing.assert_allclose(found.patches.ravel(), exact.min(1), rtol=1e-4)
    np.testing.assert_array_equal(found.nearest.ravel(), exact.argmin(1))
    np.testing.assert_allclose(found.images, exact.min(1).reshape(2, -1).max(1), rtol=1e-4)
    turned = np.linalg.qr(np.random.default_rng(4).normal(size=(WIDE, WIDE)))[0]
    same = Scorer.of(bank(turned.astype(np.float32)), "plate")(features)
    plain = Scorer.of(bank(None), "plate")(features)
    np.testing.assert_allclose(same.patches, plain.patches, rtol=1e-4)


@pytest.mark.parametrize(
    "metric",
    [
        METRIC.astype(np.float64),
        METRIC[:-1],
        METRIC[:, 0],
        METRIC[:, :0],
        np.zeros_like(METRIC),
        np.where(METRIC > 1, np.float32(np.nan), METRIC),
    ],
    ids=["float64", "another length", "flat", "no columns", "zeros", "NaN"],
)
def test_a_metric_that_cannot_measure_is_refused(metric: np.ndarray) -> None:
    with pytest.raises(BankError, match="section 'plate' has a metric"):
        bank(metric)


def test_a_bank_whose_metric_got_lost_is_refused() -> None:
    one = bank(METRIC)
    text, arrays = json.dumps(one.header()), one.arrays()
    lost = {k: v for k, v in arrays.items() if k != "0.metric"}
    with pytest.raises(BankError, match="do not match its header"):
        MemoryBank.from_header(text, lost, where="here")
    with pytest.raises(BankError, match="do not match its header"):
        MemoryBank.from_header(text, {**arrays, "1.metric": METRIC}, where="here")
    wider = json.loads(text)
    wider["sections"][0]["metric"] = 5
    with pytest.raises(BankError, match="do not match its header"):
        MemoryBank.from_header(json.dumps(wider), arrays, where="here")
