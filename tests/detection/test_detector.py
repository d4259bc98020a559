"""PatchCore without federation, and federated banks used at a site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import BankError, ConfigError, DataError, FingerprintError, ImageError
from tests.support.products import picture, write_product


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "plate", train=16)


@pytest.fixture
def detector(product: Path, settings, backbone) -> PatchCore:
    return PatchCore(settings(coreset_size=60), backbone=backbone).fit(
        {"plate": product / "train" / "good"}
    )


def test_defects_score_higher_where_they_are(detector: PatchCore) -> None:
    bad = detector.predict(picture(12345, defect=True))
    good = detector.predict(picture(12346))
    assert bad.score > good.score
    assert bad.defective is True
    assert bad.anomaly_map.shape == (64, 64)
    y, x = np.unravel_index(bad.anomaly_map.argmax(), (64, 64))
    assert 12 <= y <= 44
    assert 16 <= x <= 48


def test_every_kind_of_image_gives_the_same_score(detector: PatchCore, tmp_path: Path) -> None:
    image = picture(5)
    image.save(tmp_path / "x.png")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    kinds = [image, array, tensor, tensor / 255, tmp_path / "x.png", str(tmp_path / "x.png")]
    scores = [detector.predict(kind).score for kind in kinds]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-4)


def test_a_folder_gives_a_prediction_per_image(detector: PatchCore, product: Path) -> None:
    found = detector.predict(product / "test" / "square")
    assert [p.source.name for p in found] == ["000.png", "001.png", "002.png"]
    assert all(p.defective for p in found)
    below = detector.predict(product)  # to the bottom, but for the masks
    assert len(below) == 16 + 3 + 3
    assert all("ground_truth" not in p.source.parts for p in below)


def test_save_and_load_predict_the_same(
    detector: PatchCore, tmp_path: Path, weights_file: Path
) -> None:
    detector.save(tmp_path / "b.safetensors")
    again = PatchCore.load(tmp_path / "b.safetensors", weights=str(weights_file))
    image = picture(9, defect=True)
    first, second = detector.predict(image), again.predict(image)
    assert first.score == second.score
    assert first.threshold == second.threshold
    np.testing.assert_array_equal(first.anomaly_map, second.anomaly_map)


def test_a_bank_of_other_features_is_refused(detector: PatchCore, settings) -> None:
    other = PatchCore(settings(layer_norm="none"))
    with pytest.raises(FingerprintError, match="layer_norm: none ≠ unit"):
        other.use(detector.bank)


def test_two_detectors_in_one_process_do_not_disturb_each_other(
    detector: PatchCore, product: Path, settings, backbone
) -> None:
    image = picture(3, defect=True)
    before = detector.predict(image).score
    PatchCore(settings(), backbone=backbone).fit({"other": product / "test" / "square"})
    assert detector.predict(image).score == before


def test_thresholds_can_be_given_or_chosen(detector: PatchCore) -> None:
    image = picture(4)
    assert detector.predict(image, threshold=0.0).defective is True
    assert detector.predict(image, threshold=1e9).defective is False
    bank = detector.bank.with_thresholds({"plate": {"a": 0.0, "b": 1e9}})
    detector.use(bank)
    assert detector.predict(image, site="a").defective is True
    assert detector.predict(image, site="b").defective is False
    detector.use(bank.with_thresholds({}))
    assert detector.predict(image).defective is None


def test_with_the_sites_own_bank_the_nearer_of_both_counts(
    detector: PatchCore, settings, backbone, tmp_path: Path
) -> None:
    knows = PatchCore(settings(coreset_size=60), backbone=backbone)
    knows.fit({"plate": [picture(seed, defect=True) for seed in range(50, 62)]})
    knows.save(tmp_path / "own.safetensors")
    image = picture(12345, defect=True)
    alone, own = detector.predict(image), knows.predict(image)
    both = detector.predict(image, local=knows.bank)
    features = backbone.extract([image])
    one, other = (Scorer.of(d.bank, "plate")(features) for d in (detector, knows))
    least = np.minimum(one.patches, other.patches)
    assert both.score == pytest.approx(least.max()) and both.score < alone.score
    assert both.threshold == alone.threshold != own.threshold
    assert (both.anomaly_map <= alone.anomaly_map + 1e-6).all()
    file = tmp_path / "own.safetensors"
    assert detector.predict([image], local=file, threshold=7.0)[0].score == both.score
    assert detector.predict(image, local=detector.bank).score == pytest.approx(alone.score)
    assert detector.predict(image).score == alone.score


def test_a_score_that_is_no_distance_takes_no_local_bank(
    detector: PatchCore, backbone, product: Path
) -> None:
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(backbone.dimension, 4)).astype(np.float32)
    rows, origin = np.zeros((1, backbone.dimension), np.float32), np.full(1, -1, np.int32)
    beside = {"metric": waves, "amplitudes": np.ones(8, np.float32)}
    name = next(iter(detector.bank.sections))
    kernel = MemoryBank(
        backbone.fingerprint, {name: Section(rows, origin, 0.5, 0.5, **beside)}, ("a",), 1
    )
    other = PatchCore(detector.config, backbone=backbone).use(kernel)
    image = product / "test" / "good" / "000.png"
    assert other.predict(image).score >= 0
    with pytest.raises(ConfigError, match="no scale in common"):
        other.predict(image, local=detector.bank)


def test_a_local_bank_of_other_features_or_products_is_refused(
    detector: PatchCore, product: Path, settings, backbone
) -> None:
    folder = product / "train" / "good"
    other = PatchCore(settings(layer_norm="none")).fit({"plate": folder})
    with pytest.raises(FingerprintError, match="the local bank"):
        detector.predict(picture(1), local=other.bank)
    nut = PatchCore(settings(), backbone=backbone).fit({"nut": folder})
    with pytest.raises(BankError, match="local bank: .*no section for product 'plate'"):
        detector.predict(picture(1), local=nut.bank)


def test_errors_name_the_fix(settings, backbone, tmp_path: Path, detector: PatchCore) -> None:
    fresh = PatchCore(settings(), backbone=backbone)
    with pytest.raises(ConfigError, match="call fit"):
        fresh.predict(picture(0))
    with pytest.raises(DataError, match="'x' has no images"):
        fresh.fit({"x": []})
    with pytest.raises(ImageError):
        detector.predict(tmp_path / "missing.png")
    with pytest.raises(DataError, match="unreadable"):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "a.png").write_text("no image")
        fresh.fit({"x": tmp_path / "bad"})


def test_several_products_need_a_name(product: Path, settings, backbone) -> None:
    folder = product / "train" / "good"
    both = PatchCore(settings(), backbone=backbone).fit({"a": folder, "b": folder})
    with pytest.raises(ConfigError, match="name one of: a, b"):
        both.predict(picture(0))
    assert both.predict(picture(0), "a").score == both.predict(picture(0), "b").score


def test_crop_geometry_leaves_what_it_did_not_see_unjudged(product: Path, settings) -> None:
    detector = PatchCore(settings(geometry="crop")).fit({"p": product / "train" / "good"})
    found = detector.predict(picture(1, size=100))
    assert found.anomaly_map.shape == (100, 100)
    assert np.isnan(found.anomaly_map[0, 0])
    assert np.isfinite(found.anomaly_map[50, 50])


def test_the_fitted_bank_is_a_bank_like_any_other(detector: PatchCore, tmp_path: Path) -> None:
    detector.save(tmp_path / "b.safetensors")
    bank = MemoryBank.load(tmp_path / "b.safetensors")
    assert bank.sections["plate"].images == {"this-machine": 16}
    assert len(bank.section("plate")) == 60


def test_a_config_is_optional_but_never_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedpatchcore.errors import WeightsError

    with pytest.raises(WeightsError, match="no weights for 'wide_resnet50_2'"):
        PatchCore(RunConfig())
