"""Numbers of a robust run that f faulty sites must not be able to move (docs/robustness.md)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.aggregation.common import covering_radius
from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.deviation import all_but, middle
from fedpatchcore.robustness.alignment import cell_count, row_cap
from fedpatchcore.robustness.medians import central
from fedpatchcore.robustness.sitescores import site_scores
from fedpatchcore.server.judge import judge
from fedpatchcore.server.merging import merge_section, section_line
from fedpatchcore.server.rollcall import call_roll
from fedpatchcore.wire.messages import SiteFacts
from tests.support.fingerprints import UNBOUNDED, fingerprint

ROBUST = ("site_vote", "coordinate_median", "geometric_median")
PLACES = np.random.default_rng(5).normal(size=(12, 6)) * 0.3


def run_of(name: str, *, tolerated: int = 1, **overrides) -> RunConfig:
    told = {"robustness_enabled": True, "robustness_aggregation": name, "min_sites": 7}
    return RunConfig(**told, tolerated_sites=tolerated, global_bank_size=60, **overrides)


def honest(seed: int, rows: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (PLACES[rng.integers(12, size=rows)] + rng.normal(size=(rows, 6)) * 0.05).astype("f4")


def part(rows: np.ndarray, radius: float = 0.1) -> Part:
    return Part(rows, 5, 1000, radius)


def merged(parts: dict[str, Part], config: RunConfig):
    sites = tuple(parts)
    return merge_section(parts, sites, dict.fromkeys(sites, 5), config, device="cpu")


@settings(max_examples=60)
@given(
    st.lists(st.floats(-10, 10), min_size=3, max_size=9),
    st.lists(st.floats(allow_nan=False), max_size=4),
)
def test_order_statistics_stay_within_the_range_of_the_honest(good, bad) -> None:
    f = min(len(bad), (len(good) - 1))
    every = good + bad[:f]
    assert len(every) >= 2 * f + 1
    for found in (middle(every, f), all_but(every, f)):
        assert min(good) <= found <= max(good)
    few = [*bad[:f], good[0]]  # too few to hold from below: never above the honest one
    assert middle(few, f) <= good[0] and all_but(few, f) <= good[0]


@pytest.mark.parametrize("name", ROBUST)
def test_one_surplus_row_does_not_make_the_bank_cover_everything(name: str) -> None:
    """The row is beyond the site's share of the bank, so it lies far from every bank row."""
    parts = {f"s{at}": part(honest(at)) for at in range(3)}
    kind, _ = merged(parts, run_of(name))
    far = np.full((1, 6), 7 / 6**0.5, np.float32)
    parts["s1"] = part(np.concatenate([honest(1), far]))
    section, facts = merged(parts, run_of(name))
    own = [covering_radius(parts[s].features, section.features) for s in ("s0", "s2")]
    assert section.covers <= max(*own, 0.1) + 1e-6
    assert section.radius <= max(own) + 1e-6
    assert facts["reach"] <= max(own) + 0.1 + 1e-6
    assert section.covers < 2 * kind.covers
    assert "every training patch of all sites but 1 within" in section_line("plate", facts)


@pytest.mark.parametrize("name", ROBUST)
def test_a_site_that_claims_a_huge_radius_moves_nothing(name: str) -> None:
    parts = {f"s{at}": part(honest(at)) for at in range(5)}
    before, told = merged(parts, run_of(name, tolerated=2))
    parts |= {s: part(parts[s].features, 1e12) for s in ("s3", "s4")}
    after, facts = merged(parts, run_of(name, tolerated=2))
    assert after.covers == before.covers and after.radius == before.radius
    assert facts["reach"] <= told["reach"] + 0.1


def test_of_two_makers_one_does_not_decide_what_is_covered() -> None:
    far = np.full((1, 6), 7 / 6**0.5, np.float32)
    parts = {"a": part(honest(0)), "b": part(np.concatenate([honest(1), far]), 9.0)}
    section, _ = merged(parts, run_of("site_vote"))
    assert section.covers < 0.7


def test_of_two_makers_one_does_not_flood_the_codebook() -> None:
    assert row_cap([50, 10**6], 1) == row_cap([50, 50], 1) == 50
    assert cell_count([50, 10**6], supporters=3, limit=9999, tolerated=1) == 25


def test_of_two_supporters_of_a_cell_one_is_not_believed_blindly() -> None:
    centre, near, far = np.zeros(2), np.float32([0.3, 0]), np.float32([40, 0])
    for both in ([near, far], [far, near]):
        np.testing.assert_array_equal(central(np.stack(both), centre), near)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_what_few_supporters_agree_on_lies_near_each_honest_one(seed: int, bad: int) -> None:
    rng = np.random.default_rng(seed)
    centre, good = rng.normal(size=4), rng.normal(size=4).astype(np.float32)
    lies = (rng.normal(size=(bad, 4)) * 10.0 ** rng.integers(-3, 20)).astype(np.float32)
    found = central(np.concatenate([lies, good[None]]), centre).astype(np.float64)
    limit = 2 * np.linalg.norm(good - centre)
    assert np.linalg.norm(found - good) <= limit * (1 + 1e-5)


def test_a_site_that_copies_another_pushes_no_third_one_out() -> None:
    """Of three, the copy and the copied are near each other: the third stands out either way."""
    rng = np.random.default_rng(0)
    a = (PLACES[rng.integers(12, size=300)] + rng.normal(size=(300, 6)) * 0.05).astype("f4")
    c = (a + 0.35).astype(np.float32)
    rows = {"a": a, "c": c, "mimic": a + np.float32(1e-4)}
    config = run_of("site_vote", on_outlier="exclude")
    assert site_scores(rows, seed=0)["c"] > config.zscore_threshold
    given = {s: Contribution(s, UNBOUNDED, {"plate": part(x)}) for s, x in rows.items()}
    found = judge(given, config)
    assert set(found.reasons) == {"c"}  # it is said,
    assert found.excluded == set()  # and a person decides


def bank_with(thresholds: dict[str, float], scoring: dict[str, int]) -> MemoryBank:
    rows = np.zeros((1, UNBOUNDED.dimension), np.float32)
    section = Section(rows, np.zeros(1, np.int32), 0.0)
    given = {"plate": thresholds}
    return MemoryBank(
        UNBOUNDED,
        {"plate": section},
        tuple(thresholds),
        scoring={"neighbours": 1, "reweight": 0} | scoring,
        thresholds=given,
        vote_thresholds=given,
    )


@pytest.mark.parametrize("scoring", [{"votes": 2, "home": 1}, {"tolerated": 1}])
def test_of_two_thresholds_one_site_does_not_raise_what_everybody_judges_by(scoring) -> None:
    assert bank_with({"a": 1.0, "b": 1e30}, scoring).threshold("plate") == 1.0
    assert bank_with({"a": 1.0, "b": 2.0, "c": 1e30}, scoring).threshold("plate") == 2.0
    assert bank_with({"a": 1.0, "b": 3.0}, {}).threshold("plate") == 2.0


def test_the_bank_says_how_many_sites_it_withstands() -> None:
    assert run_of("coordinate_median").withstood == 1
    assert RunConfig(aggregation="site_vote", min_sites=5, tolerated_sites=2).withstood == 2
    assert RunConfig(min_sites=5, tolerated_sites=2).withstood == 0


def facts(site: str, **overrides) -> SiteFacts:
    from fedpatchcore.version import VERSION

    print_ = fingerprint(**overrides).to_json()
    return SiteFacts(site, ("plate",), (5,), (0,), "cpu", print_, VERSION)


def test_the_first_that_answers_does_not_choose_the_backbone() -> None:
    other = {"1": facts("a", image_size=128)}
    refused, agreed = call_roll(other, None, tolerated=1)
    assert agreed is None and "takes 2 before the federation rests on it" in refused["1"]
    every = other | {"2": facts("b"), "3": facts("c")}
    refused, agreed = call_roll(every, None, tolerated=1)
    assert set(refused) == {"1"} and agreed == fingerprint()
    assert call_roll(other, None)[1] == fingerprint(image_size=128)


def test_honest_sites_ship_what_is_new_beside_a_surplus_row() -> None:
    """A patch 1.3 away from all that is known is new, whatever one site adds."""
    parts = {f"s{at}": part(honest(at)) for at in range(3)}
    parts["s2"] = part(np.concatenate([honest(2), np.full((1, 6), 7 / 6**0.5, np.float32)]))
    section, _ = merged(parts, run_of("site_vote"))
    new = PLACES[:1].astype(np.float32) + np.float32([[0.9, 0.9, 0, 0, 0, 0]])
    away = NearestNeighbours(section.features).search(new)[0][0, 0]
    assert away > section.covers
