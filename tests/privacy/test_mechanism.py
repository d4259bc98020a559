"""Sensitivity, noise and reading of private releases; codebooks as files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts import discover
from fedpatchcore.errors import CoresetError, PrivacyError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.accounting import composed_epsilon, gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.ledger import Ledger
from fedpatchcore.privacy.mechanism import CellSums, PerVectorGaussian
from fedpatchcore.privacy.policy import ANY, Policy
from fedpatchcore.privacy.releases import LARGEST, Release
from fedpatchcore.server.private_rounds import PrivateRounds
from fedpatchcore.site.private import cell_sigma, private_reply
from fedpatchcore.site.setup import use_threads
from fedpatchcore.site.site import Site
from tests.conftest import picture, write_product
from tests.robustness.test_attacks import FINGERPRINT

D = 5
SEEDS = st.integers(0, 2**31)


def public(seed: int = 0, cells: int = 6, dimensions: int = 3, spread: float = 1.0) -> Codebook:
    rng = np.random.default_rng(seed)
    patches = (rng.normal(size=(400, D)) * spread + rng.normal(size=D)).astype(np.float32)
    return public_codebook(patches, cells, dimensions, seed=seed, source="test")


no_image = pytest.mark.parametrize(
    "x",
    [
        np.empty((0, D), np.float32),
        np.full((3, D), np.nan, np.float32),
        np.float32([[0, 0, np.inf, 0, 0]]),
        np.zeros(D, np.float32),
    ],
    ids=["empty", "NaN", "infinite", "vector"],
)

BOOK = public()
BOOKS = [public(seed, cells=1 + 2 * seed) for seed in range(4)]


@st.composite
def images(draw) -> np.ndarray:
    """One image's patches: ordinary, far away, enormous, all equal, all zero, or on one line."""
    rng = np.random.default_rng(draw(SEEDS))
    count = draw(st.integers(1, 30))
    x = rng.normal(size=(count, D))
    kind = draw(st.sampled_from(["usual", "far", "huge", "equal", "zero", "line", "one huge"]))
    if kind == "far":
        x = x * 10.0 ** draw(st.integers(1, 12))
    elif kind == "huge":
        x = rng.choice([-1, 1], size=x.shape) * 3.4e38
    elif kind == "equal":
        x = np.repeat(x[:1], count, 0)
    elif kind == "zero":
        x = np.zeros_like(x)
    elif kind == "line":
        x = np.outer(np.ones(count), BOOK.basis[:, 0]) * 10.0 ** draw(st.integers(0, 6))
    elif kind == "one huge":
        x[0] = 3.4e38
    return x.astype(np.float32)


def squares(steps: np.ndarray, step: float) -> Fraction:
    """‖steps · step‖₂² without any rounding."""
    return sum(int(v) ** 2 for v in steps.ravel()) * Fraction(step) ** 2


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    use_threads(1)


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
    assert found.cells.tolist() == [1, 4]
    np.testing.assert_allclose(found.coordinates, spots, atol=5e-3)
    np.testing.assert_allclose(found.mass, [40 * 0.75**0.5, 40 * 0.25**0.5], rtol=1e-3)
    assert (found.error < 5e-3).all()


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


# -- codebook -------------------------------------------------------------------------


def test_a_codebook_survives_its_file(tmp_path: Path) -> None:
    BOOK.save(tmp_path / "book.safetensors", FINGERPRINT)
    again, fingerprint = Codebook.load(tmp_path / "book.safetensors")
    assert fingerprint == FINGERPRINT
    assert (again.digest, again.radius, again.source) == (BOOK.digest, BOOK.radius, "test")
    for name, one in BOOK.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], one)
    raw = bytearray((tmp_path / "book.safetensors").read_bytes())
    raw[-3] ^= 1
    (tmp_path / "book.safetensors").write_bytes(raw)
    with pytest.raises(PrivacyError, match="damaged"):
        Codebook.load(tmp_path / "book.safetensors")
    with pytest.raises(PrivacyError, match="does not exist"):
        Codebook.load(tmp_path / "none.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(PrivacyError, match="cannot write codebook"):
        BOOK.save(tmp_path / "file" / "book.safetensors", FINGERPRINT)


def test_the_digest_covers_all_that_gives_a_release_its_meaning() -> None:
    seen = {BOOK.digest}
    for name in ("centre", "cells"):
        other = getattr(BOOK, name).copy()
        other.flat[-1] += np.float32(1e-3)
        seen.add(replace(BOOK, **{name: other}).digest)
    seen.add(replace(BOOK, basis=BOOK.basis[:, ::-1].copy()).digest)  # still orthonormal
    seen.add(replace(BOOK, radius=BOOK.radius * 1.001).digest)
    seen.add(replace(BOOK, cells=BOOK.cells[::-1].copy()).digest)
    assert len(seen) == 6
    assert replace(BOOK, source="other words").digest == BOOK.digest
    assert replace(BOOK, radius=np.float64(BOOK.radius)).digest == BOOK.digest


BAD_BOOKS = {
    "a centre of another length": {"centre": np.zeros(D + 1, np.float32)},
    "a flat basis": {"basis": np.zeros(D, np.float32)},
    "cells of another width": {"cells": np.zeros((4, 2), np.float32)},
    "no cells": {"cells": np.zeros((0, 3), np.float32)},
    "another spread": {"spread": np.zeros(2, np.float32)},
    "float64": {"cells": np.zeros((4, 3))},
    "NaN": {"basis": np.full((D, 3), np.nan, np.float32)},
    "radius 0": {"radius": 0.0},
    "radius NaN": {"radius": math.nan},
    "radius infinite": {"radius": math.inf},
}


@pytest.mark.parametrize("name", BAD_BOOKS)
def test_a_codebook_that_does_not_fit_itself_is_refused(name: str) -> None:
    with pytest.raises(PrivacyError, match="codebook"):
        replace(BOOK, **BAD_BOOKS[name])


def test_a_codebook_without_an_array_is_refused() -> None:
    rest = {k: v for k, v in BOOK.arrays().items() if k != "basis"}
    with pytest.raises(PrivacyError, match="without basis"):
        Codebook.of(rest, 1.0, "x")


def test_public_codebook_says_what_it_cannot_do() -> None:
    few = np.zeros((5, 4), np.float32)
    with pytest.raises(PrivacyError, match="dp-projection=5 is above the 4"):
        public_codebook(few, 2, 5, seed=0, source="x")
    with pytest.raises(PrivacyError, match="too few for dp-cells=9"):
        public_codebook(few, 9, 2, seed=0, source="x")


def test_public_codebook_is_a_slice_along_which_patches_vary() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(900, 6)) * [9, 1e-3, 4, 1e-3, 1e-3, 1e-3] + 3
    book = public_codebook(wide.astype(np.float32), 8, 2, seed=1, source="x")
    np.testing.assert_allclose(book.basis.T @ book.basis, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(book.spread, [9, 4], rtol=0.15)
    rows = wide[:50].astype(np.float32)
    np.testing.assert_allclose(book.lift(book.project(rows)), rows, atol=0.02)
    away = np.linalg.norm(book.project(wide.astype(np.float32)), axis=1)
    assert (away <= book.radius).mean() == pytest.approx(0.99, abs=0.005)
    again = public_codebook(wide.astype(np.float32), 8, 2, seed=1, source="x")
    assert again.digest == book.digest


def test_refining_moves_cells_to_where_the_release_saw_mass_and_nothing_else() -> None:
    spots = np.float32([[2, 0, 0], [-2, 0, 0]])
    new = BOOK.refined(spots, np.array([12.0, 1.0]), seed=4)
    np.testing.assert_array_equal(new.centre, BOOK.centre)
    np.testing.assert_array_equal(new.basis, BOOK.basis)
    np.testing.assert_array_equal(new.spread, BOOK.spread)
    assert new.radius == BOOK.radius and new.cells.shape == BOOK.cells.shape
    assert new.digest != BOOK.digest
    near = np.linalg.norm(new.cells[:, None] - spots, axis=2).min(1)
    assert near.max() < 1.5
    right = (new.cells[:, 0] > 0).sum()
    assert right > len(new) / 2  # most of the mass lies there
    assert BOOK.refined(spots, np.array([12.0, 1.0]), seed=4).digest == new.digest
    assert BOOK.refined(spots, np.array([12.0, 1.0]), seed=5).digest != new.digest
    BOOK.refined(spots, np.array([-1.0, -2.0]), seed=0)  # noise can make masses negative


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
    spent = composed_epsilon([cell_sigma(config)] * rounds, config.dp_delta)
    assert spent <= epsilon * (1 + 1e-9)
    assert spent == pytest.approx(epsilon, rel=1e-6)


# -- a site's images ------------------------------------------------------------------


@pytest.fixture
def book_file(backbone) -> Codebook:
    features, _, _ = Extractor(backbone).all(public_pictures())
    return public_codebook(features.reshape(-1, 128), 8, 4, seed=0, source="pictures")


def public_pictures(count: int = 4) -> list[Path]:
    import tempfile

    folder = Path(tempfile.mkdtemp())
    for at in range(count):
        picture(40_000 + at).save(folder / f"{at}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def answer(settings: Callable[..., RunConfig], backbone, book_file: Codebook, tmp_path: Path):
    """A private reply over a folder; with ``true=True`` the sums that the noise went onto."""

    def make(folder: Path, *, true: bool = False, cache: Path | None = None, **overrides):
        made = {"dp": "cells", "dp_epsilon": 1.0, **overrides}
        config = settings(**made)
        ledger = tmp_path / f"ledger-{len(list(tmp_path.iterdir()))}"
        site = Site(
            "a",
            discover(folder),
            config,
            backbone,
            policy=Policy(ledger),
            cache=SiteCache(cache, 1.0) if cache else None,
        )
        if true:
            drawn = []
            release = CellSums.release

            def spy(self, total, **kwargs):
                drawn.append(total.copy())
                return release(self, total, **kwargs)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(CellSums, "release", spy)
                private_reply(site, {ANY: book_file}, run="r")
            return drawn[0], Ledger(ledger).charges()[0]
        return private_reply(site, {ANY: book_file}, run="r")

    return make


def test_copies_of_a_file_count_once(answer, tmp_path: Path) -> None:
    folder = write_product(tmp_path / "a" / "plate", train=6, good=0, bad=0)
    once, charge = answer(tmp_path / "a", true=True, holdout=0.0)
    good = folder / "train" / "good"
    shutil.copy(good / "000.png", good / "000-again.png")
    shutil.copy(good / "001.png", good / "zzz.png")
    twice, again = answer(tmp_path / "a", true=True, holdout=0.0)
    np.testing.assert_array_equal(once, twice)
    assert charge.images == again.images and len(charge.images) == 6


@pytest.mark.parametrize(("holdout", "cached"), [(0.0, True), (0.4, False)])
def test_one_image_in_a_folder_moves_the_sum_by_one_at_most(
    answer, tmp_path: Path, holdout: float, cached: bool
) -> None:
    """Not the image alone: neither who is held out nor how batches are cut may follow from it."""
    folder = write_product(tmp_path / "a" / "plate", train=9, good=0, bad=0)
    told = {"true": True, "holdout": holdout, "batch_size": 4}
    told |= {"dp_epsilon": 1e6, "dp_budget_epsilon": 1e6}  # steps so fine that all digits show
    if cached:
        told["cache"] = tmp_path / "cache"
    step = CellSums(BOOK, gaussian_sigma(1e6, 1e-5)).step
    before, charge = answer(tmp_path / "a", **told)
    for seed in range(3):
        new = folder / "train" / "good" / f"{seed}-new.png"
        picture(60_000 + seed, defect=True).save(new)
        lonely = tmp_path / f"lonely-{seed}" / "plate" / "train" / "good" / "new.png"
        lonely.parent.mkdir(parents=True)
        shutil.copy(new, lonely)
        alone, _ = answer(lonely.parents[3], true=True, dp_epsilon=1e6, dp_budget_epsilon=1e6)
        after, more = answer(tmp_path / "a", **told)
        np.testing.assert_array_equal(after - before, alone)
        assert 0 < squares(alone, step) <= 1
        assert len(set(more.images) - set(charge.images)) == 1
        assert set(charge.images) < set(more.images)
        new.unlink()


def test_unreadable_files_are_neither_summed_nor_charged(answer, tmp_path: Path) -> None:
    folder = write_product(tmp_path / "a" / "plate", train=6, good=0, bad=0)
    clean, charge = answer(tmp_path / "a", true=True)
    (folder / "train" / "good" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nhello")
    (folder / "train" / "good" / "empty.png").write_bytes(b"")
    dirty, again = answer(tmp_path / "a", true=True, max_bad_images=0.5)
    np.testing.assert_array_equal(clean, dirty)
    assert charge.images == again.images


def test_the_first_codebook_notices_other_images_under_old_names(settings, tmp_path: Path) -> None:
    """Bitmaps of one size have one file size, whatever they show."""
    from fedpatchcore.server.public import first_codebook

    folder = tmp_path / "public"
    folder.mkdir()
    config = settings(dp="cells", dp_codebook=str(folder), dp_cells=4, dp_projection=3)
    for at in range(2):
        picture(at).save(folder / f"{at}.bmp")
    first, fingerprint = first_codebook(config)
    again, _ = first_codebook(config)
    assert again.digest == first.digest and len(first) == 4
    size = (folder / "0.bmp").stat().st_size
    picture(99, defect=True).save(folder / "0.bmp")
    assert (folder / "0.bmp").stat().st_size == size
    assert first_codebook(config)[0].digest != first.digest
    assert fingerprint.dimension == 128


@pytest.mark.parametrize(
    ("source", "words"),
    [("nowhere", "is no folder of public images"), ("empty", "holds no images")],
)
def test_public_images_that_are_not_there_are_named(
    settings, tmp_path: Path, source: str, words: str
) -> None:
    from fedpatchcore.server.public import first_codebook

    (tmp_path / "empty").mkdir()
    with pytest.raises(PrivacyError, match=words):
        first_codebook(settings(dp="cells", dp_codebook=str(tmp_path / source)))


# -- rounds ---------------------------------------------------------------------------


def test_codebooks_of_a_checkpoint_come_back(tmp_path: Path) -> None:
    config = RunConfig(dp="cells", num_rounds=2)
    rounds = PrivateRounds(config, BOOK)
    rounds.codebooks["plate"] = public(5)
    rounds.save(tmp_path / "books", FINGERPRINT)
    other = PrivateRounds(config, public(9))
    other.load(tmp_path / "books")
    assert {n: b.digest for n, b in other.codebooks.items()} == {
        ANY: BOOK.digest,
        "plate": public(5).digest,
    }
    assert other.codebook("unknown").digest == BOOK.digest
    (tmp_path / "books" / "sections.json").write_text("[")
    with pytest.raises(PrivacyError, match="no codebooks to go on with"):
        other.load(tmp_path / "books")
