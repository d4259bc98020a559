"""Counts of planted defects: sums, curves from counts, what is told and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedpatchcore.metrics.detection_probability import NoPod, Pod, fit_pod
from fedpatchcore.metrics.planted_found import PlantedFound, planted_told, sized, without_curve
from fedpatchcore.metrics.rates import Rate
from fedpatchcore.planted.cells import CELLS, CONTRASTS, NAMES, SIZES
from fedpatchcore.planted.planting import KINDS


def drawn(seed: int, each: int = 4) -> PlantedFound:
    rng = np.random.default_rng(seed)
    cells = {
        (kind, size, contrast): Rate(int(rng.binomial(each, min(1, size * 9))), each)
        for kind, size, contrast in CELLS
    }
    return PlantedFound(cells, 30, Rate(2, 30))


def test_the_grid_is_of_the_kinds_there_are() -> None:
    assert tuple(KINDS) == NAMES and len(CELLS) == len(NAMES) * len(SIZES) * len(CONTRASTS)


def test_curves_from_counts_are_those_of_the_single_trials() -> None:
    found = drawn(0)
    sizes, hits = [], []
    for (_, size, _), rate in found.cells.items():
        for at in range(rate.of):
            sizes.append(size)
            hits.append(at < rate.count)
    expected = fit_pod(sizes, hits)
    line = found.lines()[0]
    assert isinstance(expected, Pod) and isinstance(line.curve, Pod)
    assert line.curve.size(0.9) == pytest.approx(expected.size(0.9), rel=1e-9)
    assert line.curve.sure_size() == pytest.approx(expected.sure_size(), rel=1e-6)
    assert [one.name for one in found.lines()] == ["all", *NAMES, "6.0%", "12%", "25%"]
    blob = next(one for one in found.lines() if one.name == "blob")
    assert blob.found.of == 4 * len(SIZES) * len(CONTRASTS)
    assert sum(one.found.of for one in found.lines() if one.what == "kind") == found.found.of


def test_sums_and_counts_there_and_back() -> None:
    one, other = drawn(1), drawn(2, 3)
    both = one + other
    assert both.found == one.found + other.found and both.pictures == 60
    counts = both.counts(CELLS)
    again = PlantedFound.of_counts(CELLS, *counts, pictures=60, stopped=4, learnt=False)
    assert again == both
    part = PlantedFound({("scar", 0.02, 0.06): Rate(1, 2)}, 2, Rate(0, 2), True)
    assert sum(part.counts(CELLS)[1]) == 2 and (one + part).learnt


def test_few_trials_draw_no_curve_and_sizes_beyond_are_told_as_such() -> None:
    few = PlantedFound({("scar", 0.02, 0.06): Rate(1, 2)}, 2, Rate(0, 2))
    line = few.lines()[0]
    assert isinstance(line.curve, NoPod) and line.ends == ("–", "–", "–")
    assert few.brief() == {"found": 1, "of": 2}
    assert (sized(0.2, 0.02, 0.14), sized(0.01, 0.02, 0.14)) == ("> 14%", "< 2.0%")
    assert sized(0.07, 0.02, 0.14) == "7.0%" and sized(float("inf"), 0.02, 0.14) == "> 14%"
    assert set(drawn(0).brief()) == {"found", "of", "a50", "a90", "a90_95"}


def test_lines_of_one_reason_are_told_together() -> None:
    cells = {(kind, 0.08, 0.06): Rate(0, 3) for kind in ("scar", "blob")}
    told = without_curve(PlantedFound(cells, 6, Rate(0, 6)).lines())
    assert [one.partition(": ")[0] for one in told] == ["all, contrast 6.0%", "scar, blob"]
    assert "3 trials are too few" in told[1]
    assert without_curve(drawn(0).lines()[:1]) == []


def test_what_is_told_of_a_round() -> None:
    found = drawn(3)
    counts = found.counts(CELLS)
    result = {
        "planted_found": counts[0],
        "planted_of": counts[1],
        "planted_pictures": 30,
        "planted_stopped": 2,
        "planted_learnt": 0,
    }
    record = {
        "evaluate": {
            "a": {"products": {"bolt": result, "nut": {}}},
            "b": {"products": {"bolt": result}},
            "kept": {"products": {"bolt": dict.fromkeys(result)}},
        }
    }
    told = planted_told(record, CELLS)
    assert set(told) == {"bolt"} and set(told["bolt"]["sites"]) == {"a", "b"}
    every = told["bolt"]["all"]
    assert every["pictures"] == 60 and every["as_they_are"] == [4, 60]
    assert sum(cell["of"] for cell in every["cells"]) == 2 * found.found.of
    assert "not real ones" in every["limits"]
    json.dumps(told, allow_nan=False)
