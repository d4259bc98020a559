"""Plans of rounds, the settings they come of, draws of sites, and when it is enough."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.errors import ConfigError, TrainingError
from fedpatchcore.learned.patience import Patience
from fedpatchcore.learned.plan import LocalPlan, rate_in_round, sampled, seed_of
from fedpatchcore.learned.registry import OPTIMISERS, UPDATE_WIRES, refusals
from fedpatchcore.learned.settings import LearnedSettings
from tests.support.places import ROOT

NEEDS = {"fedprox": {"mu": 0.1}}


@given(st.integers(1, 60), st.floats(1e-4, 0.5), st.floats(0.0, 0.95), st.floats(1e-3, 1.0))
def test_weights_of_steps_are_fednovas(steps: int, rate: float, rho: float, mu: float) -> None:
    """The three closed forms of Wang et al."""
    assert LocalPlan(1, 1, rate).weight(steps) == steps
    heavy = (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)
    assert LocalPlan(1, 1, rate, momentum=rho).weight(steps) == pytest.approx(heavy)
    pulled = (1 - (1 - rate * mu) ** steps) / (rate * mu)
    assert LocalPlan(1, 1, rate, mu=mu).weight(steps) == pytest.approx(pulled, rel=1e-6)


def test_steps_are_counted_with_the_last_short_one() -> None:
    assert [LocalPlan(3, 4, 0.1).steps(n) for n in (1, 4, 5, 8, 9)] == [3, 3, 6, 6, 9]


def test_rates_follow_their_schedule() -> None:
    def rates(schedule: str) -> list[float]:
        return [rate_in_round(0.8, schedule, at, 4) for at in (1, 2, 3, 4)]

    assert rates("constant") == [0.8] * 4
    assert rates("step") == pytest.approx([0.8, 0.8, 0.08, 0.008])
    half = 0.4 * (1 + math.sqrt(0.5)), 0.4, 0.4 * (1 - math.sqrt(0.5))
    assert rates("cosine") == pytest.approx([0.8, *half])
    settings = LearnedSettings(learning_rate=0.8, schedule="step", local_epochs=3, momentum=0.2)
    assert settings.plan(4, 4) == LocalPlan(3, 4, pytest.approx(0.008), momentum=0.2)


def test_sites_are_drawn_by_seed_and_round() -> None:
    names = [f"site-{at}" for at in range(10)]
    drawn = [sampled(names, 0.3, seed=1, round=round) for round in range(200)]
    assert all(len(one) == 3 and one == sorted(set(one)) for one in drawn)
    assert drawn == [sampled(names[::-1], 0.3, seed=1, round=round) for round in range(200)]
    assert drawn != [sampled(names, 0.3, seed=2, round=round) for round in range(200)]
    counts = [sum(name in one for one in drawn) for name in names]
    assert min(counts) > 35 and max(counts) < 90  # 60 each on average
    assert sampled(names, 0.01, seed=0, round=1, least=2) != names
    assert len(sampled(names, 0.01, seed=0, round=1, least=2)) == 2
    assert sampled(names[:1], 0.5, seed=0, round=1, least=2) == names[:1]
    assert len(sampled(names, 0.21, seed=0, round=1)) == 3


def test_seeds_of_purposes_differ_and_stay() -> None:
    assert seed_of(0, "batches", "east", 1) == seed_of(0, "batches", "east", 1)
    words = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1)]
    assert len({seed_of(*one) for one in words}) == 4
    assert seed_of(0, "batches", "east", 1) == 8009889555863349124  # by sha256sum


def test_training_stops_when_patience_ends() -> None:
    watch = Patience(2)
    told = [watch.enough(round, loss) for round, loss in enumerate([3, 2, 2, 1.9, 5, 1.95], 1)]
    assert told == [False, False, False, False, False, True]
    still = Patience(2)
    assert [still.enough(round, 2.0) for round in (1, 2, 3)] == [False, False, True]
    again = Patience(2)
    again.restore(watch.facts())
    assert not again.enough(5, 1.0) and again.best_round == 5
    fresh = Patience(2)
    fresh.restore(Patience(2).facts())
    assert not fresh.enough(1, 9.0)
    assert not any(Patience(0).enough(at, at) for at in range(1, 50))
    with pytest.raises(TrainingError, match="round 3 is NaN"):
        watch.enough(3, math.nan)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_can_be_set_and_says_what_it_is(name: str) -> None:
    one = LearnedSettings.parse({"optimiser": name, **NEEDS.get(name, {})}, where="x").rule
    assert one.name == name and one.help and any(c.isdigit() for c in one.paper)
    assert LearnedSettings(optimiser=name, **NEEDS.get(name, {})).server_rate > 0


def test_the_page_of_methods_knows_every_optimiser_and_encoding() -> None:
    page = (ROOT / "docs/methods.md").read_text()
    for one in OPTIMISERS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{one.name}` |"))
        assert one.paper in row
    assert all(f"| `{wire}` |" in page for wire in UPDATE_WIRES)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"optimiser": "scaffold", "momentum": 0.5}, "'scaffold' and momentum=0.5 do not go tog"),
        ({"optimiser": "fedprox"}, "needs mu above 0: with 0 it is fedavg"),
        ({"mu": 0.1}, "mu is of fedprox, fednova, fedasync; optimiser='fedavg' has none"),
        ({"server-learning-rate": 0.5}, "server-learning-rate is of fedavgm, .*'fedavg' has none"),
        ({"optimiser": "fedbuff", "client-fraction": 0.5}, "'fedbuff' has no rounds"),
        ({"optimiser": "fedmedian", "update-wire": "topk"}, "its median is 0"),
        ({"optimiser": "krum", "update-wire": "topk"}, "lie far apart whoever is honest"),
        ({"optimiser": "fedavgg"}, "did you mean 'fedavg'"),
        ({"update-wire": "int4"}, "update-wire: must be one of float32, float16, int8, topk"),
        ({"learning-rate": -1}, "learning-rate"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(table: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LearnedSettings.parse(table, where="run-config")


def test_refusals_name_both_and_why() -> None:
    fedavg, scaffold = OPTIMISERS["fedavg"], OPTIMISERS["scaffold"]
    assert not refusals(fedavg, momentum=0.9, update_wire="topk", client_dp=True)
    assert not refusals(fedavg, secure_sums=True, update_wire="float16")
    for wire in ("int8", "topk"):
        (one,) = refusals(fedavg, secure_sums=True, update_wire=wire)
        assert f"update-wire='{wire}' and secure sums do not go together" in one
    three = refusals(scaffold, momentum=0.5, secure_sums=True, client_dp=True)
    assert len(three) == 3 and all("'scaffold'" in one and one.count("\n") == 0 for one in three)
    assert UPDATE_WIRES[0] == LearnedSettings().update_wire
    assert OPTIMISERS["krum"].least_sites(1) == 5 and OPTIMISERS["fedavg"].least_sites(1) == 1
