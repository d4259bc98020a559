"""`fedpatchcore evaluate`: verdicts by the threshold in force, then how good the scores are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.metrics.rates import Rate


@pytest.fixture
def measured(cli, fitted, weights_file: Path):
    """What `evaluate` says of a bank: (JSON objects or text, errors)."""
    product, _ = fitted

    def call(bank: Path, *words: object):
        code, out, err = cli("evaluate", bank, product, "--weights", weights_file, *words)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()] if "--json" in words else out, err

    return call


def scores(cli, fitted, weights_file: Path, label: str) -> list[float]:
    """As `predict`, another command, tells them."""
    product, bank = fitted
    folder = product / "test" / label
    _, out, _ = cli("predict", bank, folder, "--json", "--weights", weights_file)
    return [json.loads(line)["score"] for line in out.splitlines()]


def test_verdicts_are_those_that_predict_gives(measured, cli, fitted, weights_file: Path) -> None:
    _, bank = fitted
    labels = [p.name for p in sorted((fitted[0] / "test").iterdir())]
    told = {label: scores(cli, fitted, weights_file, label) for label in labels}
    limit = MemoryBank.load(bank).threshold("plate")
    for given, words in ((limit, ()), (0.0, ("--threshold", 0)), (99.0, ("--threshold", 99))):
        ((one,), err) = measured(bank, "--json", *words)
        assert one["threshold"] == given and ("cannot promise" in err) == (not words)
        rates = {n: Rate(sum(s > given for s in of), len(of)) for n, of in told.items()}
        assert one["good_stopped"] == rates.pop("good").told()
        assert one["kinds"] == {name: rate.told() for name, rate in rates.items()}
        assert one["defects_found"] == sum(rates.values(), Rate(0, 0)).told()
    assert one["set_by"] == "--threshold" and one["promise"] is None


def test_the_promise_of_the_bank_stands_beside_it(measured, fitted) -> None:
    out, _ = measured(fitted[1])
    ((one,), _) = measured(fitted[1], "--json")
    promise = MemoryBank.load(fitted[1]).calibration["plate"]["this-machine"]
    assert {name: one["promise"][name] for name in promise} == promise
    assert one["set_by"] == "this-machine" and "5.9% (" in out  # one in 17
    tables = ("verdicts (", "by kind of defect", "scores", "image auroc")
    assert sorted(tables, key=out.index) == list(tables)


def test_planted_defects_are_counted_told_and_drawn(measured, fitted, tmp_path: Path) -> None:
    words = ("--planted", "--trials", 32, "-o", tmp_path / "found")
    for limit, found in ((0, 1), (99, 0)):
        ((one,), _) = measured(fitted[1], "--json", "--threshold", limit, *words)
        told = one["planted"]
        assert told["learnt"] and told["pictures"] == 16  # three good test pictures are too few
        of = sum(cell["of"] for cell in told["cells"])
        assert sum(cell["found"] for cell in told["cells"]) == found * of and 20 <= of <= 32
        assert told["as_they_are"] == [found * 16, 16]
    out, _ = measured(fitted[1], "--threshold", 99, *words)
    assert f"no curve: all: all {of} were missed" in out and "Planted defects are not real" in out
    assert f"all {of} were missed" in (tmp_path / "found" / "metrics.json").read_text()
    with Image.open(tmp_path / "found" / "planted-plate.png") as picture:
        assert picture.size[0] == 900 and len(picture.getcolors(1 << 20)) > 20


def test_of_several_sites_the_median_decides_unless_one_is_named(
    measured, fitted, tmp_path: Path
) -> None:
    bank, several = MemoryBank.load(fitted[1]), tmp_path / "several.safetensors"
    limits = {"this-machine": 0.5, "b": 0.7, "c": 9.0}
    worth = dict.fromkeys(limits, bank.calibration["plate"]["this-machine"])
    replace(
        bank,
        sites=tuple(limits),
        thresholds={"plate": limits},
        calibration={"plate": worth},
    ).save(several)
    ((one,), _) = measured(several, "--json")
    assert (one["threshold"], one["set_by"], one["promise"]) == (0.7, "median of 3 sites", None)
    ((one,), _) = measured(several, "--json", "--site", "c")
    assert (one["threshold"], one["set_by"], one["promise"]["images"]) == (9.0, "c", 16)
    assert one["defects_found"]["count"] == 0
    _, err = measured(several)
    for name in limits:  # each of them has part in the median
        assert f"plate, {name}: 16 images, 5 folds, which cannot promise fewer than 5.9%" in err
    _, err = measured(several, "--site", "c", "--target-fpr", 0.02)
    assert err.count("cannot promise") == 1 and "target-fpr asks for 2.0%, and that takes 49" in err
    assert measured(several, "--target-fpr", 0.1)[1] == ""


def test_a_product_that_the_bank_lacks_is_told_before_anything_is_measured(
    cli, fitted, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "several"
    for name in ("plate", "ring"):
        shutil.copytree(fitted[0], data / name)
    monkeypatch.setattr("fedpatchcore.site.measuring.score_images", None)
    code, _, err = cli("evaluate", fitted[1], data, "--weights", weights_file)
    assert code == 2 and "no section for product 'ring'" in err


def test_without_a_threshold_scores_are_measured_and_what_helps_is_told(
    measured, fitted, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.safetensors"
    replace(MemoryBank.load(fitted[1]), thresholds={}, calibration={}).save(bare)
    out, err = measured(bare)
    assert "1.000" in out and "verdicts (" not in out and "kind of defect" not in out
    assert err.startswith("no verdicts: the bank holds no threshold for 'plate'; give --threshold")
    assert "--local" not in err and err.count("\n") == 1
    ((one,), _) = measured(bare, "--json", "--site", "this-machine")
    assert one["threshold"] is one["defects_found"] is one["kinds"] is None
    assert one["image_auroc"] == 1.0
