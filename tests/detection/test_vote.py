"""Scoring by vote against brute force, and what it promises whatever faulty sites send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedpatchcore.aggregation import AGGREGATIONS, Donor, MergeSettings
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.scoring import PatchScores, Scorer, nearer
from fedpatchcore.detection.search import Ballot, NearestNeighbours
from fedpatchcore.detection.view import clipped
from fedpatchcore.errors import BankError, CoresetError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.inprocess import federate
from fedpatchcore.site.site import Site
from tests.support.fingerprints import FINGERPRINT
from tests.support.products import picture, write_product
from tests.support.strategies import SEEDS
from tests.support.votes import site_distances, sites

pytestmark = pytest.mark.usefixtures("one_thread")


SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@settings(max_examples=80)
@given(SIZES, st.integers(1, 7), st.integers(1, 5), SEEDS)
def test_a_ballot_is_the_order_statistic_of_the_sites(sizes, votes: int, k: int, seed: int) -> None:
    rows, origin = sites(sizes, seed)
    queries = (np.random.default_rng(seed + 1).normal(size=(9, 4)) * 3).astype(np.float32)
    ballot = Ballot(rows, origin, votes)
    assert len(ballot) == sum(sizes)
    distances, nearest = ballot.search(queries, k)
    k = min(k, max(sizes))
    v = min(votes, len(sizes))
    expected = np.sort(site_distances(queries, rows, origin, k), axis=1)[:, v - 1]
    np.testing.assert_allclose(distances.mean(1), expected, rtol=1e-3, atol=1e-4)
    assert nearest.shape == distances.shape == (9, k)
    true = np.linalg.norm(queries[:, None].astype(float) - rows[nearest], axis=2)
    np.testing.assert_allclose(distances, true, rtol=1e-3, atol=1e-3)
    assert (origin[nearest] == origin[nearest[:, :1]]).all()  # all from one site


def test_one_vote_is_the_nearest_row_of_all() -> None:
    rows, origin = sites([20, 5, 1, 30], 3)
    queries = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    one, at = Ballot(rows, origin, 1).search(queries)
    plain, where = NearestNeighbours(rows).search(queries)
    np.testing.assert_allclose(one, plain, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(at, where)


def test_a_ballot_needs_rows_that_somebody_sent() -> None:
    with pytest.raises(BankError, match="origins of shape"):
        Ballot(np.zeros((3, 2), np.float32), np.zeros(2, np.int32), 2)
    with pytest.raises(BankError, match="cannot search"):
        Ballot(np.zeros((0, 2), np.float32), np.zeros(0, np.int32), 2)


@st.composite
def hostile(draw, queries: np.ndarray, honest: np.ndarray) -> np.ndarray:
    """What a faulty site may send: the query itself, others' rows, far rows, one row, a flood."""
    rng = np.random.default_rng(draw(SEEDS))
    kind = draw(st.sampled_from(["copies", "others", "far", "farthest", "one", "noise", "flood"]))
    if kind == "copies":
        return queries.copy()
    if kind == "others":
        return honest[rng.permutation(len(honest))[: draw(st.integers(1, 9))]]
    if kind == "far":
        return (rng.normal(size=(3, 4)) * 1e6).astype(np.float32)
    if kind == "farthest":
        return (rng.choice([-1, 1], size=(4, 4)) * 1e30).astype(np.float32)
    if kind == "one":
        return rng.normal(size=(1, 4)).astype(np.float32)
    if kind == "flood":
        return np.repeat(queries[:1], 200, 0)
    return rng.normal(size=(8, 4)).astype(np.float32) * 3


@settings(max_examples=150)
@given(st.data(), st.integers(1, 2), st.integers(0, 2), st.integers(1, 4), SEEDS)
def test_the_score_stays_between_honest_ones_whatever_f_sites_send(
    data, f: int, more: int, k: int, seed: int
) -> None:
    """d(1) ≤ score ≤ d(f + 1) of the honest sites, patch by patch."""
    rng = np.random.default_rng(seed)
    rows, origin = sites(rng.integers(2, 12, size=f + 1 + more).tolist(), seed)
    queries = (rng.normal(size=(6, 4)) * 4).astype(np.float32)
    for bad in range(f):
        sent = data.draw(hostile(queries, rows))
        rows = np.concatenate([rows, sent])
        origin = np.concatenate([origin, np.full(len(sent), 50 + bad, np.int32)])
    scorer = Scorer(rows, neighbours=k, origin=origin, votes=f + 1)
    found = scorer(queries[None, None]).patches.ravel()
    honest = origin < 50
    width = min(k, np.bincount(origin).max())
    own = np.sort(site_distances(queries, rows[honest], origin[honest], width), axis=1)
    assert (found >= own[:, 0] * (1 - 1e-3) - 1e-3).all()
    assert (found <= own[:, f] * (1 + 1e-3) + 1e-3).all()


def test_without_votes_one_site_makes_its_defect_normal_for_all() -> None:
    """What the bound is worth."""
    rows, origin = sites([20, 20, 20], 1)
    defect = np.full((1, 4), 30, np.float32)
    rows, origin = np.concatenate([rows, defect]), np.append(origin, 2).astype(np.int32)
    query = defect[None, None]
    assert Scorer(rows)(query).images[0] < 1e-2
    assert Scorer(rows, origin=origin, votes=2)(query).images[0] > 20


def test_reweighting_under_a_vote_keeps_scores_above_zero() -> None:
    """1 − exp(‖test − m*‖)/Σ… is a share only if m* is among its own neighbours."""
    rng = np.random.default_rng(0)
    lowest = []
    for seed in range(20):
        rows, origin = sites([12, 12, 12], seed)
        features = (rng.normal(size=(4, 3, 3, 4)) * 2).astype(np.float32)
        lowest.append(Scorer(rows, reweight=1, origin=origin, votes=2)(features).images.min())
    assert min(lowest) >= 0


# -- from the bank's header -----------------------------------------------------------


def bank(rows: np.ndarray, origin: np.ndarray, **scoring: int) -> MemoryBank:
    section = Section(rows, origin, 0.1, 0.1)
    names = tuple(f"s{i}" for i in range(int(origin.max()) + 1))
    told = {"neighbours": 1, "reweight": 0, **scoring}
    return MemoryBank(FINGERPRINT, {"plate": section}, names, scoring=told)


def test_the_header_decides_how_a_bank_is_scored(tmp_path: Path) -> None:
    rows, origin = sites([9, 4, 7], 2, width=6)
    queries = np.random.default_rng(5).normal(size=(1, 2, 3, 6)).astype(np.float32) * 3
    flat = queries.reshape(-1, 6)
    away = np.sort(site_distances(flat, rows, origin, 2), axis=1)
    voted = bank(rows, origin, votes=2, neighbours=2)
    voted.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors")
    for one in (voted, again):
        found = Scorer.of(one, "plate")(queries).patches.ravel()
        np.testing.assert_allclose(found, away[:, 1], rtol=1e-3)
    plain = Scorer.of(bank(rows, origin), "plate")(queries).patches.ravel()
    expected = np.linalg.norm(flat[:, None] - rows, axis=2).min(1)
    np.testing.assert_allclose(plain, expected, rtol=1e-3)


def test_a_clip_in_the_header_clips_queries_too() -> None:
    rows = clipped(np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32) * 5, 1.0)
    assert np.linalg.norm(rows, axis=1).max() <= 1 + 1e-6
    plain = bank(rows, np.zeros(20, np.int32))
    private = replace(plain, privacy={"mechanism": "per-vector", "clip": 1.0})
    long = (rows[:4] * 7).reshape(1, 2, 2, 6)
    assert Scorer.of(private, "plate")(long).patches.max() < 1e-3
    assert Scorer.of(plain, "plate")(long).patches.min() > 1
    short = np.float32([[0.1] * 6, [0] * 6])
    np.testing.assert_array_equal(clipped(short, 1.0), short)


def test_the_hybrid_is_the_smaller_distance_patch_by_patch() -> None:
    rng = np.random.default_rng(0)
    a, b = (
        PatchScores(rng.random((2, 3, 3)), rng.random(2), rng.integers(0, 9, (2, 3, 3)))
        for _ in range(2)
    )
    both = nearer(a, b)
    np.testing.assert_array_equal(both.patches, np.minimum(a.patches, b.patches))
    np.testing.assert_allclose(both.images, np.max(both.patches, (1, 2)))
    assert (both.images <= np.minimum(a.patches.max((1, 2)), b.patches.max((1, 2)))).all()
    where = a.patches <= b.patches
    nearest = np.stack(both.nearest)
    np.testing.assert_array_equal(nearest[where], a.nearest[where])
    np.testing.assert_array_equal(nearest[~where], b.nearest[~where])


# -- the aggregation ------------------------------------------------------------------


def donor(name: str, count: int, images: int, seed: int = 0) -> Donor:
    rows = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return Donor(name, rows, images)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.integers(1, 120), st.booleans())
def test_every_site_has_an_equal_share_of_its_own_first_rows(sizes, size: int, weighted) -> None:
    given_ = [donor(f"s{i}", n, 10**i, i) for i, n in enumerate(sizes)]
    merged = AGGREGATIONS["site_vote"](given_, MergeSettings(size, weighted=weighted, tolerated=1))
    counts = np.bincount(merged.origin, minlength=len(sizes))
    assert counts.sum() == min(size, sum(sizes)) == len(merged.features)
    for at, (count, most) in enumerate(zip(counts, sizes, strict=True)):
        assert count == most or count >= counts.max() - 1  # whoever has less had no more
        kept = merged.features[merged.origin == at]
        np.testing.assert_array_equal(kept, given_[at].features[:count])
    assert merged.flagged == merged.rejected == 0


def test_a_flood_of_rows_buys_no_larger_share() -> None:
    given_ = [donor("flood", 5000, 10**6), donor("a", 40, 5, 1), donor("b", 40, 5, 2)]
    merged = AGGREGATIONS["site_vote"](given_, MergeSettings(60, weighted=True, tolerated=1))
    assert np.bincount(merged.origin).tolist() == [20, 20, 20]


@pytest.mark.parametrize("tolerated", [1, 2])
def test_a_product_that_too_few_make_is_flagged_or_dropped(tolerated: int) -> None:
    given_ = [donor(f"s{i}", 10, 5, i) for i in range(tolerated)]
    admitted = AGGREGATIONS["site_vote"](given_, MergeSettings(50, tolerated=tolerated))
    assert admitted.flagged == len(admitted.features) == 10 * tolerated
    with pytest.raises(CoresetError, match=r"site_vote: only s0.*single-source='drop'"):
        AGGREGATIONS["site_vote"](
            given_, MergeSettings(50, tolerated=tolerated, single_source="drop")
        )
    enough = [*given_, donor("x", 10, 5, 9)]
    assert AGGREGATIONS["site_vote"](enough, MergeSettings(50, tolerated=tolerated)).flagged == 0


# -- rounds ---------------------------------------------------------------------------


@pytest.fixture
def open_(settings: Callable[..., RunConfig], backbone, tmp_path: Path):
    def make(name: str, **overrides) -> Site:
        told = {"aggregation": "site_vote", "min_sites": 3, "global_bank_size": 300, **overrides}
        cache = SiteCache(tmp_path / "cache" / name, 1.0)
        return Site(name, discover(tmp_path / name), settings(**told), backbone, cache=cache)

    return make


def rows_of(bank: MemoryBank, site: str) -> int:
    return int((bank.section("plate").origin == bank.sites.index(site)).sum())


def test_what_other_sites_know_does_not_speak_for_a_site(open_, tmp_path: Path) -> None:
    """New images like another site's: covered by the bank, but not by this site's own part."""
    for at, name in enumerate("abc"):
        write_product(tmp_path / name / "plate", seed=100 * at)
    federation = federate([open_(n) for n in "abc"], evaluate=False)
    assert federation.bank.scoring["votes"] == 2
    assert {rows_of(federation.bank, n) for n in "abc"} == {30}
    good = tmp_path / "a" / "plate" / "train" / "good"
    for at in range(3):
        turned = np.ascontiguousarray(np.asarray(picture(100 + at)).transpose(1, 0, 2))
        Image.fromarray(turned).save(good / f"new-{at}.png")
        Image.fromarray(turned).save(tmp_path / "b" / "plate" / "train" / "good" / f"new-{at}.png")
    federate([open_(n, holdout=0.0) for n in "abc"], federation=federation, evaluate=False)
    told = federation.history[1]["train"]
    assert told["a"]["kind"] == told["b"]["kind"] == "delta"  # neither relies on the other
    assert rows_of(federation.bank, "a") > 30 < rows_of(federation.bank, "b")


def test_a_site_of_which_the_bank_holds_nothing_sends_everything_again(
    open_, tmp_path: Path
) -> None:
    """It was listed, but its rows were left out: nobody else's rows stand in for them."""
    for name in "abc":
        write_product(tmp_path / name / "plate", seed=0)  # all see the same
    federation = federate([open_(n) for n in "abc"], evaluate=False)
    section = federation.bank.section("plate")
    mine = section.origin == 0
    without = replace(
        section, features=section.features[~mine], origin=section.origin[~mine], images={}
    )
    reply = open_("a").train(replace(federation.bank, sections={"plate": without}))
    assert reply.kind == "delta"
    assert len(reply.contribution.parts["plate"].features) == 30
    assert reply.contribution.parts["plate"].radius > 0


def test_a_site_that_joins_late_brings_rows_of_its_own(open_, tmp_path: Path) -> None:
    """Its vote rests on its own rows: with none, it would call everything strange."""
    for name in "abcd":
        write_product(tmp_path / name / "plate", seed=0)  # all see the same
    federation = federate([open_(n) for n in "abc"], evaluate=False)
    federate([open_(n) for n in "abcd"], federation=federation, evaluate=False)
    assert "d" in federation.bank.sites
    assert rows_of(federation.bank, "d") >= 30
