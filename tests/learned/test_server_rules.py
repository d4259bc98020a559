"""Flower's strategies behind `Rule` against arithmetic done here; rules through a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from safetensors.numpy import load, save

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.registry import OPTIMISERS
from fedpatchcore.learned.rules import Remembered
from fedpatchcore.learned.settings import LearnedSettings
from server_app.optimisers import rule_of
from tests.support import fakegrid  # noqa: F401  (messages need an identity, as in a ServerApp)

SHAPES = {"weight": (4, 3), "bias": (5,)}
NAMES = ("a", "b", "c", "d", "e", "f")
NEEDS = {"fedprox": {"mu": 0.1}}


def arrays(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {k: (scale * draw.standard_normal(s)).astype(np.float32) for k, s in SHAPES.items()}


def updates(round: int = 1, count: int = 6, *, control: bool = False) -> list[Update]:
    return [
        Update(
            name,
            round,
            arrays(100 * round + at, 0.1),
            examples=3 + 2 * at,
            steps=at + 1,
            weight=at + 1.0,
            control=arrays(7000 + 100 * round + at) if control else None,
            fresh=control and round == 1,
        )
        for at, name in enumerate(NAMES[:count])
    ]


def rule(optimiser: str, *, tolerated: int = 1, weighted: bool = False, **more):
    settings = LearnedSettings(optimiser=optimiser, **NEEDS.get(optimiser, {}), **more)
    return rule_of(settings, sites=6, tolerated=tolerated, weighted=weighted)


def flat(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([found[k].ravel() for k in SHAPES]).astype(np.float64)


X = arrays(0)
MODELS = np.stack([flat(X) + flat(one.change) for one in updates()])


@pytest.mark.parametrize("optimiser", ["fedavg", "fedprox"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_mean_is_the_mean(optimiser: str, weighted: bool) -> None:
    counts = [one.examples if weighted else 1 for one in updates()]
    x = rule(optimiser, weighted=weighted).step(1, X, updates())
    assert np.allclose(flat(x), np.average(MODELS, axis=0, weights=counts), atol=1e-6)
    assert all(x[k].dtype == np.float32 and x[k].shape == s for k, s in SHAPES.items())


def test_a_median_is_the_median() -> None:
    x = rule("fedmedian").step(1, X, updates())
    assert np.allclose(flat(x), np.median(MODELS, axis=0), atol=1e-6)


@pytest.mark.parametrize(("tolerated", "count"), [(0, 4), (1, 3), (1, 6), (2, 5), (2, 6)])
def test_a_trimmed_mean_leaves_out_as_many_as_it_tolerates(tolerated: int, count: int) -> None:
    x = rule("fedtrimmedavg", tolerated=tolerated).step(1, X, updates(count=count))
    kept = np.sort(MODELS[:count], axis=0)[tolerated : count - tolerated]
    assert np.allclose(flat(x), kept.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("tolerated", [0, 1])
def test_krum_takes_the_update_with_the_nearest_neighbours(tolerated: int) -> None:
    given = updates()
    far = np.stack([flat(one.change) for one in given])
    far[4] += 3.0  # an outlier, and a crowd of three
    far[2] = far[1] + 0.02
    far[3] = far[1] - 0.01
    wide = [Update(u.site, 1, _shaped(f), 1, 1, 1.0) for u, f in zip(given, far, strict=True)]
    scores = []
    for one in far:
        apart = sorted(float(np.sum((one - other) ** 2)) for other in far)[1:]
        scores.append(sum(apart[: len(far) - tolerated - 2]))
    x = rule("krum", tolerated=tolerated).step(1, X, wide)
    assert np.allclose(flat(x), flat(X) + far[int(np.argmin(scores))], atol=1e-6)


def test_krum_counts_fewer_neighbours_the_more_are_faulty() -> None:
    """Points 0, 1, 2.5, 2.6, 9 on a line: of three neighbours 1 has the nearest, of two 2.5."""
    line = [_shaped(np.full(17, at)) for at in (0.0, 1.0, 2.5, 2.6, 9.0)]
    given = [Update(name, 1, one, 1, 1, 1.0) for name, one in zip(NAMES, line, strict=False)]
    zero = _shaped(np.zeros(17))
    for tolerated, chosen in ((0, 1.0), (1, 2.5)):
        x = rule("krum", tolerated=tolerated).step(1, zero, given)
        assert np.allclose(flat(x), chosen)


def _shaped(vector: np.ndarray) -> dict[str, np.ndarray]:
    parts = np.split(vector, [12])
    return {k: p.reshape(SHAPES[k]).astype(np.float32) for k, p in zip(SHAPES, parts, strict=True)}


@pytest.mark.parametrize(
    ("optimiser", "tolerated", "least"),
    [("fedmedian", 1, 3), ("fedtrimmedavg", 2, 5), ("krum", 1, 5)],
)
def test_too_few_sites_for_the_faulty_ones_are_refused(optimiser, tolerated, least) -> None:
    one = rule(optimiser, tolerated=tolerated)
    one.step(1, X, updates(count=least))
    with pytest.raises(TrainingError, match=f"'{optimiser}' needs {least} updates to withstand"):
        one.step(1, X, updates(count=least - 1))


def test_momentum_at_the_server_is_as_on_paper() -> None:
    """v ← βv + Δ, x ← x + ηv (Hsu et al., 2019)."""
    one = rule("fedavgm", server_learning_rate=0.5, server_momentum=0.7)
    x, speed, expected = X, 0.0, flat(X)
    for round in (1, 2, 3):
        given = updates(round)
        speed = 0.7 * speed + np.mean([flat(u.change) for u in given], axis=0)
        expected = expected + 0.5 * speed
        x = one.step(round, x, given)
        assert np.allclose(flat(x), expected, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["fedadam", "fedyogi"])
def test_adaptive_steps_are_as_on_paper(optimiser: str) -> None:
    """Reddi et al., algorithm 2; v from 0 and Adam's bias correction as Flower has them."""
    rate, beta, second, tau = 0.03, 0.8, 0.99, 1e-3
    one = rule(optimiser, server_learning_rate=rate, server_momentum=beta)
    x, m, v, expected = X, 0.0, 0.0, flat(X)
    for round in (1, 2, 3):
        given = updates(round)
        delta = np.mean([flat(u.change) for u in given], axis=0)
        m = beta * m + (1 - beta) * delta
        if optimiser == "fedadam":
            v = second * v + (1 - second) * delta**2
            now = rate * np.sqrt(1 - second ** (round + 1)) / (1 - beta ** (round + 1))
        else:
            v = v - (1 - second) * delta**2 * np.sign(v - delta**2)
            now = rate
        expected = expected + now * m / (np.sqrt(v) + tau)
        x = one.step(round, x, given)
        assert np.allclose(flat(x), expected, atol=2e-6)


def test_one_step_of_adam_in_numbers() -> None:
    """Δ = 1 everywhere: m = .1, v = .01, x = .5·√(1 − .99²)/(1 − .9²)·.1/(.1 + .001)."""
    one = rule("fedadam", server_learning_rate=0.5, server_momentum=0.9)
    zero = {k: np.zeros(s, np.float32) for k, s in SHAPES.items()}
    ones = {k: np.ones(s, np.float32) for k, s in SHAPES.items()}
    x = one.step(1, zero, [Update("a", 1, ones, 1, 1, 1.0)])
    assert np.allclose(flat(x), 0.36757, atol=1e-4)


@pytest.mark.parametrize("name", ["FedAvg", "FedMedian", "FedAdam", "FedYogi", "FedAvgM"])
def test_a_shift_changes_nothing_of_what_flower_does_with_models(name: str) -> None:
    """The strategy fed whole models, as Flower's own loop would, comes to the same model."""
    more = {"FedAvgM": {"server_learning_rate": 0.5, "server_momentum": 0.7}}
    strategy = getattr(flower, name)(**more.get(name, {}))
    settings = {"server_learning_rate": 0.1} if name in ("FedAdam", "FedYogi") else {}
    if name == "FedAvgM":
        settings = {"server_learning_rate": 0.5, "server_momentum": 0.7}
    ours = rule(name.lower(), **settings)
    if name == "FedYogi":
        strategy.beta_1, strategy.eta, strategy.tau = 0.9, 0.1, 1e-3
    x, theirs = X, X
    for round in (1, 2):
        given = updates(round)
        record = ArrayRecord({k: Array(theirs[k]) for k in sorted(theirs)})
        strategy.current_arrays = record if name == "FedAvgM" else theirs
        replies = [
            Message(
                RecordDict(
                    {
                        "arrays": ArrayRecord(
                            {k: Array(theirs[k] + u.change[k]) for k in sorted(theirs)}
                        ),
                        "metrics": MetricRecord({"num-examples": 1}),
                    }
                ),
                dst_node_id=1,
                message_type="train",
            )
            for u in given
        ]
        found, _ = strategy.aggregate_train(round, replies)
        theirs = {k: v.numpy().astype(np.float32) for k, v in found.items()}
        x = ours.step(round, x, given)
        assert np.allclose(flat(x), flat(theirs), atol=2e-5)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_rule_goes_on_from_its_checkpoint_as_if_nothing_had_been(optimiser: str) -> None:
    """State through bytes and JSON-able facts; updates in another order, of the same sites."""
    control = OPTIMISERS[optimiser].control
    more = {"buffer": 4} if optimiser == "fedbuff" else {}
    whole, before = rule(optimiser, **more), rule(optimiser, **more)
    x = whole.step(1, X, updates(1, control=control))
    y = before.step(1, X, updates(1, control=control))
    kept = before.state()
    after = rule(optimiser, **more)
    after.restore(Remembered(load(save(kept.arrays)), kept.facts))
    version = getattr(whole, "version", 2)
    given = updates(version, control=control)
    x = whole.step(version, x, given)
    lost = rule(optimiser, **more)
    y2 = after.step(version, y, given if OPTIMISERS[optimiser].asynchronous else given[::-1])
    assert all(np.array_equal(x[k], y2[k]) for k in SHAPES)
    if kept.arrays and optimiser not in ("fedasync",):
        if hasattr(lost, "version"):
            lost.version = version
        forgotten = lost.step(version, y, given)
        told = lost.control(X) if control else forgotten
        ours = after.control(X) if control else y2
        assert any(not np.array_equal(told[k], ours[k]) for k in SHAPES)


def test_fednova_in_numbers() -> None:
    """Two sites, Δ 1 and 4 after 1 and 4 steps: d = 1 each, τ = 2.5; FedAvg says 2.5 as well.

    Δ 1 and 1 after 1 and 4 steps: d = 1 and 1/4, mean 0.625, times τ 2.5.
    """
    ones = {k: np.ones(s, np.float32) for k, s in SHAPES.items()}
    zero = {k: np.zeros(s, np.float32) for k, s in SHAPES.items()}
    given = [Update("a", 1, ones, 9, 1, 1.0), Update("b", 1, ones, 9, 4, 4.0)]
    x = rule("fednova", server_learning_rate=2.0).step(1, zero, given)
    assert np.allclose(flat(x), 2 * 2.5 * 0.625)
    weighted = [Update("a", 1, ones, 3, 1, 1.0), Update("b", 1, ones, 1, 4, 4.0)]
    x = rule("fednova", weighted=True).step(1, zero, weighted)
    assert np.allclose(flat(x), (0.75 + 1.0) * (0.75 + 0.25 / 4))


def test_scaffold_in_numbers() -> None:
    """x⁺ = x + η_g/|S| ΣΔ; c⁺ = c + (1/N) Σ(cᵢ⁺ − cᵢ), also when a site of the N is away."""
    one = rule("scaffold", server_learning_rate=0.5)
    given = updates(1, count=3, control=True)
    x = one.step(1, X, given)
    mean = np.mean([flat(u.change) for u in given], axis=0)
    assert np.allclose(flat(x), flat(X) + 0.5 * mean, atol=1e-6)
    c = sum(flat(u.control) for u in given) / 6
    assert np.allclose(flat(one.control(X)), c, atol=1e-6)
    later = updates(2, count=2, control=True)
    one.step(2, x, later)
    c = c + sum(flat(u.control) for u in later) / 6
    assert np.allclose(flat(one.control(X)), c, atol=1e-6)


def test_more_sites_than_were_expected_share_the_control_variate() -> None:
    one = rule_of(LearnedSettings(optimiser="scaffold"), sites=2)
    given = updates(1, count=3, control=True)
    one.step(1, X, given)
    assert np.allclose(flat(one.control(X)), sum(flat(u.control) for u in given) / 3, atol=1e-6)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_no_update_and_two_of_one_site_are_no_round(optimiser: str) -> None:
    if OPTIMISERS[optimiser].asynchronous:
        return
    twice = [updates(control=True)[0]] * 6
    for given in ([], twice):
        with pytest.raises(TrainingError, match="one update of each of some sites"):
            rule(optimiser).step(1, X, given)
