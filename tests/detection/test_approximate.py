"""An index that misses rows changes no image score, and is given up if it misses many."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.detection import approximate, scoring
from fedpatchcore.detection.approximate import VerifiedSearch
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import BankError
from tests.support.fingerprints import FINGERPRINT

DIMENSION = 30  # no multiple of 4: codes are padded


def cloud(seed: int, bank: int = 3000, images: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Bank ``[M, D]`` and images ``[n, 5, 5, D]`` of one low-dimensional cloud, some far off."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(8, DIMENSION))
    count = bank + images * 25
    points = rng.normal(size=(count, 8)) @ mixing + 0.1 * rng.normal(size=(count, DIMENSION))
    points = points.astype(np.float32)
    queries = points[bank:].reshape(images, 5, 5, DIMENSION)
    queries[::2, 1, 2] += rng.normal(size=(len(queries[::2]), DIMENSION)).astype(np.float32) * 3
    return points[:bank], queries


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that looks at one list and measures one row: it misses a lot."""
    monkeypatch.setattr(approximate, "LOOKED_AT", 1)
    monkeypatch.setattr(approximate, "PROPOSED", 1)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_exact_however_bad_the_index(blind, seed: int) -> None:
    bank, images = cloud(seed)
    search, exact = VerifiedSearch(bank, checked=0), NearestNeighbours(bank)
    missed = 0
    for image in images:
        patches = image.reshape(-1, DIMENSION)
        found, rows = search.search(patches)
        true, nearest = exact.search(patches)
        assert found.dtype == true.dtype == np.float32
        assert rows.dtype == nearest.dtype == np.int64
        assert (found >= true).all()
        missed += int((found > true).sum())
        worst = int(true.argmax())
        assert int(found.argmax()) == worst
        assert (found[worst], rows[worst]) == (true[worst], nearest[worst])
        apart = patches.astype(float) - bank[rows[:, 0]]
        np.testing.assert_allclose(found[:, 0], np.linalg.norm(apart, axis=1), rtol=1e-5)
    assert missed > 20  # else nothing was shown


def test_a_good_index_is_kept_and_says_what_it_finds(caplog: pytest.LogCaptureFixture) -> None:
    bank, images = cloud(1)
    search, exact = VerifiedSearch(bank, least=0.95), NearestNeighbours(bank)
    with caplog.at_level(logging.INFO, "fedpatchcore"):
        for image in images:
            patches = image.reshape(-1, DIMENSION)
            found, true = search.search(patches)[0], exact.search(patches)[0]
            assert np.mean(found <= true * 1.0001) >= 0.9
    assert not search.given_up
    assert search.recall >= 0.95
    assert caplog.text.count("patches; image scores are exact") == 1
    assert "of 100 patches" in caplog.text  # four images of 25
    np.testing.assert_array_equal(
        search.search(patches, 3)[1], exact.search(patches, 3)[1]
    )  # several neighbours: exact
    np.testing.assert_array_equal(
        search.around(bank, np.array([5, 9]), 4), exact.around(bank, np.array([5, 9]), 4)
    )


def test_a_bad_index_is_given_up_and_said_so(blind, caplog: pytest.LogCaptureFixture) -> None:
    bank, images = cloud(2)
    search, exact = VerifiedSearch(bank), NearestNeighbours(bank)
    for image in images:
        patches = image.reshape(-1, DIMENSION)
        for ours, theirs in zip(search.search(patches), exact.search(patches), strict=True):
            np.testing.assert_array_equal(ours, theirs)  # while it is compared, and afterwards
    assert search.given_up
    assert search.recall < 0.99
    assert "fewer than 99.00%: searching exactly" in caplog.text


def test_one_row_far_away_ends_no_process() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 32)).astype(np.float32)
    rows[5] = 1e19
    found = VerifiedSearch(rows)
    assert found.given_up
    np.testing.assert_array_equal(found.search(rows[:7])[1][:, 0], np.arange(7))


def test_what_is_not_finite_is_refused() -> None:
    bank, images = cloud(3)
    broken = images[0].reshape(-1, DIMENSION).copy()
    broken[4, 4] = np.nan
    with pytest.raises(BankError, match="not finite|NaN"):
        VerifiedSearch(bank, checked=0).search(broken)


def test_a_scorer_asks_for_it_only_where_it_pays(blind, monkeypatch) -> None:
    """Large banks, the nearest row alone; every image of a batch for itself, re-weighted or not."""
    bank, images = cloud(4)
    monkeypatch.setattr(scoring, "WORTHWHILE", len(bank))
    monkeypatch.setattr(approximate, "CHECKED", 0)
    origin = np.arange(len(bank), dtype=np.int32) % 3
    for how, used in (
        ({}, True),
        ({"reweight": 5}, True),
        ({"neighbours": 2}, False),
        ({"votes": 2, "origin": origin}, False),
    ):
        quick = scoring.Scorer(bank, approximate=True, **how)
        exact = scoring.Scorer(bank, **how)
        assert isinstance(quick._index, VerifiedSearch) == used
        found, true = quick(images), exact(images)
        np.testing.assert_array_equal(found.images, true.images)
        assert np.shape(found.patches) == np.shape(true.patches) == images.shape[:3]
        assert (np.array(found.patches) >= np.array(true.patches)).all()
        assert found.nearest[0].dtype == true.nearest[0].dtype
    assert not isinstance(scoring.Scorer(bank[:-1], approximate=True)._index, VerifiedSearch)
    fingerprint = FINGERPRINT.model_copy(update={"dimension": DIMENSION})
    whole = MemoryBank(fingerprint, {"p": Section(bank, origin * 0 - 1, 0.1)})
    assert not isinstance(scoring.Scorer.of(whole, "p")._index, VerifiedSearch)
    assert isinstance(scoring.Scorer.of(whole, "p", approximate=True)._index, VerifiedSearch)
