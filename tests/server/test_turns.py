"""Whose turn it is: nobody waits for ever, the same seed chooses the same, gain and time decide."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.server.turns import choose, enough, known_of

SITES = [f"s{n:02}" for n in range(12)]


def config(**told: object) -> RunConfig:
    base = {"backbone": "filterbank", "selection": "adaptive", "sites_per_round": 4, "seed": 3}
    return RunConfig(**{**base, **told})


def trained(seconds: float = 1.0, patches: int = 100, uncovered: int = 100) -> dict:
    stats = {"patches": patches, "uncovered": uncovered}
    return {"round_trip_seconds": seconds, "sections": [stats]}


def judged(uncovered: float) -> dict:
    return {"products": {"plate": {"uncovered": uncovered}}}


def play(
    rounds: int,
    told: RunConfig,
    there: Callable[[int], list[str]] = lambda number: SITES,
    images: Callable[[int, str], int] = lambda number, site: 10,
    reply: Callable[[int, str], dict] = lambda number, site: trained(),
    judge: Callable[[int, str], dict | None] = lambda number, site: None,
    before: list[dict] | None = None,
) -> list[dict]:
    """So many rounds as a server goes through them: the records."""
    history = list(before or ())
    for number in range(len(history) + 1, rounds + 1):
        named: Mapping[str, int] = {site: images(number, site) for site in there(number)}
        choice = choose(named, told, number, images=named, history=history)
        seen = {site: one for site in named if (one := judge(number, site))}
        history.append(
            {
                "round": number,
                "selection": choice.told(named),
                "train": {site: reply(number, site) for site in choice.chosen},
                "evaluate": seen,
            }
        )
    return history


def chosen(history: list[dict]) -> list[list[str]]:
    return [record["selection"]["chosen"] for record in history]


@given(
    sites=st.integers(2, 30),
    count=st.integers(2, 8),
    pause=st.integers(1, 6),
    seed=st.integers(0, 99),
    greedy=st.integers(0, 29),
)
@settings(max_examples=40)
def test_every_site_has_its_turn_within_the_bound(
    sites: int, count: int, pause: int, seed: int, greedy: int
) -> None:
    """One site has ever more images, and would be taken every time."""
    told = config(sites_per_round=count, longest_pause=pause, seed=seed)
    names = [f"s{n}" for n in range(sites)]
    bound = pause + math.ceil(sites / max(count, told.min_sites))
    found = chosen(
        play(
            3 * bound,
            told,
            there=lambda number: names,
            images=lambda number, site: 1000 * number if site == f"s{greedy}" else 10,
        )
    )
    for name in names:
        turns = [0, *(at for at, one in enumerate(found, 1) if name in one), len(found) + 1]
        assert max(b - a for a, b in itertools.pairwise(turns)) <= bound, (name, found)


def test_a_seed_chooses_and_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    whole = play(9, config())
    assert play(9, config(), before=whole[:4]) == whole
    assert chosen(play(9, config(seed=4))) != chosen(whole)
    assert all(len(one) == 4 == len(set(one)) for one in chosen(whole))


def test_what_the_bank_does_not_cover_comes_first() -> None:
    """All judge by the first bank; two sites lie far from it."""
    found = play(
        2,
        config(),
        judge=lambda number, site: judged(0.9 if site in ("s07", "s11") else 0.01),
    )
    fresh = {"s07", "s11"} - set(chosen(found)[0])
    assert fresh
    assert fresh <= set(chosen(found)[1])
    assert all("worth" in found[1]["selection"]["why"][site] for site in fresh)


def test_new_images_count_by_what_such_images_brought_last_time() -> None:
    """Both have 90 more images; what was new at s00 lay outside the bank, at s01 hardly any."""
    first = play(6, config(sites_per_round=4, longest_pause=99))  # each had its turn
    last = {site: known_of(first)[site].last for site in SITES}
    assert min(last.values()) > 0
    for record in first:
        for site, told in record["train"].items():
            told["sections"][0]["uncovered"] = 2 if site == "s01" else 90
    grown = {site: 100 if site in ("s00", "s01") else 10 for site in SITES}
    counts = dict.fromkeys(("s00", "s01"), 0)
    for seed in range(20):
        told = config(longest_pause=99, seed=seed, sites_per_round=2)
        one = choose(grown, told, 7, images=grown, history=first)
        for site in counts:
            counts[site] += "worth" in one.why.get(site, "")
    assert counts["s00"] == 20
    assert counts["s01"] < 12


def test_of_equal_sites_the_slow_one_is_asked_less_and_still_asked() -> None:
    found = chosen(
        play(
            40,
            config(longest_pause=8),
            images=lambda number, site: 10 * number,
            reply=lambda number, site: trained(10.0 if site == "s05" else 1.0),
        )
    )
    turns = {site: sum(site in one for one in found) for site in SITES}
    others = [n for site, n in turns.items() if site != "s05"]
    assert 40 // 12 <= turns["s05"] < min(others)


def test_private_sites_withhold_their_counts_and_all_have_their_turns() -> None:
    found = chosen(play(12, config(longest_pause=4), images=lambda number, site: 0))
    assert set().union(*found) == set(SITES)


def test_a_site_that_was_away_is_not_counted_as_passed_over() -> None:
    history = play(6, config(), there=lambda n: SITES[:-1] if n < 6 else SITES)
    assert known_of(history[:5]).get(SITES[-1]) is None


def test_random_draws_so_many_and_all_are_taken_where_there_are_no_more() -> None:
    told = config(selection="random")
    drawn = chosen(play(30, told))
    assert all(len(one) == 4 for one in drawn)
    assert len({tuple(one) for one in drawn}) > 20
    assert set().union(*drawn) == set(SITES)
    assert choose(SITES[:3], told, 1, images={}, history=[]).passed_over == []
    few = config(sites_per_round=1, min_sites=3)
    assert len(choose(SITES, few, 1, images={}, history=[]).chosen) == 3


def test_the_share_of_methods_that_train_is_the_same_mechanism() -> None:
    told = RunConfig(backbone="filterbank", method="generator", client_fraction=0.25)
    one = choose(SITES, told, 2, images={}, history=[])
    assert len(one.chosen) == 3
    assert set(one.why.values()) == {"drawn"}
    same = RunConfig(
        backbone="filterbank", method="generator", selection="random", sites_per_round=3
    )
    assert choose(SITES, same, 2, images={}, history=[]) == one


def test_when_a_round_need_not_wait() -> None:
    told = config(round_closes_at=0.8, min_sites=2)
    assert [enough(told, n, 10, 0.0) for n in (7, 8, 10)] == [False, True, True]
    timed = config(round_closes_after=30.0, min_sites=3)
    assert [enough(timed, n, 10, 29.0) for n in (3, 9)] == [False, False]
    assert [enough(timed, n, 10, 30.0) for n in (2, 3)] == [False, True]
    assert not enough(config(), 9, 10, 1e9)
    assert not enough(config(round_closes_at=0.1, min_sites=4), 3, 10, 0.0)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"sites_per_round": 3}, "takes selection='random' or 'adaptive'"),
        ({"selection": "adaptive"}, "say how many with sites-per-round"),
        (
            {"selection": "random", "sites_per_round": 3, "method": "generator"}
            | {"client_fraction": 0.5},
            "set one of them",
        ),
        ({"round_closes_at": 0.8, "method": "generator"}, "an update of an older model is stale"),
        (
            {"round_closes_after": 9.0, "dp": "cells", "secure_sums": True, "min_sites": 5},
            "round-closes-after does not go with secure-sums",
        ),
        (
            {"round_closes_at": 0.8, "dp": "cells", "num_rounds": 2},
            "would be charged and not used",
        ),
        ({"selection": "some"}, "selection"),
        ({"round_closes_at": 0.0}, "round-closes-at"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(told: dict, words: str) -> None:
    kebab = {key.replace("_", "-"): value for key, value in told.items()}
    with pytest.raises(ConfigError, match=words):
        RunConfig.parse({"backbone": "filterbank", **kebab}, where="run-config")
