"""Nearest rows against float64 brute force, however the search went about it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpatchcore.detection import exact
from fedpatchcore.detection.exact import ExactSearch
from fedpatchcore.errors import BankError

WHOLE = st.integers(-3, 3).map(float)


def brute(queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and rows by differences in float64; ties to the lower row."""
    queries, rows = queries.astype(float), rows.astype(float)
    squared = np.stack([np.square(rows - q).sum(1) for q in queries])
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squared, order, 1)), order


def cloud(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bank [700, 200] and queries [90, 200]; kinds as the tests name them."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(12, 200))
    low = rng.normal(size=(790, 12)) @ mixing + 0.05 * rng.normal(size=(790, 200))
    points = {
        "structured": low,
        "unstructured": rng.normal(size=(790, 200)),
        "far away": low + 3000,
        "tiny": low * 1e-6,
        "unit": low / np.linalg.norm(low, axis=1, keepdims=True),
        "flat": rng.normal(size=(790, 12)) @ mixing,
        "one point": np.ones((790, 200)),
        "integers": np.round(low / 4),
    }[kind]
    points = points.astype(np.float32)
    return points[:700], points[700:]


KINDS = (
    "structured", "unstructured", "far away", "tiny", "unit", "flat", "one point", "integers",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("block", [exact.ROWS_A_BLOCK, 128, 3])
@pytest.mark.parametrize("together", [exact.DESCRIBED, 40])
def test_equal_to_brute_force(kind: str, k: int, block: int, together: int, monkeypatch) -> None:
    monkeypatch.setattr(exact, "ROWS_A_BLOCK", block)
    monkeypatch.setattr(exact, "DESCRIBED", together)  # of 90 queries
    if together == 40:  # in steps of 16, the last of which are shorter
        monkeypatch.setattr(exact, "PAIRS_A_BLOCK", 16 * min(block, 700))
    rows, queries = cloud(kind)
    queries[:9] = rows[100:109]  # distance zero
    rows[400:420] = rows[300:320]  # duplicates
    queries[9:12] = rows[300:303]
    distances, numbers = ExactSearch(rows).search(queries, k)
    expected, where = brute(queries, rows, k)
    np.testing.assert_allclose(distances, expected, rtol=2e-6)
    assert (distances[:12, 0] == 0).all()
    own = np.linalg.norm(rows[numbers].astype(float) - queries[:, None].astype(float), axis=2)
    np.testing.assert_allclose(own, expected, rtol=2e-6)
    if kind in ("one point", "integers"):  # float32 is exact: ties are ties
        np.testing.assert_array_equal(numbers, where)
    else:
        assert (numbers[:12, 0] == where[:12, 0]).all()
        assert (numbers == where).mean() > 0.99


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda d: st.tuples(
            st.integers(1, 30).flatmap(lambda m: arrays(np.float32, (m, d), elements=WHOLE)),
            st.integers(0, 8).flatmap(lambda n: arrays(np.float32, (n, d), elements=WHOLE)),
        )
    ),
    st.data(),
)
def test_ties_go_to_the_lower_row(points, data) -> None:
    rows, queries = points
    k = data.draw(st.integers(1, len(rows)))
    distances, numbers = ExactSearch(rows).search(queries, k)
    assert distances.shape == numbers.shape == (len(queries), k)
    for query, found, at in zip(queries, distances, numbers, strict=True):
        expected, where = brute(query[None], rows, k)
        np.testing.assert_array_equal(at, where[0])
        np.testing.assert_allclose(found, expected[0], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_of_searching_shows_in_no_bit(kind: str) -> None:
    """A few queries at a time go by whole rows, many by projections: equal answers."""
    rows, queries = cloud(kind, seed=1)
    together = ExactSearch(rows).search(queries, 3)
    one_by_one = ExactSearch(rows)
    for at in range(len(queries)):
        alone = one_by_one.search(queries[at : at + 1], 3)
        np.testing.assert_array_equal(alone[0][0], together[0][at])
        np.testing.assert_array_equal(alone[1][0], together[1][at])


def test_projections_spare_most_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this the tests above could pass by measuring everything."""
    rows, queries = cloud("structured")
    measured = []
    real = exact.squared_distances
    monkeypatch.setattr(
        exact,
        "squared_distances",
        lambda q, at, x, row: measured.append(len(at)) or real(q, at, x, row),
    )
    ExactSearch(rows).search(queries)
    assert 2 * len(queries) <= sum(measured) < 0.02 * len(queries) * len(rows)


@pytest.mark.parametrize("bad", [1e30, -1e19, 1e12])
def test_enormous_rows_hide_nobody(bad: float) -> None:
    rows, queries = cloud("structured")
    expected = brute(queries, rows, 1)[0]
    rows = np.concatenate([rows[:350], np.full((300, 200), bad, np.float32), rows[350:]])
    rows[360, ::2] *= -1
    distances, numbers = ExactSearch(rows).search(queries)
    np.testing.assert_allclose(distances, expected, rtol=2e-6)
    assert ((numbers < 350) | (numbers >= 650)).all()


def test_a_bank_of_enormous_rows_alone_is_far_from_everything() -> None:
    rows = np.full((5, 4), 1e30, np.float32)
    distances, _ = ExactSearch(rows).search(np.zeros((3, 4), np.float32))
    assert (distances > 1e15).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_queries_that_are_no_numbers_are_refused(bad: float) -> None:
    rows, queries = cloud("structured")
    queries[7, 3] = bad
    with pytest.raises(BankError, match="NaN or infinite"):
        ExactSearch(rows).search(queries)


def test_no_queries_no_answers() -> None:
    rows, _ = cloud("structured")
    distances, numbers = ExactSearch(rows).search(np.empty((0, 200), np.float32), 4)
    assert distances.shape == numbers.shape == (0, 4)
