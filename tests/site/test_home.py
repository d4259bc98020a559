"""A vote at home: what a site that trusts its own rows is promised, whatever faulty sites send."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.calibration import calibrate
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.search import Ballot, elected
from fedpatchcore.errors import BankError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.tally import Tally
from fedpatchcore.inprocess import federate
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.normals import by_folds
from fedpatchcore.site.site import Site
from tests.support.fingerprints import FINGERPRINT
from tests.support.products import write_product
from tests.support.strategies import SEEDS
from tests.support.votes import site_distances, sites


def counted(distances: np.ndarray, votes: int, home: int | None) -> np.ndarray:
    return np.take_along_axis(distances, elected(distances, votes, home)[None], axis=0)[0]


# -- the rule -------------------------------------------------------------------------


def test_one_patch_worked_by_hand() -> None:
    """Five sites, one tolerated: away from home the 2nd smallest, at home own or 3rd of four."""
    distances = np.float32([[9, 9], [2, 2], [1, 1], [6, 6], [5, 5]])
    assert elected(distances, 2).tolist() == [1, 1]
    assert elected(distances, 2, home=0).tolist() == [4, 4]  # others 1 2 5 6
    assert elected(distances, 2, home=2).tolist() == [2, 2]  # its own is nearest
    assert elected(distances[:3], 2, home=0).tolist() == [1, 1]  # two others: both must be near
    assert elected(distances[:2], 2, home=0).tolist() == [0, 0]  # one other could be the faulty one
    assert elected(distances[:2], 2).tolist() == [0, 0]


@settings(max_examples=300)
@given(st.data(), st.integers(1, 3), st.integers(0, 5), st.integers(0, 3), SEEDS)
def test_bounds_hold_for_any_distances_of_any_f_liars(data, f, honest, liars, seed) -> None:
    """Liars here choose distances, which is more than rows can do."""
    rng = np.random.default_rng(seed)
    liars = min(liars, f)
    own, others = rng.random((1, 40)) * 3, rng.random((honest, 40)) * 3
    lies = rng.random((liars, 40)) * 3
    for row in lies:
        kind = data.draw(st.sampled_from(["zero", "far", "own", "theirs", "just below", "any"]))
        if kind in ("own", "just below"):
            row[:] = own[0] - (kind == "just below") * 1e-9
        elif kind == "theirs" and honest:
            row[:] = others[rng.integers(honest)]
        elif kind != "any":
            row[:] = 0 if kind == "zero" else 1e30
    stack = np.concatenate([own, others, lies])
    order = rng.permutation(len(stack))
    score = counted(stack[order], f + 1, int(np.flatnonzero(order == 0)[0]))
    ranked, m, v = np.sort(others, axis=0), honest + liars, f + 1
    assert (score <= own[0]).all()  # what it knows itself stays normal
    if m < v:
        np.testing.assert_array_equal(score, own[0])
        return
    witness = ranked[1 if m > v else 0]  # two honest others, or one where just v others are
    assert (score >= np.minimum(own[0], witness)).all()
    asked = v if m > v else v - 1  # rank, from 0
    if honest > asked:
        assert (score <= np.minimum(own[0], ranked[asked])).all()


@settings(max_examples=80)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(1, 4),
    SEEDS,
)
def test_a_ballot_at_home_against_brute_force(sizes, votes: int, k: int, seed: int) -> None:
    rows, origin = sites(sizes, seed)
    home = seed % len(sizes)
    queries = (np.random.default_rng(seed + 1).normal(size=(9, 4)) * 3).astype(np.float32)
    distances, nearest = Ballot(rows, origin, votes, home=home).search(queries, k)
    away = site_distances(queries, rows, origin, min(k, max(sizes)))
    own, others = away[:, home], np.sort(np.delete(away, home, axis=1), axis=1)
    m = others.shape[1]
    expected = own if m < votes else np.minimum(own, others[:, min(votes, m - 1)])
    np.testing.assert_allclose(distances.mean(1), expected, rtol=1e-3, atol=1e-4)
    true = np.linalg.norm(queries[:, None].astype(float) - rows[nearest], axis=2)
    np.testing.assert_allclose(distances, true, rtol=1e-3, atol=1e-3)
    assert (origin[nearest] == origin[nearest[:, :1]]).all()  # all from one site


def test_without_rows_of_ones_own_nobody_is_at_home() -> None:
    rows, origin = sites([9, 8, 7], 4)
    queries = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    plain = Ballot(rows, origin, 2)
    for other in (Ballot(rows, origin, 2, home=7), Ballot(rows, origin, 2, home=1).elsewhere()):
        for a, b in zip(plain.search(queries, 2), other.search(queries, 2), strict=True):
            np.testing.assert_array_equal(a, b)
        assert other.elsewhere() is None


def test_a_smuggled_defect_is_strange_even_to_a_site_whose_neighbour_comes_near() -> None:
    """One honest witness is enough for the vote; at home it takes two."""
    rows, origin = sites([20, 20, 20, 20], 1)
    defect = np.full((1, 4), 30, np.float32)
    rows = np.concatenate([rows, defect, defect + 1])  # the liar's, and a lookalike's
    origin = np.append(origin, [3, 2]).astype(np.int32)
    query = defect[None, None]
    assert Scorer(rows, origin=origin, votes=2)(query).images[0] < 3
    assert Scorer(rows, origin=origin, votes=2, home=0)(query).images[0] > 20
    assert Scorer(rows, origin=origin, votes=2, home=2)(query).images[0] < 3  # its own word


# -- from the bank's header -----------------------------------------------------------


def voted_bank(rows: np.ndarray, origin: np.ndarray, **told) -> MemoryBank:
    scoring = {"neighbours": 1, "reweight": 0, "votes": 2, **told.pop("scoring", {})}
    names = tuple(f"s{i}" for i in range(int(origin.max()) + 1))
    sections = {"plate": Section(rows, origin, 0.1, 0.1)}
    return MemoryBank(FINGERPRINT, sections, names, scoring=scoring, **told)


def test_only_a_header_that_says_so_lets_a_site_trust_itself(tmp_path: Path) -> None:
    rows, origin = sites([9, 4, 7, 8], 2, width=6)
    queries = np.random.default_rng(5).normal(size=(1, 2, 3, 6)).astype(np.float32) * 3
    plain = Scorer(rows, origin=origin, votes=2)(queries).patches
    trusting = Scorer(rows, origin=origin, votes=2, home=1)(queries).patches
    assert (plain != trusting).any()
    old, new = voted_bank(rows, origin), voted_bank(rows, origin, scoring={"home": 1})
    new.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors")
    for bank, site, expected in (
        (old, "s1", plain),
        (new, "", plain),
        (new, "s1", trusting),
        (again, "s1", trusting),
        (again, "a site that sent nothing", plain),
    ):
        np.testing.assert_array_equal(Scorer.of(bank, "plate", site)(queries).patches, expected)
    np.testing.assert_array_equal(Scorer.of(new, "plate", "s1").elsewhere()(queries).patches, plain)
    assert Scorer.of(old, "plate", "s1").elsewhere() is None


def test_a_bank_keeps_thresholds_for_both_ways_to_judge(tmp_path: Path) -> None:
    rows, origin = sites([3, 3, 3], 0, width=6)
    limits = {"plate": {"s0": 1.0, "s1": 2.0}}
    apart = {"plate": {"s0": 5.0, "s1": 7.0, "s2": float("nan")}}
    bank = voted_bank(rows, origin, scoring={"home": 1}, thresholds=limits, vote_thresholds=apart)
    bank.save(tmp_path / "bank.safetensors")
    again = MemoryBank.load(tmp_path / "bank.safetensors")
    assert again.vote_thresholds == {"plate": {"s0": 5.0, "s1": 7.0}}
    assert (again.threshold("plate", "s1"), again.threshold("plate")) == (
        2.0,
        5.0,
    )  # one may be false
    old = voted_bank(rows, origin, thresholds=limits)
    assert "vote_thresholds" not in old.header()
    assert old.threshold("plate") == 1.0


# -- a run ----------------------------------------------------------------------------


@pytest.fixture
def run(settings, backbone, tmp_path: Path):
    told = settings(aggregation="site_vote", min_sites=3, global_bank_size=300)
    members = []
    for at, name in enumerate("abcd"):
        write_product(tmp_path / name / "plate", seed=100 * at)
        cache = SiteCache(tmp_path / "cache" / name, 1.0)
        members.append(Site(name, discover(tmp_path / name), told, backbone, cache=cache))
    return federate(members), members


def test_a_site_calibrates_and_judges_at_home(run, backbone, tmp_path: Path) -> None:
    federation, members = run
    bank, site = federation.bank, members[1]
    assert bank.scoring == {"neighbours": 1, "reweight": 0, "votes": 2, "home": 1}
    told = federation.history[0]["evaluate"]["b"]["products"]["plate"]
    normals = by_folds(site, bank, "plate", Tally())
    for name, value in (
        ("global", bank.threshold("plate", "b")),
        ("elsewhere", told["vote_threshold"]),
    ):
        scores = normals.scored[name].scores
        assert len(scores) == len(site.training_images("plate").used)
        assert value == calibrate(scores, site.config.target_fpr).value
    assert bank.vote_thresholds["plate"]["b"] == told["vote_threshold"]
    assert set(bank.vote_thresholds["plate"]) == set(bank.thresholds["plate"]) == set("abcd")
    values = list(bank.vote_thresholds["plate"].values())
    assert bank.threshold("plate") == pytest.approx(np.median(values))
    _, scored = evaluate_site(site, bank)
    detector = PatchCore(site.config, backbone=backbone).use(bank)
    paths = [t.path for t in scored["plate"].images]
    at_home = [p.score for p in detector.predict(paths, site="b")]
    np.testing.assert_allclose(at_home, scored["plate"].scores, rtol=1e-4)
    anywhere = [p.score for p in detector.predict(paths)]
    assert anywhere != pytest.approx(at_home)
    with pytest.raises(BankError, match=r"knows no site 'x' \(sites: a, b, c, d\)"):
        detector.predict(paths[0], site="x", threshold=1.0)
