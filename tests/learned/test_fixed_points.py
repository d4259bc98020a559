"""Where the optimisers end on quadratics with unequal local steps, which is known on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpatchcore.learned.plan import LocalPlan
from fedpatchcore.learned.rules import FedNova, Scaffold
from fedpatchcore.learned.settings import LearnedSettings
from server_app.optimisers import rule_of
from tests.support import fakegrid  # noqa: F401  (messages need an identity, as in a ServerApp)
from tests.support.quadratics import SITES, follow, optimum, rests, shrink, to_model, to_plain

RATE = 0.1
BEST = optimum(SITES)
COUNTS = np.array([one.examples for one in SITES], float)


def ends(share: list[float]) -> np.ndarray:
    """Fixed point of x⁺ = x + Σ wᵢ (yᵢ − x) with yᵢ − bᵢ = Mᵢ (x − bᵢ)."""
    moved = [np.eye(3) - shrink(one, RATE, one.examples) for one in SITES]
    left = sum(w * m for w, m in zip(share, moved, strict=True))
    right = sum(w * m @ one.b for w, m, one in zip(share, moved, SITES, strict=True))
    return np.linalg.solve(left, right)


def fedavg(weighted: bool = False, **more):
    return rule_of(LearnedSettings(optimiser="fedavg", **more), sites=3, weighted=weighted)


@pytest.mark.parametrize("weighted", [False, True])
def test_fedavg_ends_at_its_biased_point(weighted: bool) -> None:
    share = COUNTS if weighted else np.ones(3)
    x = rests(fedavg(weighted), SITES, LocalPlan(1, 1, RATE))
    assert np.allclose(x, ends(share), atol=1e-5)
    walked = follow(fedavg(weighted), SITES, LocalPlan(1, 1, RATE), 15, start=to_model(x + 0.1))
    assert np.linalg.norm(to_plain(walked) - x) < 0.02  # and it does go there
    best = optimum(SITES, list(share))
    assert np.linalg.norm(x - best) > 0.1  # the bias is no matter of rounding


def test_fedavgs_bias_stays_as_the_rate_goes_to_nothing() -> None:
    """Its limit is the optimum of Σ Kᵢ fᵢ, a loss that nobody asked for."""
    x = rests(fedavg(), SITES, LocalPlan(1, 1, 0.002))
    assert np.allclose(x, optimum(SITES, list(COUNTS)), atol=0.02)
    assert np.linalg.norm(optimum(SITES, list(COUNTS)) - BEST) > 0.3


@pytest.mark.parametrize("weighted", [False, True])
def test_fednova_ends_where_its_rule_says(weighted: bool) -> None:
    share = (COUNTS if weighted else np.ones(3)) / COUNTS
    x = rests(FedNova(weighted=weighted), SITES, LocalPlan(1, 1, RATE))
    assert np.allclose(x, ends(list(share)), atol=1e-5)


def test_fednovas_bias_goes_with_the_rate() -> None:
    """What is left comes of the curvature along the way: half the rate, half the error."""
    off = [
        np.linalg.norm(rests(FedNova(), SITES, LocalPlan(1, 1, rate)) - BEST)
        for rate in (0.04, 0.02, 0.01)
    ]
    assert off[0] / off[1] == pytest.approx(2, rel=0.15)
    assert off[1] / off[2] == pytest.approx(2, rel=0.15)
    assert off[2] < 0.02


@pytest.mark.parametrize(
    "plan",
    [
        LocalPlan(1, 1, 0.02, momentum=0.6),
        LocalPlan(1, 1, 0.05, mu=2.0),
        LocalPlan(1, 1, 0.02, momentum=0.4, mu=1.0),
    ],
)
def test_fednova_weighs_momentum_and_proximal_steps_right(plan: LocalPlan) -> None:
    """With steps counted as plain ones the point would be another."""

    class Counting(FedNova):
        def step(self, round, x, updates):
            return super().step(round, x, [replace(u, weight=float(u.steps)) for u in updates])

    smaller = replace(plan, rate=plan.rate / 4)
    near, nearer = (np.linalg.norm(rests(FedNova(), SITES, p) - BEST) for p in (plan, smaller))
    wrong = np.linalg.norm(rests(Counting(), SITES, smaller) - BEST)
    assert nearer < 0.4 * near
    assert nearer < 0.4 * wrong


def test_scaffold_ends_at_the_optimum_at_any_rate() -> None:
    rule = Scaffold(sites=3)
    x = follow(rule, SITES, LocalPlan(1, 1, RATE), 60)
    assert np.allclose(to_plain(x), BEST, atol=1e-4)
    assert all(np.abs(c).max() < 1e-4 for c in rule.control(x).values())  # mean of gradients: 0


def test_scaffold_ends_at_the_optimum_though_sites_come_and_go() -> None:
    def present(round: int, site) -> bool:
        return (round + len(site.name)) % 3 != 0

    x = follow(Scaffold(sites=3), SITES, LocalPlan(1, 1, 0.06), 150, present=present)
    assert np.allclose(to_plain(x), BEST, atol=1e-3)


def test_scaffold_ends_at_the_optimum_though_a_site_lost_what_it_kept() -> None:
    """The paper's sum of differences would keep the lost variate and end elsewhere."""
    rule, own = Scaffold(sites=3), {}
    plan = LocalPlan(1, 1, RATE)
    x = follow(rule, SITES, plan, 5, own=own)
    del own["west"]
    x = follow(rule, SITES, plan, 60, start=x, first=6, own=own)
    assert np.allclose(to_plain(x), BEST, atol=1e-4)


def test_scaffold_counts_a_site_that_comes_later() -> None:
    rule, own = Scaffold(sites=2), {}
    plan = LocalPlan(1, 1, RATE)
    x = follow(rule, SITES[:2], plan, 10, own=own)
    x = follow(rule, SITES, plan, 60, start=x, first=11, own=own)
    assert np.allclose(to_plain(x), BEST, atol=1e-4)


def test_fedprox_ends_where_its_pull_says() -> None:
    """y_{k+1} = y_k − η(A(y_k − b) + μ(y_k − x)), solved here without the library."""
    mu = 0.7
    settings = LearnedSettings(optimiser="fedprox", mu=mu, learning_rate=RATE, local_batch=1)
    x = rests(rule_of(settings, sites=3), SITES, settings.plan(1, 1))
    ys = []
    for site in SITES:
        y = x.copy()
        for _ in range(site.examples):
            y = y - RATE * (site.a @ (y - site.b) + mu * (y - x))
        ys.append(y)
    assert np.allclose(np.mean(ys, axis=0), x, atol=1e-5)
    plain = rests(fedavg(), SITES, LocalPlan(1, 1, RATE))
    assert np.linalg.norm(x - BEST) < np.linalg.norm(plain - BEST)  # drift held back


@pytest.mark.parametrize("optimiser", ["fedavg", "fedavgm", "fednova", "scaffold", "fedprox"])
def test_on_equal_data_one_step_is_the_step_of_one_machine(optimiser: str) -> None:
    more = {"server_momentum": 0.0} if optimiser == "fedavgm" else {}
    if optimiser == "fedprox":
        more = {"mu": 0.5}
    settings = LearnedSettings(optimiser=optimiser, learning_rate=RATE, local_batch=64, **more)
    alike = [replace(SITES[0], name=name) for name in "abc"]
    x = follow(rule_of(settings, sites=3), alike, settings.plan(1, 1), 8)
    alone = np.zeros(3, np.float32)
    a, b = alike[0].a.astype(np.float32), alike[0].b.astype(np.float32)
    for _ in range(8):
        alone = alone - np.float32(RATE) * (a @ (alone - b))
    assert np.allclose(to_plain(x), alone, rtol=2e-6, atol=2e-6)
