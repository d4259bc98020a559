"""Mean and spread region by region: sensitivity, reading, the bank, and what it costs to ask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import MERGED, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import BankError, ConfigError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.cuts import Cuts, region_cells
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.privacy.regions import RegionSums
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.site.vetting import vet
from tests.support.codebooks import BOOK, D, images
from tests.support.fingerprints import FINGERPRINT
from tests.support.releases import WIDE

VIEW = np.float32([[2, 0, 1], [0, 3, 0], [1, 0, 2]])
DIRECTIONS = np.float32([[1, 0, 0], [0, 0.6, 0.8]])
CUT = BOOK.with_cells(region_cells(VIEW, np.float32([0.1, -0.2, 0]), DIRECTIONS), source="test")
ASKED = {"dp": "moments", "dp_regions": 4, "num_rounds": 2, "dp_projection": 3}


def by_hand(book: Codebook, points: np.ndarray) -> np.ndarray:
    """Second moments of (w, y) a region, patch by patch."""
    d = points.shape[1]
    view, mean, directions = book.cells[:d], book.cells[d], book.cells[d + 1 :]
    blocks = np.zeros((2 ** len(directions), d + 1, d + 1))
    for z in points:
        number = sum(2**j for j, u in enumerate(directions) if float(u @ (z - mean)) > 0)
        a = np.append(book.radius / 2, view @ (z - mean))
        blocks[number] += np.outer(a, a)
    return blocks / np.sqrt((blocks**2).sum())


def test_a_share_is_the_second_moments_of_each_region() -> None:
    points = np.random.default_rng(0).normal(size=(40, 3))
    blocks, share = by_hand(CUT, points), RegionSums(CUT, 1.0).share(BOOK.lift(points))
    assert share.shape == (4, 10)
    for block, row in zip(blocks, share, strict=True):
        upper = np.where(np.eye(4) > 0, 1, np.sqrt(2))[np.triu_indices(4)]
        np.testing.assert_allclose(row, block[np.triu_indices(4)] * upper, atol=1e-5)
    assert np.linalg.norm(share) == pytest.approx(1, abs=1e-6)


@settings(max_examples=60)
@given(images(), st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_no_image_moves_the_sums_by_more_than_one(picture, seed: int, size: float) -> None:
    """Whatever the image, and whatever view, place and directions a server sends."""
    rng = np.random.default_rng(seed)
    cells = (rng.normal(size=(3 + 1 + int(rng.integers(1, 4)), 3)) * size).astype(np.float32)
    for book in (CUT, BOOK.with_cells(cells, source="hostile")):
        assert RegionSums.fits(book)
        assert np.linalg.norm(RegionSums(book, 1.0).share(picture)) <= 1


def rails(rng: np.random.Generator, count: int) -> np.ndarray:
    """Two thin rods side by side."""
    points = rng.normal(size=(count, 3)) * 0.03
    points[:, 0] += rng.uniform(-1, 1, count)
    points[:, 1] += rng.choice([-0.5, 0.5], count)
    return points


def taught(regions: int, sigma: float, seed: int = 0) -> tuple[np.ndarray, dict, int]:
    """Rows, lens and directions that rise above the noise, after two rounds over rods."""
    rng = np.random.default_rng(seed)
    pictures = [BOOK.lift(rails(rng, 200)) for _ in range(150)]
    first = MomentSums(MomentSums.prepared(BOOK, RunConfig(), seed=0), sigma, 1.0, regions)
    total = first.release(first.total(pictures), randbytes=rng.bytes)
    book = first.refined(total, sigma=sigma, seed=0)
    second = RegionSums(book, sigma) if regions > 1 else MomentSums(book, sigma)
    total = second.release(second.total(pictures), randbytes=rng.bytes)
    found = second.read(total, sigma=sigma)
    lens = {"metric": found.metric, "row_metrics": found.row_metrics}
    return found.rows, {k: v for k, v in lens.items() if v is not None}, found.known


@pytest.mark.parametrize("sigma", [0.001, 0.3])
def test_regions_tell_what_lies_between_the_arms_of_a_rails(sigma: float) -> None:
    """One Gaussian calls the middle the most normal place of all; each rod's own does not."""
    inside = BOOK.lift(rails(np.random.default_rng(9), 400))
    between = BOOK.lift(np.array([[x, 0, 0] for x in (-0.8, -0.4, 0.4, 0.8)]))
    apart = {}
    for regions in (1, 4):
        rows, lens, known = taught(regions, sigma)
        assert known >= 3 * regions * 0.9 or sigma > 0.1
        scorer = Scorer(rows, **lens)
        near, far = (scorer(x[:, None, None]).images for x in (inside, between))
        apart[regions] = float((near[:, None] < far).mean())
    assert apart[4] > 0.95 and apart[1] < 0.6


def test_a_region_without_patches_is_no_row_and_nothing_breaks() -> None:
    half = np.abs(np.random.default_rng(1).normal(size=(300, 3))) + 0.2  # one sign of two
    sums = RegionSums(CUT, 0.001)
    found = sums.read(sums.total([BOOK.lift(half)] * 20), sigma=0.001)
    assert len(found.rows) == len(found.row_metrics) == 1
    for values in (0, -(10**9), 10**12):
        odd = sums.read(np.full(sums.shape, values), sigma=1.0)
        assert np.isfinite(odd.row_metrics).all() and np.isfinite(odd.rows).all()
        Section(odd.rows, np.full(len(odd.rows), MERGED, np.int32), 0.1, 0.1).check("a", D, 1)


def test_no_direction_counts_less_than_plain_distance() -> None:
    _, lens, _ = taught(4, 0.3)
    gains = np.linalg.svd(lens["row_metrics"], compute_uv=False)
    assert gains.min() == pytest.approx(1, rel=1e-4) and gains.max() <= 100 * 1.001


def bank_of(rows: np.ndarray, **lens: np.ndarray) -> MemoryBank:
    section = Section(rows, np.full(len(rows), MERGED, np.int32), 0.1, 0.1, **lens)
    return MemoryBank(FINGERPRINT, {"plate": section}, ("a",))


def test_a_bank_keeps_metrics_of_its_rows_and_scores_by_the_nearest(tmp_path) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(3, WIDE)).astype(np.float32)
    metrics = rng.normal(size=(3, WIDE, 5)).astype(np.float32)
    bank_of(rows, row_metrics=metrics).save(tmp_path / "bank.safetensors")
    bank = MemoryBank.load(tmp_path / "bank.safetensors")
    np.testing.assert_array_equal(bank.sections["plate"].row_metrics, metrics)
    patches = rng.normal(size=(2, 4, 6, WIDE)).astype(np.float32)
    found = Scorer.of(bank, "plate")(patches)
    ways = [np.linalg.norm((patches - r) @ m, axis=-1) for r, m in zip(rows, metrics, strict=True)]
    np.testing.assert_allclose(np.stack(found.patches), np.min(ways, axis=0), rtol=1e-4)
    np.testing.assert_array_equal(np.stack(found.nearest), np.argmin(ways, axis=0))


def test_odd_metrics_of_rows_are_refused() -> None:
    rows, good = np.ones((2, WIDE), np.float32), np.ones((2, WIDE, 3), np.float32)
    for lens, why in (
        ({"row_metrics": good[:1]}, "expected"),
        ({"row_metrics": good.astype(np.float64)}, "expected"),
        ({"row_metrics": good * np.float32([[[1]], [[0]]])}, "measures nothing"),
        ({"row_metrics": good * np.float32(np.nan)}, "measures nothing"),
        ({"row_metrics": good, "metric": good[0]}, "beside another"),
    ):
        with pytest.raises(BankError, match=why):
            bank_of(rows, **lens)


def test_a_site_takes_only_as_many_regions_as_the_run_makes() -> None:
    def bank(count: int, wide: int) -> MemoryBank:
        rows = np.ones((count, WIDE), np.float32)
        return bank_of(rows, row_metrics=np.ones((count, WIDE, wide), np.float32))

    config = RunConfig(**ASKED)
    vet(bank(4, 3), config)
    plain = RunConfig(dp="moments", num_rounds=2)
    for one, asked in ((bank(5, 3), config), (bank(4, 4), config), (bank(1, 3), plain)):
        with pytest.raises(BankError, match="metrics of their own"):
            vet(one, asked)


def test_the_second_round_alone_is_of_regions() -> None:
    config = RunConfig(**ASKED)
    first = sums_over(config, MomentSums.prepared(BOOK, config, seed=0), 2)
    assert isinstance(first, MomentSums) and first.sigma == round_sigma(config, 2)
    book = first.refined(
        first.total([BOOK.lift(rails(np.random.default_rng(0), 50))]), sigma=first.sigma, seed=0
    )
    second = sums_over(config, book, 2)
    assert isinstance(second, RegionSums) and second.regions == 4
    assert second.sigma == first.sigma and second.form != first.form
    plain = config.model_copy(update={"dp_regions": 1})
    assert isinstance(sums_over(plain, book, 2), MomentSums)
    cuts = Cuts.of(book.cells)
    np.testing.assert_allclose(np.linalg.norm(cuts.directions, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"dp_regions": 3}, "1, 2, 4 or 8"),
        ({"num_rounds": 1}, "num-rounds=2"),
        ({"num_rounds": 3}, "num-rounds=2"),
        ({"dp": "cells", "dp_projection": 32}, "does nothing"),
        ({"dp_regions": 16}, "dp-regions"),
    ],
)
def test_regions_that_cannot_be_are_refused(more: dict, why: str) -> None:
    told = {key.replace("_", "-"): value for key, value in {**ASKED, **more}.items()}
    with pytest.raises(ConfigError, match=why):
        RunConfig.parse(told, where="run-config")
