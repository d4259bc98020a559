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
from fedpatchcore.features.engines import registry
from fedpatchcore.features.engines.registry import ENGINES
from fedpatchcore.features.extraction import Extractor
from tests.support.products import picture

NAMES = tuple(ENGINES)
PICTURES = [picture(s) for s in range(3)]


@pytest.fixture(scope="module", autouse=True)
def there() -> None:
    for kind in ENGINES.values():
        for one in kind.needs:
            pytest.importorskip(one, reason="pip install -e '.[test]'")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of exports for this module: an export takes seconds."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(autouse=True)
def kept_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "home", lambda: home)


def notes(home: Path) -> dict[Path, dict]:
    return {file: json.loads(file.read_text()) for file in home.glob("*.json")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("told", [{}, {"layer_norm": "none", "layers": "features.4,features.7"}])
def test_features_are_torchs_in_batches_of_any_size(name: str, told: dict, settings) -> None:
    expected = build_backbone(settings(**told)).extract(PICTURES)
    backbone = build_backbone(settings(**told, engine=name))
    for images in (PICTURES, PICTURES[:1]):
        found = backbone.extract(images)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected[: len(images)], atol=2e-5 * scale)
        assert found.dtype == np.float32
    assert backbone.fingerprint == build_backbone(settings(**told)).fingerprint
    ((size, apart),) = backbone._runners[0].engine.apart.items()
    assert size == (64, 64) and 0 < apart < 1e-5


def test_an_export_is_made_once_and_a_damaged_one_again(home: Path, settings, caplog) -> None:
    config = settings(engine="openvino")

    def extracted() -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
            build_backbone(config).extract(PICTURES)
        return caplog.messages

    extracted()
    assert extracted() == []
    before = notes(home)
    assert all(0 < note["apart"] <= engines.TOLERANCE["float32"] for note in before.values())
    for file in home.glob("*.bin"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    told = extracted()
    assert "was changed or damaged, will be exported again" in told[0]
    assert "exporting the network to openvino for pictures of 64 by 64" in told[1]
    assert extracted() == []
    for file in home.glob("*.json"):
        file.write_text("{")
    assert "will be exported again" in extracted()[0]


def test_other_features_than_torchs_are_refused(settings, monkeypatch) -> None:
    """An engine that leaves one channel out, as a wrong kernel would."""
    module = ENGINES["openvino"].load()
    compiled = module.compiled

    def wrong(*args):
        run = compiled(*args)

        def spoilt(images: np.ndarray) -> np.ndarray:
            found = run(images).copy()
            found[..., 0] = 0
            return found

        return spoilt

    monkeypatch.setattr(module, "compiled", wrong)
    backbone = build_backbone(settings(engine="openvino", image_size=72))
    with pytest.raises(ConfigError, match=r"gives other features than torch.*engine='torch'"):
        backbone.extract([picture(0, size=72)])
    monkeypatch.undo()
    monkeypatch.setattr(engines, "home", lambda: Path("/proc/nowhere"))


def test_where_exports_cannot_be_kept_the_work_goes_on(settings, monkeypatch, caplog) -> None:
    def full() -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engines, "home", full)
    expected = build_backbone(settings()).extract(PICTURES)
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        found = build_backbone(settings(engine="openvino")).extract(PICTURES)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "exports cannot be kept on disk (No space left on device)" in caplog.messages


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


def test_verdicts_of_one_bank_by_every_engine(tmp_path: Path, settings) -> None:
    """A bank made by torch serves all, scores equal to the last digits."""
    good = [tmp_path / f"{at}.png" for at in range(8)]
    for at, file in enumerate(good):
        picture(at).save(file)
    detector = PatchCore(settings()).fit({"plate": good})
    detector.save(tmp_path / "bank.safetensors")
    expected = [one.score for one in detector.predict(good)]
    for name in NAMES:
        weights = settings().weights
        other = PatchCore.load(tmp_path / "bank.safetensors", weights=weights, engine=name)
        scores = [one.score for one in other.predict(good)]
        np.testing.assert_allclose(scores, expected, atol=2e-3)
        assert other.backbone.engine == name


def test_cached_features_of_engines_do_not_mix(tmp_path: Path, settings) -> None:
    keys = set()
    picture(0).save(tmp_path / "a.png")
    for name in ("torch", *NAMES):
        tool = Extractor(build_backbone(settings(engine=name)))
        keys.add(tool._key(tmp_path / "a.png"))
    assert len(keys) == 3
