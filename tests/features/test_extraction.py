"""Files to features with threads ahead: numbers, counts and errors as one after another."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from fedpatchcore.data.images import load_image
from fedpatchcore.errors import DataError
from fedpatchcore.features.backbones.torchvision_cnn import cut, folded
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.prefetch import PREFIX, in_order
from fedpatchcore.features.tally import Tally
from tests.support.products import picture

BROKEN = (3, 7)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Eleven images of several sizes; two of them are none."""
    for at in range(11):
        picture(at, size=48 + 7 * at).save(tmp_path / f"{at:02d}.png")
    for at in BROKEN:
        (tmp_path / f"{at:02d}.png").write_bytes(b"nothing")
    return sorted(tmp_path.glob("*.png"))


def ahead_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(PREFIX)]


def test_pixels_are_divided_centred_and_scaled_in_float32(backbone) -> None:
    image = picture(5, size=90)
    pixels = np.array(backbone.geometry.image(image))
    mean, std = (torch.tensor(v) for v in (backbone.fingerprint.mean, backbone.fingerprint.std))
    expected = (torch.from_numpy(pixels).float() / 255.0 - mean) / std
    np.testing.assert_array_equal(backbone.prepare(image), expected.numpy())


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [1, 4, 16])
def test_features_are_those_of_one_image_after_another(backbone, files, workers, size) -> None:
    good = [at for at in range(len(files)) if at not in BROKEN]
    batches = [good[low : low + size] for low in range(0, len(good), size)]
    expected = np.concatenate(
        [backbone.extract([load_image(files[i]) for i in b]) for b in batches]
    )
    tool = Extractor(backbone, batch_size=size, max_bad_images=0.2)
    tool.workers = workers  # 0: in the calling thread
    found, kept, tally = tool.all(files)
    found = found.dense()
    assert kept == good
    np.testing.assert_array_equal(found, expected)
    assert (tally.extracted, tally.cached, [p for p, _ in tally.bad]) == (
        9,
        0,
        [files[at] for at in BROKEN],
    )
    patches = expected.shape[1] * expected.shape[2]  # all in the one array there is room in
    assert found.base.shape[0] == len(files) * patches
    assert ahead_threads() == []


@pytest.mark.parametrize("workers", [1, 4])
def test_too_many_bad_images_end_it_where_they_stand(backbone, files, workers) -> None:
    """The second bad file of eleven breaks a limit of 10%, after its batch-mates before it."""
    told, steps, got = [], [], []
    tool = Extractor(
        backbone, batch_size=2, workers=workers, on_bad=lambda path, why: told.append((path, why))
    )
    with pytest.raises(DataError, match=r"2 of 11 images unreadable \(limit 10%\): first: .*03"):
        for index, _ in tool.stream(files, Tally(), lambda done, total: steps.append(done)):
            got.append(index)
    assert [path for path, _ in told] == [files[3], files[7]]
    assert all("not an 8- or 16-bit" in why and "png" not in why for _, why in told)
    assert got == [0, 1, 2, 4, 5, 6]
    assert steps == list(range(1, 8))
    assert ahead_threads() == []


def test_equal_files_count_as_cached_once_the_first_is_stored(backbone, tmp_path: Path) -> None:
    for at in range(6):
        picture(1).save(tmp_path / f"{at}.png")
    tool = Extractor(backbone, batch_size=2, workers=3, cache=SiteCache(tmp_path / "cache", 1.0))
    features, _, tally = tool.all(sorted(tmp_path.glob("*.png")))
    features = features.dense()
    assert (tally.extracted, tally.cached) == (2, 4)
    assert (features == features[0]).all()


def test_closing_the_stream_early_leaves_no_thread(backbone, files) -> None:
    stream = Extractor(backbone, batch_size=1, workers=3).stream(files, Tally())
    next(stream)
    assert ahead_threads()
    stream.close()
    assert ahead_threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_consumer_leaves_no_thread(backbone, files, error) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise error

    with pytest.raises(error):
        Extractor(backbone, workers=3).all(files, stop)
    assert ahead_threads() == []


def test_an_error_in_a_thread_is_raised_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 4:
            raise ZeroDivisionError(item)
        return item * item

    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(iter_into(seen, in_order(work, range(9), workers=3, ahead=6)))
    assert seen == [0, 1, 4, 9]
    assert ahead_threads() == []


def iter_into(seen: list, items) -> list:
    for item in items:
        seen.append(item)
    return []


def test_order_is_kept_and_little_runs_ahead() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        return item

    for at, item in enumerate(in_order(work, range(40), workers=4, ahead=5)):
        assert item == at
        assert len(begun) <= at + 1 + 5
    assert len(begun) == 40


def test_decoders_stay_quiet_in_many_threads(tmp_path: Path) -> None:
    """A palette with transparent bytes makes Pillow warn; here a warning would be an error."""
    image = picture(4).quantize(8)
    image.info["transparency"] = bytes(range(0, 256, 32))
    image.save(tmp_path / "b.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(tmp_path / "b.png").convert("RGB")
    assert caught, "the example no longer makes Pillow warn"
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = list(warnings.filters)
        assert all(pool.map(load_image, [tmp_path / "b.png"] * 60))
        assert warnings.filters == inside
    assert warnings.filters == before


def test_folding_batch_norms_changes_nothing_but_the_last_digits() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = resnet18(weights=None).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.normal_(module.bias)
            if getattr(module, "inplace", False):
                module.inplace = False
        images = torch.rand(2, 3, 64, 64)
    layers = ("layer1.0.conv1", "layer1.0.bn2", "layer2", "layer3")
    module = cut(network, "resnet18", layers)
    with torch.inference_mode():
        expected = {k: v.double() for k, v in module(images).items()}
    quick = folded(module)
    with torch.inference_mode():
        found = quick(images)
    assert (quick.code.count(".bn1("), quick.code.count(".bn2(")) == (1, 0)  # asked for: conv1
    assert list(found) == list(layers)
    for name in layers:
        error = (found[name] - expected[name]).abs().max() / expected[name].abs().max()
        assert error < 1e-5, name
