"""One function an image from noisy sums: sensitivity, reading, and the bank made of them."""

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
from fedpatchcore.detection.view import View, waved
from fedpatchcore.errors import BankError, CoresetError, PrivacyError
from fedpatchcore.privacy import kernels
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.kernels import RIDGE, KernelSums, with_waves
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.server.private_rounds import PrivateRounds
from fedpatchcore.wire.banks import unpack_bank
from fedpatchcore.wire.packing import pack
from tests.support.codebooks import BOOK, BOOKS, D, images, no_image, squares
from tests.support.fingerprints import FINGERPRINT
from tests.support.releases import METRIC, WIDE, refuses, reply_of

WAVY = [with_waves(b, 1 + 20 * at, 0.3 + at, seed=at) for at, b in enumerate(BOOKS)]
BOOK = with_waves(BOOK, 400, 0.5, seed=1)


# -- sensitivity ----------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(images(), st.floats(0.05, 400), st.sampled_from(WAVY))
def test_no_image_contributes_more_than_one(x: np.ndarray, sigma: float, book: Codebook) -> None:
    sums = KernelSums(book, sigma)
    u = sums.contribution(x)
    assert u.dtype == np.int64 and u.shape == sums.shape == (1, 2 * len(book))
    assert squares(u, sums.step) <= 1


@settings(max_examples=30, deadline=None)
@given(st.lists(images(), min_size=1, max_size=5), images(), images(), st.floats(0.2, 50))
def test_one_image_more_or_less_moves_the_sum_by_its_own_share(data, x, y, sigma) -> None:
    sums = KernelSums(WAVY[2], sigma)
    base = sums.total(data)
    added, changed = sums.total([*data, x]), sums.total([*data, y])
    np.testing.assert_array_equal(added - base, sums.contribution(x))
    assert squares(added - base, sums.step) <= 1
    assert squares(added - changed, sums.step) <= 4
    np.testing.assert_array_equal(sums.total([x, *data[::-1]]), added)


@pytest.mark.parametrize("value", [0.0, 1e-30, 3e38])
def test_waves_of_a_hostile_server_neither_raise_nor_exceed_the_bound(value: float) -> None:
    book = replace(BOOK, cells=np.full_like(BOOK.cells, value))
    sums = KernelSums(book, 1.0)
    x = np.random.default_rng(0).normal(size=(9, D)).astype(np.float32)
    assert squares(sums.contribution(x), sums.step) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 1e3))
def test_an_image_uses_what_it_may_wherever_it_is(seed: int, wide: float) -> None:
    sums = KernelSums(BOOK, 1e-3)
    x = np.random.default_rng(seed).normal(size=(9, D)).astype(np.float32)
    assert squares(sums.contribution(x * np.float32(wide)), sums.step) > 0.999


@no_image
def test_an_image_that_cannot_be_bounded_is_refused(x: np.ndarray) -> None:
    with pytest.raises(PrivacyError, match="cannot be bounded"):
        KernelSums(BOOK, 1.0).total([x])


@pytest.mark.parametrize(("waves", "bandwidth"), [(0, 1.0), (5, 0.0), (5, math.nan)])
def test_waves_that_cannot_be_are_refused(waves: int, bandwidth: float) -> None:
    with pytest.raises(PrivacyError, match="waves of bandwidth"):
        with_waves(BOOK, waves, bandwidth, seed=0)


# -- what it says ---------------------------------------------------------------------


def test_waves_stand_for_a_gaussian_kernel() -> None:
    book = with_waves(BOOK, 20_000, 0.7, seed=3)
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    phi = waved(points @ book.cells.T)
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1, rtol=1e-5)
    apart = ((points[:, None] - points[None]) ** 2).sum(-1)
    np.testing.assert_allclose(phi @ phi.T, np.exp(-apart / 2 / 0.7**2), atol=0.03)


def test_rare_patches_are_told_nearly_as_high_as_common_ones() -> None:
    """One patch of ten beside ninety equal ones: their plain mean would say .1 against .9."""
    near = np.random.default_rng(0).normal(size=(90, 3)) * 0.01
    points = np.concatenate([near, near[:10] + [9.0, 0, 0]])
    sums = KernelSums(with_waves(BOOK, 4000, 0.5, seed=1), 1e-3)
    u = sums._share(points)[0]
    asked = np.stack([points[0], points[95], points[95] - [4.5, 0, 0]])
    common, rare, nowhere = waved(asked @ sums.codebook.cells.T) @ u
    assert common > rare > 0.6 * common and abs(nowhere) < 0.1 * common


@pytest.mark.long
def test_coefficients_are_those_of_ridge_regression_of_one() -> None:
    points = np.random.default_rng(2).normal(size=(12, 3))
    book = with_waves(BOOK, 5000, 0.5, seed=1)
    found = KernelSums(book, 1e-3)._share(points)[0]
    phi = waved(points @ book.cells.T.astype(np.float64))
    primal = np.linalg.solve(phi.T @ phi + RIDGE * np.eye(10_000), phi.sum(0))  # in waves, not K
    cosine = found @ primal / np.linalg.norm(primal)
    assert cosine > 0.999


def test_an_image_of_many_patches_is_known_by_evenly_spread_ones(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "MOST", 10)
    sums = KernelSums(BOOK, 1e-3)
    x = np.random.default_rng(3).normal(size=(25, D)).astype(np.float32)
    np.testing.assert_array_equal(sums.contribution(x), sums.contribution(x[::3]))
    assert squares(sums.contribution(x), sums.step) <= 1


# -- a round and its bank -------------------------------------------------------------

CONFIG = RunConfig(dp="kernel", dp_epsilon=8.0, dp_budget_epsilon=8.0)
reply = partial(reply_of, CONFIG, BOOK)


def pictures(count: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [BOOK.lift((rng.normal(size=(30, 3)) * 0.2).astype(np.float32)) for _ in range(count)]


def made(count: int = 60) -> np.ndarray:
    sums = sums_over(CONFIG, BOOK, CONFIG.num_rounds)
    return sums.release(sums.total(pictures(count)))


def test_the_bank_of_a_round_scores_what_images_hold_below_what_they_do_not() -> None:
    rounds = PrivateRounds(CONFIG, BOOK)
    values = [made(), made()]
    for site, one in zip("ab", values, strict=True):
        rounds.accept(reply(site, one))
    section, facts = rounds.sections()["plate"]
    sums = sums_over(CONFIG, BOOK, CONFIG.num_rounds)
    total = (values[0] + values[1])[0]
    assert section.origin.tolist() == [MERGED] and facts["what"] == "wave" and facts["known"] > 9
    np.testing.assert_array_equal(section.features, BOOK.centre[None])
    length = np.linalg.norm(section.amplitudes)
    assert length == pytest.approx(BOOK.radius, rel=1e-5)
    np.testing.assert_allclose(
        section.amplitudes / length, total / np.linalg.norm(total), atol=1e-6
    )
    scorer = Scorer(section.features, metric=section.metric, amplitudes=section.amplitudes)
    usual = pictures(1)[0].reshape(1, 5, 6, D)
    odd = usual + BOOK.basis[:, 0] * np.float32(3)
    assert scorer(usual).patches.max() < scorer(odd).patches.min()
    # against the formula in float64
    phi = waved(BOOK.project(usual.reshape(-1, D)) @ BOOK.cells.T.astype(np.float64))
    exact = np.linalg.norm(phi * length - section.amplitudes, axis=1)
    np.testing.assert_allclose(scorer(usual).patches.ravel(), exact, rtol=1e-4)
    before = rounds.codebook("plate").digest
    rounds.next_round()
    assert rounds.sums == {} and rounds.codebook("plate").digest == before
    assert sums.sigma == round_sigma(CONFIG, CONFIG.num_rounds)


def test_noise_alone_knows_no_wave_and_silence_is_read_too() -> None:
    sums = KernelSums(BOOK, 1.0)
    found = sums.normality(made(), sigma=1e4)
    assert found.known == 0 and found.error == pytest.approx(BOOK.radius)
    nothing = sums.normality(np.zeros(sums.shape, np.int64))
    assert np.isfinite(nothing.amplitudes).all() and nothing.amplitudes.any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.zeros((400, 4), np.int64)}, "expected int64"),  # cell sums over this book
        ({"values": np.zeros((1, 10), np.int64)}, "expected int64"),  # moments
        ({"values": np.full((1, 800), np.nan)}, "expected int64"),
        ({"values": np.full((1, 800), 2**60)}, "no images can give"),
        ({"codebook": "0" * 64}, "another codebook"),
        ({"sigma": 0.1}, "says its noise is"),
    ],
)
def test_a_release_that_is_not_what_was_asked_for_is_refused(change, words: str) -> None:
    rounds = PrivateRounds(CONFIG, BOOK)
    with pytest.raises(CoresetError, match=words):
        rounds.accept(reply("a", **{"values": made(2), **change}))
    assert rounds.sums == {}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"num_rounds": 2}, "dp='kernel' takes num-rounds=1"),
        ({"dp_combine": "per-site"}, "no rows to compare"),
        ({"reweight": 3}, "it takes reweight=0"),
        ({"robustness_enabled": True, "min_sites": 3}, "dp='cells' and dp-combine='per-site'"),
        ({"dp_bandwidth": 0.0}, "dp-bandwidth"),
        ({"dp_waves": 0}, "dp-waves"),
    ],
)
def test_settings_that_kernels_cannot_serve_are_refused(overrides, words: str) -> None:
    refuses(CONFIG, overrides, words)


AMPLITUDES = np.random.default_rng(3).normal(size=8).astype(np.float32)


def bank(amplitudes: np.ndarray | None, rows: int = 1, metric=METRIC) -> MemoryBank:
    features = np.random.default_rng(1).normal(size=(rows, WIDE)).astype(np.float32)
    origin = np.full(rows, MERGED, np.int32)
    section = Section(features, origin, 0.5, 0.5, metric=metric, amplitudes=amplitudes)
    return MemoryBank(FINGERPRINT, {"plate": section}, ("a",), 1)


def test_a_bank_with_amplitudes_survives_its_file_and_the_wire(tmp_path: Path) -> None:
    one = bank(AMPLITUDES)
    one.save(tmp_path / "bank.safetensors")
    for again in (MemoryBank.load(tmp_path / "bank.safetensors"), unpack_bank(pack(one))):
        np.testing.assert_array_equal(again.section("plate").amplitudes, AMPLITUDES)
        assert again.to_bytes() == one.to_bytes()
    text, arrays = json.dumps(one.header()), one.arrays()
    lost = {k: v for k, v in arrays.items() if k != "0.amplitudes"}
    for wrong in (lost, {**arrays, "0.amplitudes": AMPLITUDES[:6]}):
        with pytest.raises(BankError, match="do not match its header"):
            MemoryBank.from_header(text, wrong, where="here")


@pytest.mark.parametrize(
    "wrong",
    [
        {"amplitudes": AMPLITUDES[:6]},
        {"amplitudes": AMPLITUDES.astype(np.float64)},
        {"amplitudes": np.zeros_like(AMPLITUDES)},
        {"amplitudes": np.where(AMPLITUDES > 0, np.float32(np.nan), AMPLITUDES)},
        {"amplitudes": AMPLITUDES, "rows": 2},
        {"amplitudes": AMPLITUDES, "metric": None},
    ],
)
def test_amplitudes_that_cannot_measure_are_refused(wrong: dict) -> None:
    with pytest.raises(BankError, match="section 'plate' has amplitudes"):
        bank(**wrong)


def test_the_view_of_a_patch_is_as_long_as_the_amplitudes() -> None:
    part = bank(AMPLITUDES).section("plate")
    view = View(part.features, part.metric, part.amplitudes)
    seen = view(np.random.default_rng(0).normal(size=(2, 3, WIDE)).astype(np.float32))
    assert seen.shape == (2, 3, 8) and seen.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(seen, axis=-1), np.linalg.norm(AMPLITUDES), rtol=1e-5)
