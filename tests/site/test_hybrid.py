"""Two banks of different kinds judge together: on one scale, by a threshold of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.scale import Scale, Together
from fedpatchcore.detection.scoring import PatchScores
from fedpatchcore.errors import ConfigError
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.own_bank import FILE, keep_own_bank
from fedpatchcore.site.site import Site
from tests.support.products import write_product
from tests.support.strategies import SEEDS


def scores(patches: np.ndarray) -> PatchScores:
    images = patches.reshape(len(patches), -1).max(1).astype(np.float64)
    return PatchScores(patches.astype(np.float32), images, np.zeros(patches.shape, np.int64))


@given(SEEDS, st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_the_unit_of_a_bank_does_not_matter(seed: int, factor: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    own, other = (scores(rng.gamma(3, size=(20, 3, 4))) for _ in range(2))
    scaled = scores(other.patches * factor + shift)
    together = [
        Together((Scale.of(own.patches, 7.0), Scale.of(o.patches, limit)))(own, o)
        for o, limit in ((other, 8.0), (scaled, 8.0 * factor + shift))
    ]
    np.testing.assert_allclose(
        together[0].patches, together[1].patches, atol=1e-3 * (1 + abs(shift) / factor)
    )


@pytest.mark.parametrize("limit", [1.0, 0.5, math.nan, math.inf])
def test_what_has_no_scale_is_refused(limit: float) -> None:
    with pytest.raises(ConfigError, match="one scale"):
        Scale.of(np.ones((4, 2, 2)), limit)


@pytest.fixture
def private(settings, backbone, tmp_path: Path):
    """A site, and a bank of moments in a unit a thousand times that of features."""
    write_product(tmp_path / "a" / "plate", train=20, bad=6)
    config = settings(dp="moments", dp_codebook="unused", num_rounds=1, holdout=0.4, target_fpr=0.4)
    site = Site("a", discover(tmp_path / "a"), config, backbone)
    features, _, _ = site.extractor.all(site.training_images("plate").used)
    features = features.dense()
    rows = features.reshape(-1, features.shape[-1])
    given = rows.astype(np.float32)
    metric = (1000 * np.eye(rows.shape[1])).astype(np.float32)
    section = Section(given, np.full(len(given), -1, np.int32), 0.0, metric=metric)
    named = {"mechanism": "moments"}
    bank = MemoryBank(backbone.fingerprint, {"plate": section}, ("a",), 1, privacy=named)
    return site, bank


def test_a_private_bank_and_an_own_one_find_what_either_finds(private, backbone, tmp_path) -> None:
    """The smaller of the distances as they are would always be the own bank's."""
    site, bank = private
    reply, scored = evaluate_site(site, bank)
    (result,) = reply.results
    assert result.hybrid_image_auroc > 0.9 and 0 < result.hybrid_threshold < 2
    keep_own_bank(site, bank, reply, tmp_path)
    detector = PatchCore(site.config, backbone=backbone).use(bank)
    tests = scored["plate"].images
    told = list(
        detector.stream([t.path for t in tests], "plate", local=MemoryBank.load(tmp_path / FILE))
    )
    assert all(one.threshold == pytest.approx(result.hybrid_threshold) for one in told)
    found = sum(one.defective for one, t in zip(told, tests, strict=True) if t.anomalous)
    assert found >= 5  # of 6
    assert all(bool(one.regions) == one.defective for one in told)


def test_an_own_bank_beside_another_bank_is_refused(private, backbone, tmp_path: Path) -> None:
    site, bank = private
    reply, scored = evaluate_site(site, bank)
    keep_own_bank(site, bank, reply, tmp_path)
    moved = replace(bank.sections["plate"], features=bank.sections["plate"].features + 0.1)
    other = replace(bank, sections={"plate": moved})
    detector = PatchCore(site.config, backbone=backbone).use(other)
    with pytest.raises(ConfigError, match="beside another bank"):
        detector.predict(scored["plate"].images[0].path, local=tmp_path / FILE)
    plain = replace(MemoryBank.load(tmp_path / FILE), hybrid={})
    with pytest.raises(ConfigError, match="no scale in common"):
        detector.use(bank).predict(scored["plate"].images[0].path, local=plain)
