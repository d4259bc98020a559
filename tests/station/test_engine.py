"""What runs the network at a station: said by the settings, checked, told; refused with the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.engines import engine as engines
from fedpatchcore.features.engines import registry
from fedpatchcore.features.engines.engine import Engine
from fedpatchcore.features.engines.kept import Kept
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.settings import StationSettings
from fedpatchcore.station.station import Station
from tests.support.products import picture
from tests.support.stations import camera, drop, fitted, rows_of, stepped


@pytest.fixture
def scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """OpenVINO, as far as the station sees: torch's answers, so many times as large."""
    pytest.importorskip("openvino", reason="pip install -e '.[test]'")
    times = [1 + 1e-5]
    (tmp_path / "exports").mkdir()

    def export(self: Engine, kept: Kept, *size: int) -> None:
        for file in kept.files:
            file.write_bytes(b"a graph")

    def compiled(self: Engine, kept: Kept) -> Callable[[np.ndarray], np.ndarray]:
        return lambda images: self._by_torch(images) * np.float32(times[0])

    monkeypatch.setattr(engines, "home", lambda: tmp_path / "exports")
    monkeypatch.setattr(Engine, "_export", export)
    monkeypatch.setattr(Engine, "_compiled", compiled)
    return times


def test_an_engine_judges_as_torch_does_and_is_told(
    make: Callable[..., Station], tmp_path: Path, scaled: list[float]
) -> None:
    plain = make()
    bench = stepped(plain)
    expected = [bench.judge(drop(tmp_path, f"{at}.png", at), "plate") for at in range(3)]
    told = plain.health()
    assert (told["engine"], told["engine_apart"]) == ("torch", None)
    plain.close()
    station = make(engine="openvino")
    bench = stepped(station)
    for path, one in zip(sorted((tmp_path / "in").iterdir()), expected, strict=True):
        found = bench.judge(path, "plate").prediction
        assert found.score == pytest.approx(one.prediction.score, rel=1e-3)
        assert found.defective == one.prediction.defective
    told = station.health()
    assert told["engine"] == "openvino" and 0 < told["engine_apart"] < 1e-4
    page = camera(station, "viewer").get("/banks").text
    assert "openvino, float32" in page and f"{told['engine_apart']:.1e}" in page


def test_an_engine_that_gives_other_features_is_refused_with_the_fix(
    make: Callable[..., Station], scaled: list[float]
) -> None:
    scaled[0] = 1.01
    with pytest.raises(ConfigError, match=r"other features than torch .*engine='torch'"):
        make(engine="openvino").start()


def test_an_engine_that_is_not_installed_is_refused_with_the_fix(
    make: Callable[..., Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fedpatchcore\[onnxruntime\]'"):
        make(engine="onnxruntime").start()


def test_there_is_no_other_engine() -> None:
    with pytest.raises(ConfigError, match=r"engine.*torch.*openvino.*onnxruntime"):
        StationSettings.parse({"station": "s", "engine": "tensorrt"}, where="test")


def test_halves_are_computed_by_the_engine_of_the_bank_alone() -> None:
    bank = MemoryBank.load(fitted()[1])
    half = {"precision": "bfloat16", "engine": "openvino"}
    object.__setattr__(bank, "fingerprint", bank.fingerprint.model_copy(update=half))
    settings = StationSettings.parse({"station": "s", "engine": "torch"}, where="test")
    with pytest.raises(ConfigError, match='bfloat16 by openvino.*write engine = "openvino"'):
        Bench(settings, bank, "0")


def test_it_is_warm_for_the_sizes_that_came_before(
    make: Callable[..., Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(Bench, "warm", lambda self, sizes=(): seen.extend(sizes))
    station = make()
    bench = stepped(station)
    assert seen == []
    for at, size in enumerate(((80, 60), (64, 64), (80, 60))):
        image: Image.Image = picture(at).resize(size)
        image.save(tmp_path / "in" / f"{at}.png")
        station.watcher.look()
        station.watcher.look()
    while station.worker.one(bench):
        pass
    assert {one.state for one in rows_of(station.place)} == {"judged"}
    stepped(station)
    assert seen == [(80, 60), (64, 64)]
