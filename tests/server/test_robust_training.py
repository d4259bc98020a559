"""Robust runs of methods that train: rows and updates of sites are compared, one moves nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.learned.generator import orthogonal
from fedpatchcore.robustness.moves import move_scores
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of
from tests.server.test_trained_federation import configured
from tests.support.products import write_product

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("five")
    for at, name in enumerate(NAMES):
        write_product(root / name / "plate", seed=1000 * at, train=6, good=1, bad=1)
    return root


@pytest.fixture
def judged(settings, backbone, five: Path, tmp_path: Path):
    """A federation after one round of five sites, the last of which multiplies its update."""

    def make(by: float = 1.0, **told) -> Federation:
        base = {"robustness_enabled": True, "tolerated_sites": 1, "min_sites": 5}
        config = configured(settings, **{**base, "optimiser": "fedmedian", **told})
        federation = Federation(config, rules=rule_of)
        sites = [
            Site(n, discover(five / n), config, backbone, cache=SiteCache(tmp_path / "cache", 1.0))
            for n in NAMES
        ]
        federation.roll_call({site.name: site.facts() for site in sites})
        for site in sites:
            reply = site.train(beside=federation.method.beside())
            if site.name == "e" and by != 1:
                part = reply.contribution.parts["plate"]
                more = part.beside | {"update.values": part.beside["update.values"] * by}
                parts = {"plate": replace(part, beside=more)}
                contribution = replace(reply.contribution, parts=parts)
                reply = replace(reply, contribution=contribution)
            federation.accept(reply)
        federation.merge(1)
        return federation

    return make


@pytest.mark.parametrize(
    ("method", "by"), [("feddymem", np.float32(50)), ("generator", np.float32(0))]
)
def test_an_update_far_too_long_or_none_stands_out(judged, method: str, by) -> None:
    found = judged(by, method=method, on_outlier="exclude")
    record = found.story.record
    assert set(record["outliers"]) == {"e"} and record["excluded"] == ["e"]
    assert "long a local step" in record["outliers"]["e"]
    assert record["sections"]["plate"]["updates"] == 4
    assert "e" not in record["sections"]["plate"]["sites"]


def test_honest_sites_are_like_one_another(judged) -> None:
    found = judged(method="generator")
    record = found.story.record
    assert record["outliers"] == {} and record["sections"]["plate"]["updates"] == 5
    assert set(record["site_scores"]) == {"plate", "plate (updates)"}
    assert found.bank.scoring["votes"] == 2, "rows are voted on as PatchCore's"


def test_one_site_does_not_move_the_median_and_a_mean_would_be(judged) -> None:
    """Warned of only: the rule itself withstands it. The same update in a mean moves it far."""
    honest, attacked = judged(method="generator"), judged(np.float32(-50), method="generator")
    plain = {"robustness_enabled": False, "optimiser": "fedavg"}
    mean = judged(np.float32(-50), method="generator", **plain)
    start = orthogonal(128, 64, 0)
    moves = [np.linalg.norm(f.bank.sections["plate"].metric - start) for f in (honest, attacked)]
    assert moves[1] < 2 * moves[0]
    assert np.linalg.norm(mean.bank.sections["plate"].metric - start) > 5 * moves[0]


def test_scores_of_lengths_by_hand() -> None:
    """Logarithms 0, 0, 0.1, 4: the median 0.05 is 3.95 from the last, in floors of 0.2."""
    found = move_scores({"a": 1.0, "b": 1.0, "c": np.e**0.1, "d": np.e**4})
    assert found["d"] == pytest.approx(3.95 / 0.2)
    assert found["a"] == pytest.approx(0.25)
    twice = move_scores({"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0})
    assert twice["d"] < 3.5
    assert move_scores({"a": 1.0, "b": 1.0, "c": 0.0})["c"] > 100
