"""The GPU's search, on a CPU: brute force in float64, with products cut as a GPU cuts them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.detection import on_device, which
from fedpatchcore.detection.on_device import DeviceSearch
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.devices.memory import OutOfMemory
from fedpatchcore.errors import BankError
from tests.detection.test_search import KINDS, brute, cloud
from tests.support.tensorcores import cut_to_tf32

CPU = torch.device("cpu")


@pytest.fixture
def tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products as a GPU may make them: factors cut, not rounded."""
    real = torch.addmm
    monkeypatch.setattr(
        torch, "addmm", lambda b, x, y, alpha: real(b, cut_to_tf32(x), cut_to_tf32(y), alpha=alpha)
    )


def test_what_is_cut_is_within_the_unit() -> None:
    x = torch.rand(10_000) + 1
    apart = (x - cut_to_tf32(x)) / x
    assert 2.0**-11 < apart.max() <= on_device.TF32_UNIT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("table", [on_device.TABLE, 5000])
def test_equal_to_brute_force(kind: str, k: int, table: int, monkeypatch, tensor_cores) -> None:
    monkeypatch.setattr(on_device, "TABLE", table)
    monkeypatch.setattr(on_device, "QUERIES", 37)
    monkeypatch.setattr(on_device, "MANY_PAIRS", 900)
    rows, queries = cloud(kind)
    queries[:9] = rows[100:109]  # distance zero
    rows[400:420] = rows[300:320]  # duplicates
    queries[9:12] = rows[300:303]
    distances, numbers = DeviceSearch(rows, CPU).search(queries, k)
    expected, where = brute(queries, rows, k)
    np.testing.assert_allclose(distances, expected, rtol=2e-6)
    assert (distances[:12, 0] == 0).all()
    if kind in ("one point", "integers"):  # float32 is exact: ties are ties
        np.testing.assert_array_equal(numbers, where)
    else:
        assert (numbers[:12, 0] == where[:12, 0]).all()
        assert (numbers == where).mean() > 0.99


def test_bounds_that_take_cut_products_for_whole_ones_miss_rows(tensor_cores) -> None:
    """Without this the test above could pass by measuring everything."""
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(2, 700, 200)).astype(np.float32)
    expected = brute(queries, rows, 1)[1]
    assert (DeviceSearch(rows, CPU).search(queries)[1] == expected).mean() > 0.999
    assert (DeviceSearch(rows, CPU, cut=False).search(queries)[1] != expected).any()


def test_few_pairs_are_measured(monkeypatch) -> None:
    rows, queries = cloud("structured")
    measured = []
    real = on_device.differences

    def counting(x, at, y, to):
        measured.append(len(at))
        return real(x, at, y, to)

    monkeypatch.setattr(on_device, "differences", counting)
    DeviceSearch(rows, CPU).search(queries)
    assert 2 * len(queries) <= sum(measured) < 0.05 * len(queries) * len(rows)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 9), st.data())
def test_ties_go_to_the_lower_row(d: int, m: int, q: int, data) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows, queries = (rng.integers(-3, 4, size=(n, d)).astype(np.float32) for n in (m, q))
    k = data.draw(st.integers(1, m))
    search = DeviceSearch(rows, CPU)
    search._table = data.draw(st.integers(1, 10 * m))
    distances, numbers = search.search(queries, k)
    for query, found, at in zip(queries, distances, numbers, strict=True):
        expected, where = brute(query[None], rows, k)
        np.testing.assert_array_equal(at, where[0])
        np.testing.assert_allclose(found, expected[0], rtol=1e-6)


@pytest.mark.parametrize("bad", [1e30, -1e19, 1e12])
def test_enormous_rows_and_queries_hide_nobody(bad: float) -> None:
    rows, queries = cloud("structured")
    expected = brute(queries, rows, 1)[0]
    rows = np.concatenate([rows[:350], np.full((300, 200), bad, np.float32), rows[350:]])
    rows[360, ::2] *= -1
    queries = np.concatenate([queries, np.full((2, 200), bad, np.float32)])
    distances, numbers = DeviceSearch(rows, CPU).search(queries)
    np.testing.assert_allclose(distances[:-2], expected, rtol=2e-6)
    assert ((numbers[:-2] < 350) | (numbers[:-2] >= 650)).all()
    assert (distances[-2:] == 0).all() and (numbers[-2:] == 350).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_queries_that_are_no_numbers_are_refused(bad: float) -> None:
    rows, queries = cloud("structured")
    queries[7, 3] = bad
    with pytest.raises(BankError, match="NaN or infinite"):
        DeviceSearch(rows, CPU).search(queries)


@pytest.mark.parametrize("most", [3, 200])
def test_out_of_memory_makes_smaller_blocks_of_it(most: int, monkeypatch, caplog) -> None:
    rows, queries = cloud("structured")
    search = DeviceSearch(rows, CPU)
    expected = search.search(queries, 2)
    real = torch.addmm

    def poor(bias, *more, **how):
        if len(bias) > most:
            raise OutOfMemory("CUDA out of memory")
        return real(bias, *more, **how)

    monkeypatch.setattr(torch, "addmm", poor)
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        found = search.search(queries, 2)
        told = len(caplog.records)
        search.search(queries, 2)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert told and len(caplog.records) == told  # it is learnt


def test_no_queries_no_answers() -> None:
    rows, _ = cloud("structured")
    distances, numbers = DeviceSearch(rows, CPU).search(np.empty((0, 200), np.float32), 4)
    assert distances.shape == numbers.shape == (0, 4)


def test_one_place_decides_who_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    which._trial.cache_clear()
    card = torch.device("cuda", 1)
    assert which.serving(CPU) == "exact"
    for gpus, took, expected in (
        (0, (9.0, 1.0), "torch"),
        (1, (9.0, 1.0), "torch"),  # not this one
        (2, (9.0, 1.0), "FAISS"),
        (2, (1.2, 1.0), "torch"),
    ):
        monkeypatch.setattr(which, "gpus_of_faiss", lambda gpus=gpus: gpus)
        monkeypatch.setattr(which, "DeviceSearch", lambda rows, device, t=took: t[0])
        monkeypatch.setattr(which, "_Faiss", lambda rows, device, t=took: t[1])
        monkeypatch.setattr(which, "_seconds", lambda index, queries: index)
        which._trial.cache_clear()
        assert which.serving(card) == expected
    which._trial.cache_clear()
    assert type(NearestNeighbours(np.eye(3, dtype=np.float32))._index) is which.ExactSearch
