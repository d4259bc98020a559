"""The GPU's way from pixels to features, on CPUs that are taken for GPUs."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpatchcore.devices import choice
from fedpatchcore.devices.choice import every_device, resolve_device
from fedpatchcore.devices.memory import OutOfMemory
from fedpatchcore.devices.precision import ieee, tf32
from fedpatchcore.errors import ConfigError, DataError, FingerprintError
from fedpatchcore.features import backbone as backbone_module
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.prefetch import automatic_workers
from fedpatchcore.features.tally import Tally
from tests.support.products import picture

BROKEN = (3, 7)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Eleven images, two of which are none."""
    for at in range(11):
        picture(at).save(tmp_path / f"{at:02d}.png")
    for at in BROKEN:
        (tmp_path / f"{at:02d}.png").write_bytes(b"nothing")
    return sorted(tmp_path.glob("*.png"))


@pytest.fixture
def pretended(settings, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A backbone on two devices that take bytes, as GPUs do."""
    two = (torch.device("cpu"),) * 2
    monkeypatch.setattr(backbone_module, "every_device", lambda name: two)
    made = build_backbone(settings())
    made._bytes = True
    return made


def test_a_device_normalises_to_the_bit_as_the_host_does(backbone, pretended) -> None:
    images = [picture(s) for s in range(3)]
    assert pretended.prepare(images[0]).dtype == np.uint8
    np.testing.assert_array_equal(pretended.extract(images), backbone.extract(images))


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_batches_under_way_come_in_order(backbone, pretended, files, size: int) -> None:
    tool = Extractor(pretended, batch_size=size, workers=3, max_bad_images=0.2)
    plain = Extractor(backbone, batch_size=size, workers=3, max_bad_images=0.2)
    (found, kept, tally), (expected, at, counted) = tool.all(files), plain.all(files)
    found = found.dense()
    expected = expected.dense()
    assert pretended.in_flight == 2 and backbone.in_flight == 0
    assert kept == at and tally == counted
    np.testing.assert_array_equal(found, expected)


def test_both_devices_work(pretended, files, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    for at, runner in enumerate(pretended._runners):
        real = runner.submit
        monkeypatch.setattr(
            runner, "submit", lambda i, at=at, real=real: used.append(at) or real(i)
        )
    Extractor(pretended, batch_size=2, max_bad_images=0.2).all(files)
    assert used == [0, 1, 0, 1, 0]
    assert pretended._runners[0].network is not pretended._runners[1].network


def test_what_is_under_way_is_yielded_before_an_error(pretended, files) -> None:
    got = []
    tool = Extractor(pretended, batch_size=2, max_bad_images=0.1)
    with pytest.raises(DataError, match="2 of 11 images unreadable"):
        for index, _ in tool.stream(files, Tally()):
            got.append(index)
    assert got == [0, 1, 2, 4, 5, 6]


def test_cached_and_extracted_images_keep_their_order(pretended, files, tmp_path: Path) -> None:
    cache = SiteCache(tmp_path / "cache", 1.0)
    tool = Extractor(pretended, batch_size=2, max_bad_images=0.2, cache=cache)
    tool.all(files[4:6])
    again, kept, tally = tool.all(files)
    again = again.dense()
    assert kept == [at for at in range(11) if at not in BROKEN]
    assert (tally.extracted, tally.cached) == (7, 2)
    fresh = Extractor(pretended, batch_size=2, max_bad_images=0.2).all(files)[0].dense()
    np.testing.assert_allclose(again, fresh, atol=1e-6)  # other images share a batch


def test_flow_gives_every_batch_once(pretended) -> None:
    images = [pretended.prepare(picture(s)) for s in range(7)]
    batches = [images[:3], images[3:4], images[4:]]
    assert [len(f) for f in pretended.flow(batches)] == [3, 1, 3]
    assert list(pretended.flow([])) == []


@pytest.mark.parametrize("most", [1, 3])
def test_a_batch_without_room_is_halved_with_a_line(
    backbone, monkeypatch, caplog, most: int
) -> None:
    images = [backbone.prepare(picture(s)) for s in range(8)]
    expected = backbone.extract_prepared(images)
    (runner,) = backbone._runners
    real, sizes = runner.network, []

    def poor(batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise OutOfMemory("CUDA out of memory")
        return real(batch)

    monkeypatch.setattr(runner, "network", poor)
    monkeypatch.setattr(runner, "_most", 1 << 30)
    with caplog.at_level(logging.WARNING, logger="fedpatchcore"):
        found = backbone.extract_prepared(images)
        sizes.clear()
        backbone.extract_prepared(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "features: out of memory on the device, going on with" in caplog.text
    assert max(sizes) <= most  # it is learnt


# Largest difference to float32, as a share of the largest feature: docs of benchmarks/gpu.py
BOUND = {"bfloat16": 3e-2, "float16": 4e-3}


@pytest.mark.parametrize("precision", list(BOUND))
def test_a_cpu_computes_what_the_fingerprint_says(settings, backbone, precision: str) -> None:
    images = [picture(s) for s in range(3)]
    half = build_backbone(settings(precision=precision))
    found, expected = half.extract(images), backbone.extract(images)
    apart = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-5 < apart < BOUND[precision]
    with pytest.raises(FingerprintError, match=f"precision: float32 ≠ {precision}"):
        backbone.fingerprint.require(half.fingerprint, ours="this site", theirs="the bank")


def test_words_for_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(name: str) -> list[str]:
        return [str(one) for one in every_device(name)]

    monkeypatch.setattr(choice.torch.cuda, "is_available", lambda: False)
    assert named("auto") == named("cpu") == ["cpu"]
    for name in ("cuda", "cuda:1", "all"):
        with pytest.raises(ConfigError, match=f"'{name}' is asked for but torch sees no GPU"):
            every_device(name)
    monkeypatch.setattr(choice.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(choice.torch.cuda, "device_count", lambda: 3)
    assert named("auto") == ["cuda"] and named("cpu") == ["cpu"]
    assert named("cuda:2") == ["cuda:2"]
    assert named("all") == ["cuda:0", "cuda:1", "cuda:2"]
    assert str(resolve_device("all")) == "cuda:0"
    with pytest.raises(ConfigError, match="'cuda:3' is asked for but torch sees cuda:0 to cuda:2"):
        every_device("cuda:3")
    with pytest.raises(ConfigError, match="'gpu' is no device"):
        every_device("gpu")


@pytest.mark.parametrize("word", ["gpu", "cuda:x", "cuda:01", "", "cuda:-1"])
def test_other_words_are_refused_by_the_sheet(settings, word: str) -> None:
    with pytest.raises(ValueError, match="device: must be one of auto, cpu, cuda, cuda:1"):
        settings(device=word)


def test_a_network_is_compiled_once_and_tried(settings, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(torch, "compile", lambda network: seen.append(network) or network)
    plain, compiled = build_backbone(settings()), build_backbone(settings(compile=True))
    assert len(seen) == 1
    assert compiled.fingerprint == plain.fingerprint

    def broken(network):
        def call(batch):
            raise RuntimeError("no C compiler\nfound")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ConfigError, match=r"cannot be compiled on cpu \(no C compiler found\)"):
        build_backbone(settings(compile=True))


def test_products_of_float32_keep_their_bits_within_the_block_alone() -> None:
    card, flags = torch.device("cuda"), torch.backends
    before = flags.cuda.matmul.allow_tf32, flags.cudnn.allow_tf32
    for asked in (True, False):
        flags.cuda.matmul.allow_tf32 = flags.cudnn.allow_tf32 = asked
        try:
            with ieee(card):
                assert not flags.cuda.matmul.allow_tf32 and not flags.cudnn.allow_tf32
                with tf32(card):
                    assert flags.cuda.matmul.allow_tf32 and not flags.cudnn.allow_tf32
                assert not flags.cuda.matmul.allow_tf32
            assert flags.cuda.matmul.allow_tf32 == flags.cudnn.allow_tf32 == asked
            with tf32(torch.device("cpu")):
                assert flags.cuda.matmul.allow_tf32 == asked
        finally:
            flags.cuda.matmul.allow_tf32, flags.cudnn.allow_tf32 = before


def test_a_gpu_gets_more_decoding_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, alone, beside in ((1, 1, 1), (4, 2, 4), (16, 8, 16), (64, 8, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid, n=cores: set(range(n)))
        assert (automatic_workers(False), automatic_workers(True)) == (alone, beside)
