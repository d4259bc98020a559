"""The pooled baseline judges as `fit` on one folder of all images would, told by brute force."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.folds import fold_numbers
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.verdicts import alone, verdict
from fedpatchcore.server.pooled import pooled_baseline
from fedpatchcore.site.site import Site
from tests.support.products import write_product

FOLDS, TARGET, SIZE, FEW = 3, 0.2, 50, 12


@pytest.fixture
def open_(settings, backbone: Backbone, tmp_path: Path) -> Callable[..., Site]:
    def make(name: str, *, groups: dict | None = None, **overrides) -> Site:
        folder = tmp_path / name
        if not folder.exists():
            write_product(folder / "plate", train=8, good=5, bad=5, seed=1000 * ord(name[0]))
        told = {"global_bank_size": SIZE, "folds": FOLDS, "target_fpr": TARGET} | overrides
        return Site(name, discover(folder), settings(**told), backbone, groups=groups)

    return make


def by_hand(sites: list[Site], groups: list | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all training images by banks without their fold, whole and cut: ``[2, n]``."""
    images = [site.training_images("plate") for site in sites]
    keys = [key for one in images for key in one.keys]
    features = np.concatenate(
        [s.extractor.all(i.used)[0].dense() for s, i in zip(sites, images, strict=True)]
    )
    numbers = fold_numbers(keys, FOLDS, seed=sites[0].config.seed, groups=groups)
    found = np.empty((2, len(keys)))
    for at, fold in enumerate(numbers):
        patches = features[numbers != fold].reshape(-1, features.shape[-1])
        rows = patches[greedy_k_center(patches, SIZE, seed=sites[0].config.seed).indices]
        found[:, at] = [farthest(features[at], rows), farthest(features[at], rows[:FEW])]
    return found, numbers


def farthest(image: np.ndarray, rows: np.ndarray) -> float:
    queries = image.reshape(-1, image.shape[-1])
    return np.linalg.norm(queries[:, None] - rows[None], axis=2).min(1).max()


def limit_of(scores: np.ndarray) -> float:
    """Conformal quantile: straight between the ranks 1 to n, at rank (n + 1)(1 − target)."""
    return float(
        np.interp((len(scores) + 1) * (1 - TARGET), 1 + np.arange(len(scores)), np.sort(scores))
    )


def counted(site: Site, rows: np.ndarray, limit: float) -> tuple[int, int]:
    """Defects found and good parts stopped among a site's test images."""
    tests = site.products["plate"].test
    features = site.extractor.all([one.path for one in tests])[0].dense()
    over = np.array([farthest(one, rows) > limit for one in features])
    bad = np.array([one.anomalous for one in tests])
    return int((over & bad).sum()), int((over & ~bad).sum())


def whole_bank(sites: list[Site]) -> np.ndarray:
    used = [s.extractor.all(s.training_images("plate").used)[0].dense() for s in sites]
    patches = np.concatenate(used).reshape(-1, used[0].shape[-1])
    return patches[greedy_k_center(patches, SIZE, seed=sites[0].config.seed).indices]


def test_threshold_and_verdicts_are_those_of_brute_force(open_) -> None:
    sites, lines = [open_("a"), open_("b")], []
    found = pooled_baseline(sites, {"plate": FEW}, say=lines.append)
    (whole, cut), numbers = by_hand(sites)
    folds = int(numbers.max()) + 1
    bank = whole_bank(sites)
    for site in sites:
        one = found[site.name]["plate"]
        assert (one["calibrated"], one["groups"], one["folds"]) == (16, 16, folds)
        assert one["promised_fpr"] == TARGET and one["fpr_low"] == 0 < one["fpr_high"] < 1
        assert one["threshold"] == pytest.approx(limit_of(whole), rel=1e-4)
        assert one["equal_threshold"] == pytest.approx(limit_of(cut), rel=1e-4)
        assert one["equal_threshold"] > one["threshold"]
        hits, alarms = counted(site, bank, one["threshold"])
        told = verdict(one)
        assert (told.found.count, told.found.of) == (hits, 5)
        assert (told.stopped.count, told.stopped.of) == (alarms, 5)
        hits, alarms = counted(site, bank[:FEW], one["equal_threshold"])
        assert (alone(one, "equal").found.count, alone(one, "equal").stopped.count) == (
            hits,
            alarms,
        )
        assert Promise.of_result(one).promised == TARGET
    assert lines == [f"plate, fold {at} of {folds}" for at in range(1, folds + 1)]


def test_groups_are_respected_over_all_sites(open_) -> None:
    """Shots of one part lie at both sites: they share a fold, and count as one."""
    named, sites = {}, [open_("a"), open_("b")]
    for site in sites:
        used = site.training_images("plate").used
        named |= {path: f"part-{at // 2}" for at, path in enumerate(used)}
    sites = [open_(name, groups=named) for name in "ab"]
    one = pooled_baseline(sites)["a"]["plate"]
    assert (one["calibrated"], one["groups"]) == (16, 4) and 0 <= one["new_group_fpr"] <= 1
    labels = [named[path] for site in sites for path in site.training_images("plate").used]
    (whole, _), _ = by_hand(sites, labels)
    assert one["threshold"] == pytest.approx(limit_of(whole), rel=1e-4)
    assert "equal_threshold" not in one


def test_near_identical_images_at_two_sites_belong_together(open_, tmp_path: Path) -> None:
    for name in "ab":
        open_(name)
    for at in range(3):
        image = tmp_path / "a" / "plate" / "train" / "good" / f"{at:03d}.png"
        pixels = np.asarray(Image.open(image)).astype(int)
        pixels[0, 0] = (pixels[0, 0] + 1) % 256
        Image.fromarray(pixels.astype(np.uint8)).save(
            tmp_path / "b" / "plate" / "train" / "good" / f"{at:03d}.png"
        )
    shutil.copy(  # and a copy of a file
        tmp_path / "a" / "plate" / "train" / "good" / "005.png",
        tmp_path / "b" / "plate" / "train" / "good" / "005.png",
    )
    one = pooled_baseline([open_("a"), open_("b")])["b"]["plate"]
    assert (one["calibrated"], one["groups"]) == (16, 12)


def test_by_hold_out_the_images_that_sites_set_aside_decide(open_) -> None:
    sites = [open_(name, calibration="holdout", holdout=0.25) for name in "ab"]
    found = pooled_baseline(sites)
    bank = whole_bank(sites)
    held = [path for site in sites for path in site.training_images("plate").held_out]
    assert len(held) == 4
    scores = np.array([farthest(one, bank) for one in sites[0].extractor.all(held)[0].dense()])
    one = found["a"]["plate"]
    assert (one["calibrated"], one["folds"]) == (4, 0) and one["fpr_low"] > 0
    assert one["threshold"] == pytest.approx(limit_of(scores), rel=1e-4)
    assert verdict(one).found.count == counted(sites[0], bank, one["threshold"])[0]


def test_each_product_of_one_section_has_a_threshold_of_its_own(open_, tmp_path: Path) -> None:
    for name in "ab":
        open_(name)
    write_product(tmp_path / "b" / "ring", train=6, seed=77)
    found = pooled_baseline([open_(name, sections="shared") for name in "ab"])
    told = {(s, p): one["calibrated"] for s, own in found.items() for p, one in own.items()}
    assert told == {("a", "plate"): 16, ("b", "plate"): 16, ("b", "ring"): 6}
    assert found["a"]["plate"]["threshold"] == found["b"]["plate"]["threshold"]
    assert found["b"]["ring"]["threshold"] != found["b"]["plate"]["threshold"]


def test_what_sites_withhold_the_baseline_does_too(open_) -> None:
    one = pooled_baseline([open_("a"), open_("b")], {"plate": FEW}, withheld=True)["a"]["plate"]
    assert math.isfinite(one["image_auroc"]) and math.isfinite(one["equal_image_auroc"])
    assert not {"threshold", "equal_threshold", "calibrated", "true_positives"} & one.keys()
