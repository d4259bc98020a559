"""Streamed k-center: what it proves of itself, held against brute force on hostile data."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.coreset import blocks
from fedpatchcore.coreset.blocks import BlockCoreset, BlockSelection
from fedpatchcore.coreset.greedy import CoresetSelection, costs, greedy_k_center
from fedpatchcore.coreset.memory import exact_memory, least_memory, rows_at_once
from fedpatchcore.errors import CoresetError
from tests.support.clouds import cloud

KINDS = ("gauss", "duplicates", "clusters", "line", "growing", "one point")


def drawn(kind: str, n: int, seed: int) -> np.ndarray:
    return cloud(kind, n, np.random.default_rng(seed), dimension=3).astype(np.float32)


def reach(rows: np.ndarray, chosen: np.ndarray) -> float:
    """Covering radius by brute force in float64."""
    gaps = rows[:, None].astype(np.float64) - chosen[None].astype(np.float64)
    return float(np.linalg.norm(gaps, axis=2).min(1).max())


def stream(x: np.ndarray, size: int, memory: int, steps: list[int], seed: int) -> BlockSelection:
    made, at, turn = BlockCoreset(size, memory, seed), 0, 0
    while at < len(x):
        step = steps[turn % len(steps)]
        made.add(x[at : at + step])
        at, turn = at + step, turn + 1
    return made.result()


@pytest.mark.long
@settings(max_examples=100)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 400),
    size=st.integers(1, 12),
    spare=st.integers(0, 300),
    steps=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    order=st.sampled_from(["as is", "far first", "far last"]),
)
def test_the_stated_radius_holds_and_so_does_every_prefix(
    kind: str, n: int, size: int, spare: int, steps: list[int], seed: int, order: str
) -> None:
    x = drawn(kind, n, seed)
    if order != "as is":
        far = np.argsort(np.linalg.norm(x, axis=1), kind="stable")
        x = x[far[::-1] if order == "far first" else far]
    made = stream(x, size, least_memory(size, 3) + spare * 12, steps, seed)
    rounding = 1e-5 * float(np.abs(x).max()) + 1e-9
    np.testing.assert_array_equal(x[made.ids], made.rows)  # ids name the rows
    assert len(made.rows) == len(made.radii) <= min(size, n)
    for m in {1, max(1, len(made.rows) // 2), len(made.rows)}:
        assert reach(x, made.rows[:m]) <= made.radii[m - 1] + rounding
    assert made.radius == made.radii[-1]
    assert made.radius <= made.factor_worst * made.at_least * (1 + 1e-6) + rounding
    assert 1 <= made.factor <= made.factor_worst * (1 + 1e-4) or made.radius < 10 * rounding
    again = stream(x, size, least_memory(size, 3) + spare * 12, [n], seed)
    np.testing.assert_array_equal(again.ids, made.ids)  # how rows are cut up does not matter


@settings(max_examples=80)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 13),
    size=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_choice_of_rows_covers_within_less_than_the_lower_bound(
    kind: str, n: int, size: int, seed: int
) -> None:
    """All subsets of rows tried; midpoints of pairs, as free centres, for k = 1."""
    x = drawn(kind, n, seed)
    made = stream(x, size, least_memory(size, 3), [1], seed)
    best = min(reach(x, x[list(some)]) for some in combinations(range(n), min(size, n)))
    rounding = 1e-5 * float(np.abs(x).max())
    assert made.at_least <= best + rounding
    assert reach(x, made.rows) <= made.factor * best + rounding
    if size == 1:
        free = min(reach(x, (a + b)[None] / 2) for a in x for b in x)
        assert made.at_least <= free + rounding


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 300),
    size=st.integers(1, 320),
    steps=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_fits_is_selected_as_if_there_were_no_blocks(
    kind: str, n: int, size: int, steps: list[int], seed: int
) -> None:
    x = drawn(kind, n, seed)
    exactly = exact_memory(n, size, 3)
    assert rows_at_once(size, 3, exactly) == n
    assert rows_at_once(size, 3, exactly - 1) == n - 1
    made, whole = stream(x, size, exactly, steps, seed), greedy_k_center(x, size, seed=seed)
    np.testing.assert_array_equal(made.ids, whole.indices)
    np.testing.assert_array_equal(made.radii, whole.radii)
    assert (made.exact, made.blocks, made.depth, made.seen) == (True, 1, 1, n)
    assert made.radius == whole.radius
    assert made.factor == (2 if whole.radius else 1)


@pytest.mark.parametrize(("times", "base"), [(2.5, 2), (4, 4), (10, 15)])
def test_memory_stays_within_what_is_allowed_and_depth_is_logarithmic(
    times: float, base: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: arrays of the tree at each reduction, and what greedy says it takes."""
    size, dimension, rows = 20, 16, 30_000
    memory, peak, calls = int(times * least_memory(size, dimension)), [], []
    made = BlockCoreset(size, memory)
    row, pick = costs(dimension)

    def watched(x: np.ndarray, k: int, **told) -> CoresetSelection:
        calls.append(len(x))
        held = [
            n.rows.nbytes + n.ids.nbytes + n.radii.nbytes for level in made._levels for n in level
        ]
        own = made._buffer.nbytes + made._ids.nbytes
        chosen = k * (dimension * 4 + 8)
        peak.append(own + sum(held) + len(x) * row + k * pick + chosen)
        return greedy_k_center(x, k, **told)

    monkeypatch.setattr(blocks, "greedy_k_center", watched)
    rng = np.random.default_rng(0)
    for _ in range(rows // 100):
        made.add(rng.normal(size=(100, dimension)))
    found = made.result()
    assert found.seen == rows
    assert max(peak) <= memory
    assert max(peak) >= 0.8 * memory  # it is used, too
    assert made._base == base
    assert found.blocks > 3 * base
    assert found.depth <= np.ceil(np.log(found.blocks) / np.log(base)) + 2
    assert len(calls) < 2.1 * found.blocks
    assert 2 <= found.factor <= found.factor_worst == 2 * found.depth


PEAK = """
import sys
import numpy as np
from fedpatchcore.coreset.blocks import BlockCoreset
from fedpatchcore.coreset.memory import exact_memory, least_memory
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.timing.peaks import peak

total, size, dimension, times = (int(word) for word in sys.argv[1:])
rng = np.random.default_rng(0)

def rows(count):
    x = rng.normal(size=(count, dimension)).astype(np.float32)
    x[:, :6] *= 10
    return x

greedy_k_center(rows(3000), 300)
few = rows(1000)
memory = times * least_memory(size, dimension) or exact_memory(total, size, dimension)
with peak() as before:
    pass
with peak() as found:
    made = BlockCoreset(size, memory)
    for at in range(total // 1000):
        made.add(few + np.float32(at / 10))
    made.result()
print(memory, found.rss - before.rss)
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("total", "size", "dimension", "times"),
    [(40_000, 4000, 512, 0), (200_000, 200, 64, 0), (60_000, 4000, 256, 1), (60_000, 2000, 64, 5)],
    ids=["exact", "exact, few values a row", "least memory", "a tree"],
)
def test_measured_peaks_are_within_what_is_stated(
    total: int, size: int, dimension: int, times: int
) -> None:
    """Resident memory of a fresh process: no more than stated and the fixed 50 MB, nor half."""
    words = [str(word) for word in (total, size, dimension, times)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words], check=True, capture_output=True, text=True
    )
    stated, measured = (int(word) for word in done.stdout.split())
    assert measured <= stated + 50e6
    assert measured >= 0.8 * stated or times  # charged for what is taken, not for more


def test_the_least_memory_is_enough_for_any_number_of_rows() -> None:
    size = 10
    made = BlockCoreset(size, least_memory(size, 2))
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=(50, 2)).astype(np.float32) for _ in range(100)]
    for part in parts:
        made.add(part)
    found = made.result()
    assert reach(np.concatenate(parts), found.rows) <= found.radius
    assert found.depth > 16  # the counter has one place only: a chain, and it says so


def test_too_little_memory_is_refused_only_when_rows_no_longer_fit() -> None:
    memory = least_memory(100, 4) - 1
    made = BlockCoreset(100, memory)
    made.add(np.random.default_rng(0).normal(size=(200, 4)))
    assert made.result().exact
    made = BlockCoreset(100, memory)
    with pytest.raises(CoresetError, match=r"100 rows of 4 values .* take at least 3.12e-05 GB"):
        made.add(np.random.default_rng(0).normal(size=(2000, 4)))
    with pytest.raises(CoresetError, match="a row of 4 values does not fit into 10 bytes"):
        BlockCoreset(1, 10).add(np.ones((1, 4)))


def test_the_callers_ids_survive_the_tree() -> None:
    """Origin of each row, as the server uses it: ids need not be unique."""
    rng = np.random.default_rng(2)
    made = BlockCoreset(8, least_memory(8, 5))
    for site in range(30):
        made.add(rng.normal(size=(40, 5)) + 100 * site, np.full(40, site))
    found = made.result()
    np.testing.assert_array_equal(np.round(found.rows.mean(1) / 100), found.ids)


@pytest.mark.parametrize(
    ("rows", "ids", "words"),
    [
        (np.ones(4), None, "must be a matrix"),
        (np.ones((2, 3)), None, "dimension 3, those before 4"),
        (np.full((2, 4), np.nan), None, "NaN"),
        (np.ones((2, 4)), np.arange(3), "do not fit 2 rows"),
    ],
)
def test_a_bad_block_is_refused_and_changes_nothing(rows, ids, words: str) -> None:
    good = np.random.default_rng(0).normal(size=(30, 4))
    made = BlockCoreset(5, 10**6)
    made.add(good)
    with pytest.raises(CoresetError, match=words):
        made.add(rows, ids)
    assert made.seen == 30
    np.testing.assert_array_equal(made.result().ids, greedy_k_center(good, 5).indices)
    with pytest.raises(CoresetError, match="was made already"):
        made.add(good)


def test_nothing_to_select_from() -> None:
    with pytest.raises(CoresetError, match="no rows"):
        BlockCoreset(3, 10**6).result()
    with pytest.raises(CoresetError, match="at least 1"):
        BlockCoreset(0, 10**6)
