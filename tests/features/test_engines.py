"""OpenVINO and ONNX Runtime against torch: the same features, or a refusal; exports on disk."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.errors import ConfigError, FedPatchCoreError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.engines import engine as engines
from fedpatchcore.features.engines import kept, registry
from fedpatchcore.features.engines.engine import Engine
from fedpatchcore.features.engines.registry import ENGINES
from fedpatchcore.features.extraction import Extractor
from tests.support.products import picture

NAMES = tuple(ENGINES)
PICTURES = [picture(s) for s in range(3)]
TOLD = {  # an export takes seconds: each engine has one, of other settings than the other's
    "openvino": {},
    "onnxruntime": {"layer_norm": "none", "layers": "features.4,features.7"},
}


@pytest.fixture(scope="module", autouse=True)
def there() -> None:
    for kind in ENGINES.values():
        for one in kind.needs:
            pytest.importorskip(one, reason="pip install -e '.[test]'")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of exports for this module."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(autouse=True)
def kept_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "home", lambda: home)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_features_are_torchs_in_batches_of_any_size(name: str, settings) -> None:
    plain = build_backbone(settings(**TOLD[name]))
    expected = plain.extract(PICTURES)
    backbone = build_backbone(settings(**TOLD[name], engine=name))
    for images in (PICTURES, PICTURES[:1]):
        found = backbone.extract(images)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected[: len(images)], atol=2e-5 * scale)
        assert found.dtype == np.float32
    assert backbone.fingerprint == plain.fingerprint
    ((size, apart),) = backbone._runners[0].engine.apart.items()
    assert size == (64, 64) and 0 < apart < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_verdicts_of_one_bank_by_every_engine(name: str, tmp_path: Path, settings) -> None:
    """A bank made by torch serves all, scores equal to the last digits."""
    good = [tmp_path / f"{at}.png" for at in range(8)]
    for at, file in enumerate(good):
        picture(at).save(file)
    detector = PatchCore(settings(**TOLD[name])).fit({"plate": good})
    detector.save(tmp_path / "bank.safetensors")
    expected = np.array([one.score for one in detector.predict(good)])
    weights = settings().weights
    other = PatchCore.load(tmp_path / "bank.safetensors", weights=weights, engine=name)
    scores = [one.score for one in other.predict(good)]
    assert other.backbone.engine == name
    # a patch that is in the bank is near it by the root of what rounding leaves
    np.testing.assert_allclose(scores, expected, atol=2e-3 * max(1, np.abs(expected).max()))


class Fake:
    """An engine that writes a file and computes with torch, or not quite."""

    SUFFIXES = (".graph", ".numbers")

    def __init__(self, by_torch, share: float = 1.0) -> None:
        self.by_torch, self.share, self.exports = by_torch, share, 0

    def version(self) -> str:
        return "1"

    def export(self, program: object, stem: Path) -> None:
        self.exports += 1
        for suffix in self.SUFFIXES:
            stem.with_suffix(suffix).write_bytes(bytes(range(64)))

    def compiled(self, stem: Path, precision: str, threads: int):
        assert stem.with_suffix(".graph").read_bytes() == bytes(range(64))
        return lambda images: self.by_torch(images) * np.float32(self.share)


@pytest.fixture
def fake(settings, monkeypatch: pytest.MonkeyPatch):
    """Engine around a `Fake`, as a later process would make it again."""
    monkeypatch.setattr(engines, "exported", lambda *args: None)
    runner = build_backbone(settings())._runners[0]
    module = Fake(runner._in_float32)

    def made(share: float = 1.0) -> Engine:
        module.share = share
        return Engine("fake", module, runner.network, runner._fingerprint, runner._in_float32)

    return module, made


def batch(side: int = 64) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, side, side, 3), np.float32)


@pytest.mark.parametrize("spoilt", [".numbers", ".json"])
def test_an_export_is_made_once_a_size_and_a_damaged_one_again(
    spoilt: str, fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(engines, "home", lambda: tmp_path)
    module, made = fake
    made()(batch())
    made()(batch())
    assert module.exports == 1
    made()(batch(80))
    assert module.exports == 2
    (first, *_) = tmp_path.glob(f"*{spoilt}")
    first.write_bytes(first.read_bytes()[:20])
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        for side in (64, 80, 64):
            made()(batch(side))
    assert module.exports == 3
    assert sum("will be exported again" in line for line in caplog.messages) == 1
    note = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert set(note["sha256"]) == set(Fake.SUFFIXES) and note["apart"] == 0


def test_other_features_than_torchs_are_refused_and_not_kept(
    fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "home", lambda: tmp_path)
    limit = engines.TOLERANCE["float32"]
    made = fake[1]
    assert made(1 + limit / 2)(batch()).shape == (2, 15, 15, 128)
    for file in tmp_path.glob("*"):
        file.unlink()
    for share in (1 + 2 * limit, float("nan")):
        with pytest.raises(ConfigError, match=r"gives other features than torch.*engine='torch'"):
            made(share)(batch())
        assert not list(tmp_path.glob("*.json"))


def test_where_exports_cannot_be_kept_the_work_goes_on(fake, monkeypatch, caplog) -> None:
    def full() -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engines, "home", full)
    module, made = fake
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        assert np.isfinite(made()(batch())).all()
    assert module.exports == 1
    assert "exports cannot be kept on disk (No space left on device)" in caplog.messages


def test_old_exports_give_way(fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "home", lambda: tmp_path)
    monkeypatch.setattr(kept, "MOST", 2)
    one = fake[1]()
    for side in (64, 72, 80, 88):
        one(batch(side))
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert len(list(tmp_path.iterdir())) == 2 * 3


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"engine": "tensorrt"}, "engine"),
        ({"engine": "openvino", "compile": True}, "compile: is torch's own"),
        ({"engine": "onnxruntime", "precision": "bfloat16"}, "computes in float32, not in bfloat"),
        ({"engine": "openvino", "precision": "float16"}, "float32 or bfloat16, not in float16"),
    ],
)
def test_what_cannot_be_is_named(told: dict, words: str, settings) -> None:
    with pytest.raises((FedPatchCoreError, ValueError), match=words):
        build_backbone(settings(**told))


def test_a_half_that_would_silently_be_float32_is_refused(settings, monkeypatch) -> None:
    monkeypatch.setattr(engines, "native_half", lambda precision: False)
    with pytest.raises(ConfigError, match="no bfloat16 instructions, and engine 'openvino' would"):
        build_backbone(settings(engine="openvino", precision="bfloat16"))
    monkeypatch.setattr(engines, "native_half", lambda precision: True)
    told = build_backbone(settings(engine="openvino", precision="bfloat16")).fingerprint
    plain = build_backbone(settings(precision="bfloat16")).fingerprint
    assert plain.differences(told) == ["engine: torch ≠ openvino"]
    assert '"engine"' not in plain.to_json()


def test_an_engine_that_is_not_installed_names_its_extra(settings, monkeypatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs openvino; what.*'fedpatchcore\[openvino\]', or"):
        build_backbone(settings(engine="openvino"))


def test_cached_features_of_engines_do_not_mix(tmp_path: Path, settings) -> None:
    keys = set()
    picture(0).save(tmp_path / "a.png")
    for name in ("torch", *NAMES):
        tool = Extractor(build_backbone(settings(engine=name)))
        keys.add(tool._key(tmp_path / "a.png"))
    assert len(keys) == 3
