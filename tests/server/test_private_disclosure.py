"""What leaves a site in a private run, by name, and what that tells of its images."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.names import NAMES
from tests.support.private import LOUD, charges, privacy, same
from tests.support.products import picture, write_product

STATS = (
    {"images", "represented", "held_out", "bad", "extracted", "cached", "patches", "rows"}
    | {"radius", "seconds", "factor", "memory", "excluded", "seen", "uncovered"}
)  # fmt: skip
RESULTS = (
    {"good", "defective", "image_auroc", "average_precision", "f1_best", "pixel_auroc", "aupro"}
    | {"spro_001", "spro_005", "spro_01", "spro_03", "spro_1"}
    | {"histogram_top", "roc", "histogram_good", "histogram_defective"}
)  # of test images and the private bank alone
WITHHELD = {
    "calibrated": 0,
    "groups": 0,
    "folds": 0,
    "fpr_low": 0.0,
    "fpr_high": 1.0,
    "new_group_fpr": math.nan,
    "hybrid_threshold": math.nan,
    "local_threshold": math.nan,
    "local_true_positives": 0,
    "local_false_positives": 0,
    "bad": 0,
    "threshold": math.nan,
    "vote_threshold": math.nan,
    "promised_fpr": 1.0,
    "true_positives": 0,
    "false_positives": 0,
    "true_negatives": 0,
    "false_negatives": 0,
    "local_rows": 0,
    "local_image_auroc": math.nan,
    "local_equal_image_auroc": math.nan,
    "local_average_precision": math.nan,
    "local_pixel_auroc": math.nan,
    "hybrid_image_auroc": math.nan,
    "hybrid_average_precision": math.nan,
    "hybrid_pixel_auroc": math.nan,
    "coverage": 0,
    "uncovered": math.nan,
    "planted_found": 0,
    "planted_of": 0,
    "planted_pictures": 0,
    "planted_stopped": 0,
    "planted_learnt": 0,
    "seconds": 0.0,
    "memory": 0,
}
NOTE = {"mechanism", "spent", "left", "budget", "delta", "asked", "releases", "unprotected"} | {
    "protected",
    "begun",
    "again",
    "alone",
}


def test_everything_that_leaves_is_known_by_name(ask, table, bank: MemoryBank) -> None:
    """A new key in any reply fails here until somebody has decided that it may leave."""
    config = table(compare_local=True)
    query = ask("query", config)
    assert query.arrays == {}
    told = {"train_images", "test_images", "simulated", "seen", "seconds", "features"}
    assert set(query.numbers) == told
    assert set(query.numbers["seen"]) | set(query.numbers["features"]) == {0}
    assert set(query.texts) == {"site", "products", "device", "fingerprint", "version"}
    assert query.numbers["train_images"] == [0]

    train = ask("train", config)
    assert {n: (a.dtype, a.shape) for n, a in train.arrays.items()} == {
        "plate": (np.dtype(np.int64), (12, 7))
    }
    assert set(train.numbers) == STATS
    assert all(not any(values) for values in train.numbers.values())
    assert set(train.texts) == {"site", "kind", "fingerprint", "sections", "sums", "privacy"}
    assert (train.texts["kind"], train.texts["fingerprint"]) == ("sums", "")
    assert set(json.loads(train.texts["privacy"])) == NOTE
    assert {k: set(v) for k, v in json.loads(train.texts["sums"]).items()} == {
        "plate": {"sigma", "codebook"}
    }

    evaluate = ask("evaluate", config, bank=bank)
    assert evaluate.arrays == {}
    assert set(evaluate.numbers) == RESULTS | set(WITHHELD)
    assert set(evaluate.texts) == {"site", "products", "notes", "kinds"}
    assert evaluate.texts["kinds"] == ["{}"]
    for name, empty in WITHHELD.items():
        for value in evaluate.numbers[name]:
            assert same(value, empty), name


def other_folder(original: Path, tmp_path: Path) -> Path:
    """The same test images, but more and other training images, one of them broken."""
    folder = tmp_path / "other"
    shutil.copytree(original, folder)
    good = folder / "plate" / "train" / "good"
    for at in range(9):
        picture(70_000 + at).save(good / f"new-{at}.png")
    (good / "000.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("share", [False, True])
def test_nothing_but_the_sums_tells_of_training_images(
    ask, table, nodes, bank: MemoryBank, tmp_path: Path, share: bool
) -> None:
    """Two sites that differ in their training images alone answer alike in all but noise."""
    config = table(dp_share_metrics=share, holdout=0.3, compare_local=True)
    two = {**nodes[11], "ledger": str(tmp_path / "two"), "out": str(tmp_path / "two-out")}
    two["data"] = str(other_folder(Path(nodes[11]["data"]), tmp_path))
    told = [(nodes[11], "first"), (two, "second")]
    query = [ask("query", config, node=node) for node, _ in told]
    assert same(query[0], query[1])

    train = [ask("train", config, node=node) for node, _ in told]
    assert same(train[0].numbers, train[1].numbers)
    notes = [json.loads(p.texts.pop("privacy")) for p in train]
    for note in notes:
        note.pop("begun")  # when the site took part for the first time
    assert notes[0] == notes[1]
    assert train[0].texts == train[1].texts
    assert not np.array_equal(train[0].arrays["plate"], train[1].arrays["plate"])

    evaluate = [ask("evaluate", config, node=node, bank=bank) for node, _ in told]
    if share:
        held = [p.numbers["calibrated"] for p in evaluate]
        assert held == [[2], [4]]
        assert all(p.numbers["threshold"][0] > 0 for p in evaluate)
        assert all(0 <= p.numbers["hybrid_image_auroc"][0] <= 1 for p in evaluate)
    else:
        assert same(evaluate[0], evaluate[1])


def test_errors_that_tell_of_images_stay_at_home(ask, table, nodes, tmp_path: Path) -> None:
    replies = []
    for count in (3, 5):
        folder = write_product(tmp_path / f"bad{count}" / "plate", train=10)
        for at in range(count):
            (folder / "train" / "good" / f"{at:03d}.png").write_bytes(b"")
        node = {**nodes[11], "data": str(tmp_path / f"bad{count}")}
        replies.append(ask("train", table(), node=node).texts)
        open_ = ask("train", table(dp="off"), node=node).texts["failure"]
        assert "2 of 10 images unreadable" in open_ and ".png" in open_
    assert replies[0] == replies[1]
    assert set(replies[0]) == {"site", "failure"}
    assert "DataError" in replies[0]["failure"] and "own log" in replies[0]["failure"]


def test_with_share_metrics_the_report_names_what_left(run) -> None:
    folder, metrics, _ = run(**LOUD, dp_share_metrics=True, compare_local=True)
    assert set(MemoryBank.load(folder / "bank.safetensors").thresholds["plate"]) == set(NAMES)
    found = metrics["rounds"][0]["evaluate"]["south"]["products"]["plate"]
    assert found["calibrated"] == 1 and 0 <= found["hybrid_image_auroc"] <= 1
    told = privacy(folder)
    assert told["withheld"] == []
    assert "dp-share-metrics=true" in told["not_covered"][0]


def test_a_release_of_one_mechanism_is_never_sent_as_the_others(ask, table, tmp_path: Path) -> None:
    """Same images, codebook and noise: a second release, charged as such, of another run."""
    config = {"dp_epsilon": 1.0, "dp_budget_epsilon": 4.0}
    cells = ask("train", table(**config))
    refused = ask("train", table(**config, dp="moments")).texts["failure"]
    assert "north has answered this run" in refused and "its dp-epsilon is 1" in refused
    moments = ask("train", table(**config, dp="moments"), run="next")
    assert cells.arrays["plate"].shape == (12, 7)
    assert moments.arrays["plate"].shape == (1, 1 + 6 + 21)
    assert json.loads(moments.texts["privacy"])["again"] is False
    assert [c.mechanism for c in charges(tmp_path / "ledgers" / "north")] == ["cells", "moments"]
    spent = json.loads(moments.texts["privacy"])["spent"]
    assert 1.4 < spent < 1.5  # two releases over the same images
    again = ask("train", table(**config, dp="moments"), run="next")
    np.testing.assert_array_equal(again.arrays["plate"], moments.arrays["plate"])
    assert json.loads(again.texts["privacy"])["again"] is True
    assert set(moments.numbers) == STATS and all(not any(v) for v in moments.numbers.values())


def test_the_number_of_rows_does_not_tell_the_number_of_images(
    ask, table, nodes, tmp_path: Path
) -> None:
    told = {"dp": "per-vector", "dp_epsilon": 8.0, "dp_budget_epsilon": 1e5}
    refused = ask("train", table(**told, coreset_size=0)).texts["failure"]
    assert "needs coreset-size" in refused
    write_product(tmp_path / "few" / "plate", train=2)
    few = {**nodes[11], "data": str(tmp_path / "few"), "ledger": str(tmp_path / "few-ledger")}
    replies = [ask("train", table(**told, coreset_size=700), node=n) for n in (few, nodes[11])]
    assert [r.arrays["plate"].shape for r in replies] == [(700, 128)] * 2  # few has 225 patches
    assert same(replies[0].numbers, replies[1].numbers)
