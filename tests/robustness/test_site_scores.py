"""Scores of sites: honest differences stay below the threshold, gross faults rise above it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.robustness.sitescores import THRESHOLD, outliers, site_scores

MODES = np.random.default_rng(99).normal(size=(16, 24)) * 3


def rows(modes: np.ndarray, seed: int, *, count: int = 240, light: float = 0.0) -> np.ndarray:
    """Rows spread over modes of normal, all shifted the same way by the site's light."""
    rng = np.random.default_rng(seed)
    shift = np.random.default_rng(seed + 1000).normal(size=MODES.shape[1]) * light
    x = modes[rng.integers(len(modes), size=count)] + rng.normal(size=(count, MODES.shape[1]))
    return (x + shift).astype(np.float32)


def similar(sites: int, seed: int = 0, light: float = 0.0) -> dict[str, np.ndarray]:
    return {f"s{i}": rows(MODES, seed * 100 + i, light=light) for i in range(sites)}


@settings(max_examples=12)
@given(st.integers(3, 9), st.integers(0, 10**4), st.floats(0, 1))
def test_honest_sites_under_other_light_are_not_flagged(n: int, seed: int, light: float) -> None:
    scores = site_scores(similar(n, seed, light), seed=seed)
    assert set(scores) == {f"s{i}" for i in range(n)}
    assert outliers(scores) == []


def test_honest_sites_with_other_variants_are_hardly_ever_flagged() -> None:
    """Every site makes ten of sixteen variants, in amounts that differ by a factor of ten.

    Of 150 such federations one has a site that stands out: a score is no proof.
    """
    flagged = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        sites = {
            f"s{i}": rows(
                MODES[rng.permutation(16)[:10]], seed + i, count=int(rng.integers(60, 600))
            )
            for i in range(3 + seed % 6)
        }
        flagged += bool(outliers(site_scores(sites, seed=0)))
    assert flagged <= 3


def noise(x: np.ndarray) -> np.ndarray:
    spread = x.std(0) * 5
    return (x.mean(0) + np.random.default_rng(1).normal(size=x.shape) * spread).astype(np.float32)


GROSS = {"scaling": lambda x: x * 10, "far": lambda x: x + 100, "noise": noise}


@pytest.mark.parametrize("spoil", GROSS.values(), ids=GROSS)
@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_gross_attackers_are_found_in_any_minority(
    spoil: Callable[[np.ndarray], np.ndarray], n: int
) -> None:
    for bad in range(1, (n - 1) // 2 + 1):
        sites = similar(n, light=0.5)
        for at in range(bad):  # the worst case: they agree among themselves
            sites[f"s{at}"] = spoil(sites["s0"]) if not at else sites["s0"]
        assert sorted(outliers(site_scores(sites, seed=0))) == [f"s{at}" for at in range(bad)]


def test_a_z_score_of_five_sites_can_never_reach_three() -> None:
    """Why these are not z-scores: the largest is (n - 1)/√n, or √(n - 1), however far off."""
    distances = np.array([1.0, 1, 1, 1, 1e9])
    z = (distances - distances.mean()).max()
    assert z / distances.std(ddof=1) == pytest.approx(4 / np.sqrt(5))
    assert z / distances.std() == pytest.approx(2)
    spoilt = similar(5)
    spoilt["s4"] = spoilt["s4"] * 1e6
    assert site_scores(spoilt, seed=0)["s4"] > 1e5


def test_nearly_identical_sites_do_not_explode() -> None:
    base = rows(MODES, 0)
    rng = np.random.default_rng(0)
    sites = {
        f"s{i}": (base + rng.normal(size=base.shape) * 1e-4).astype(np.float32) for i in range(5)
    }
    sites["s4"] = rows(MODES, 7)  # honest, but not a copy
    scores = site_scores(sites, seed=0)
    assert max(map(abs, scores.values())) < THRESHOLD


def test_equal_sites_score_zero_and_copies_do_not_frame_a_third() -> None:
    base = rows(MODES, 0)
    assert set(site_scores(dict.fromkeys("abcd", base), seed=0).values()) == {0.0}
    one = dict.fromkeys("abc", np.ones((5, 3), np.float32))
    assert set(site_scores(one, seed=0).values()) == {0.0}
    mimicked = {"a": base, "b": base.copy(), "c": rows(MODES, 1)}
    assert outliers(site_scores(mimicked, seed=0)) == []


def test_a_flood_weighs_no_more_than_its_content() -> None:
    sites = similar(5)
    plain = site_scores(sites, seed=0)
    sites["s4"] = np.concatenate([sites["s4"], np.repeat(sites["s4"][:1], 5000, 0)])
    flooded = site_scores(sites, seed=0)
    assert outliers(flooded) == []
    assert max(abs(flooded[s] - plain[s]) for s in plain) < 1


def test_two_sites_show_no_majority() -> None:
    sites = {"a": rows(MODES, 0), "b": rows(MODES, 1) * 100}
    assert site_scores(sites, seed=0) == {"a": 0.0, "b": 0.0}
    assert site_scores({}, seed=0) == {}


def test_outliers_are_named_worst_first() -> None:
    assert outliers({"a": 4.0, "b": 3.5, "c": 9.0, "d": -20.0}) == ["c", "a"]
    assert outliers({"a": 4.0, "c": 9.0}, threshold=5) == ["c"]
