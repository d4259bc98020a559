"""What a site allows, whatever a run asks for: no exit goes by the ledger."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError, PrivacyError
from fedpatchcore.privacy.ledger import Ledger
from fedpatchcore.privacy.policy import Policy
from tests.support.ledgers import DELTA, ONE, never, put

RUN = {"dp": "cells", "dp_epsilon": 1.0, "dp_budget_epsilon": 1.0}


@pytest.mark.parametrize("words", [{"required": True, "budget": 2.0}, {"budget": 2.0}])
@pytest.mark.parametrize(
    ("run", "mends"),
    [({"dp": "off"}, "run with -c dp="), ({**RUN, "dp_share_metrics": True}, "dp-share-metrics")],
)
def test_a_site_with_a_cap_lets_no_run_by_that_has_none(
    tmp_path: Path, words: dict, run: dict, mends: str
) -> None:
    policy = Policy(tmp_path, **words)
    with pytest.raises(PrivacyError, match="site 'north' sends nothing without") as told:
        policy.allow(RunConfig(**run), "north")
    assert mends.replace("-c ", "") in str(told.value)
    policy.allow(RunConfig(**RUN), "north")
    assert policy.limit(RunConfig(**{**RUN, "dp_budget_epsilon": 10**6})) == 2.0


def test_a_site_without_words_takes_part_in_anything(tmp_path: Path) -> None:
    for run in ({}, RUN, {**RUN, "dp_share_metrics": True}):
        Policy(tmp_path).allow(RunConfig(**run), "north")


def test_privacy_that_is_required_needs_a_cap(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="set dp-budget-epsilon"):
        Policy(tmp_path, required=True)
    with pytest.raises(ConfigError, match="set dp-budget-epsilon"):
        NodeConfig.parse({"dp-required": True}, where="node-config")
    assert NodeConfig(dp_required=True, dp_budget_epsilon=1.0).dp_required


def test_a_run_cannot_ask_for_more_than_it_said(ledger: Ledger) -> None:
    """Thirty releases of one run, each of which costs what the run said that all would."""
    put(ledger, 0, run="run", run_epsilon=1.0)
    for at in range(1, 30):
        with pytest.raises(PrivacyError, match="has answered this run.*dp-epsilon is 1"):
            put(ledger, at, run="run", run_epsilon=1.0, draw=never)
    assert ledger.spent(DELTA) == pytest.approx(1.0)
    put(ledger, 0, run="run", run_epsilon=1.0, draw=never)  # a retry costs nothing
    put(ledger, "other run", run="next", run_epsilon=1.0)
    put(ledger, "other images", ["i9"], run="run", run_epsilon=1.0)


@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_a_run_of_several_rounds_has_what_it_said_and_no_more(ledger: Ledger, rounds: int) -> None:
    words = {"run": "run", "run_epsilon": 1.0, "multiplier": ONE * math.sqrt(rounds)}
    for at in range(rounds):
        put(ledger, at, **words)
    with pytest.raises(PrivacyError, match="has answered this run"):
        put(ledger, rounds, **words, draw=never)
    assert ledger.spent(DELTA) == pytest.approx(1.0)


def test_figures_that_leave_take_a_run_of_one_round() -> None:
    with pytest.raises(ConfigError, match="dp-share-metrics takes num-rounds=1"):
        RunConfig.parse(
            {"dp": "cells", "dp-share-metrics": True, "num-rounds": 2}, where="run-config"
        )


MASKS = {"secure_sums": True, "min_sites": 3}
STUDENT = {"method": "student", "min_sites": 3}


@pytest.mark.parametrize(
    ("words", "run", "mends"),
    [
        ({"masked": ("figures",)}, {}, "run with secure-figures=true"),
        ({"masked": ("figures",)}, {**RUN, "secure_sums": True}, "run with secure-figures=true"),
        (
            {"masked": ("figures", "updates")},
            {**STUDENT, "secure_figures": True},
            "secure-sums=true",
        ),
        ({"colluding": 2}, {**RUN, "secure_sums": True}, "run with colluding-sites=2"),
        ({"colluding": 2}, {"secure_figures": True, "min_sites": 3}, "run with colluding-sites=2"),
    ],
)
def test_a_site_may_keep_to_masks(tmp_path: Path, words: dict, run: dict, mends: str) -> None:
    """A server could else leave its own settings out, or say that it has no friends."""
    policy = Policy(tmp_path, **words)
    with pytest.raises(PrivacyError, match="site 'north'") as told:
        policy.allow(RunConfig(**run), "north")
    assert mends in str(told.value)


def test_a_site_that_keeps_to_masks_takes_part_under_them(tmp_path: Path) -> None:
    policy = Policy(tmp_path, masked=("figures", "updates"), colluding=2)
    more = {"secure_figures": True, "colluding_sites": 2, "min_sites": 4}
    policy.allow(RunConfig(**more), "north")
    policy.allow(RunConfig(**{**STUDENT, **MASKS, **more}), "north")
    policy.allow(RunConfig(**{**RUN, **MASKS, **more}), "north")
    Policy(tmp_path, colluding=2).allow(RunConfig(), "north")  # no sum, nothing to reckon with


def test_words_that_cannot_be_masked() -> None:
    with pytest.raises(ConfigError, match="figures, updates leave under masks, no figure"):
        NodeConfig.parse({"masked": "figure"}, where="node-config")
    assert NodeConfig.parse({"masked": "updates, figures"}, where="node-config").masked
