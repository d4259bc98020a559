"""A trial on real pictures: what is scored, by which bank, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.fitting import bank_rows
from fedpatchcore.detection.folds import fold_numbers
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.tuning import free
from fedpatchcore.tuning.free import free_memory
from fedpatchcore.tuning.plan import planned
from fedpatchcore.tuning.trial import Trial, try_out
from tests.support.products import write_product


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    root = write_product(tmp_path / "plate", train=14, good=0, bad=0)
    return sorted((root / "train" / "good").iterdir())


def test_scores_are_by_banks_without_the_picture(
    images: list[Path], settings: Callable[..., RunConfig], backbone, tmp_path: Path
) -> None:
    """Each step by hand, from the pictures as they are."""
    config, plan = settings(folds=3, coreset_size=20), planned("plate", images, most=14, seed=0)
    cache = SiteCache(tmp_path / "cache", 0.1)
    trial = try_out(config, [plan], cache=cache, backbone=backbone)
    found = trial.products["plate"]
    numbers = fold_numbers(plan.keys, 3, seed=config.seed, groups=plan.groups)
    features = np.stack([backbone.extract([backbone.open(path)])[0] for path in plan.paths])

    def far(one: np.ndarray, at: int) -> float:
        patches = features[numbers != numbers[at]].reshape(-1, features.shape[-1])
        rows = bank_rows(patches, backbone, config)[0]
        flat = one.reshape(-1, 1, one.shape[-1])
        return float(np.linalg.norm(flat - rows[None], axis=2).min(1).max())

    np.testing.assert_allclose(found.good, [far(features[at], at) for at in range(14)], rtol=1e-4)
    from PIL import Image

    for at in range(0, len(found.planted), 7):
        task = plan.tasks[found.task[at]]
        assert task.image == found.owner[at]
        picture = np.asarray(backbone.open(plan.paths[task.image]))
        one = backbone.extract([Image.fromarray(task.into(picture).picture)])[0]
        assert found.planted[at] == pytest.approx(far(one, task.image), rel=1e-4)
    assert trial.seconds > 0 and trial.memory > 0 and Trial.from_told(trial.told()) == trial

    def never(*_):
        raise AssertionError("features are in the cache")

    again = backbone.extract
    backbone.extract = never
    try:
        second = try_out(config, [plan], cache=cache, backbone=backbone)
    finally:
        backbone.extract = again
    np.testing.assert_allclose(second.products["plate"].planted, found.planted, rtol=1e-6)


def test_a_larger_plan_begins_with_the_smaller_one(images: list[Path]) -> None:
    whole = planned("plate", images, most=14, seed=5)
    shuffled = planned("plate", images[::-1], most=14, seed=5)
    assert whole == shuffled
    few = whole.first(9)
    assert whole.paths[:9] == few.paths and {t.image for t in few.tasks} == set(range(9))
    assert set(few.tasks) == {t for t in whole.tasks if t.image < 9}
    assert planned("plate", images, most=14, seed=6).paths != whole.paths


def test_too_few_pictures_and_too_little_memory_are_said(
    images: list[Path], settings: Callable[..., RunConfig], backbone, monkeypatch
) -> None:
    with pytest.raises(DataError, match="has 5 different images of good parts"):
        planned("plate", [*images[:5], images[0]], most=14, seed=0)
    plan = planned("plate", images, most=14, seed=0)
    with pytest.raises(ConfigError, match=r"patches of 14 images take .* GB, there are 0.0: try"):
        try_out(settings(), [plan], memory=1000, backbone=backbone)
    assert free_memory() > 10**8
    monkeypatch.setattr(free, "MEMINFO", Path("/none"))
    monkeypatch.setattr(free, "GROUP", Path("/none"))
    assert free_memory() == 0
