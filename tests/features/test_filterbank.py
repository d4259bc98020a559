"""The embedded filter bank: contract, independent check of the filters, constants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.filterbank_constants import compute
from fedpatchcore.data.sample import write_sample
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbones import filterbank_constants as constants
from fedpatchcore.features.backbones.filterbank import ORIENTATIONS, WAVELENGTHS, FilterBank


@pytest.fixture(scope="module")
def bank() -> FilterBank:
    return FilterBank().eval()


@pytest.fixture
def own_threads() -> Iterator[None]:
    """Whatever number of threads a test sets is gone after it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(64, 64), (100, 150), (224, 224), (225, 231), (320, 256)])
def test_shapes_follow_the_contract(bank: FilterBank, size: tuple[int, int]) -> None:
    maps = bank(noise(2, 3, *size))
    assert tuple(maps) == bank.LAYERS
    for layer, values in maps.items():
        assert values.shape == (2, bank.channels(layer), size[0] // 8, size[1] // 8)
        assert values.dtype == torch.float32 and torch.isfinite(values).all()
        assert values.abs().max() <= bank.channels(layer) ** 0.5


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_are_finite(bank: FilterBank, level: float) -> None:
    values = bank(torch.full((1, 3, 96, 96), level))["surface"]
    assert torch.isfinite(values).all()
    assert values.std(dim=(2, 3)).max() < 1e-3


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [96, 224])
def test_same_images_give_same_bits_and_batches_do_not_mix(
    bank: FilterBank, size: int, threads: int, own_threads: None
) -> None:
    images = noise(7, 3, size, size)
    torch.set_num_threads(threads)
    first = bank(images)["surface"]
    assert torch.equal(first, bank(images)["surface"])
    assert torch.equal(first, FilterBank()(images)["surface"])
    alone = torch.cat([bank(image[None])["surface"] for image in images])
    assert torch.equal(first, alone)  # else a bank would depend on what a cache holds


def test_wrong_layers_and_images_are_refused(bank: FilterBank) -> None:
    with pytest.raises(ConfigError, match="no layer 'layer2'"):
        bank(noise(1, 3, 64, 64), ["layer2"])
    with pytest.raises(ConfigError, match="no layer 'layer2'"):
        bank.channels("layer2")
    for shape in ((1, 1, 64, 64), (1, 3, 56, 64), (3, 64, 64)):
        with pytest.raises(ConfigError, match="at least 64"):
            bank(noise(*shape))


def test_the_state_is_the_constants_alone(bank: FilterBank) -> None:
    """Its hash identifies the features, so nothing that depends on the machine may be in it."""
    state = bank.state_dict()
    assert sorted(state) == ["deviation", "mean"]
    assert torch.equal(state["mean"], torch.tensor(constants.MEAN))
    assert not list(bank.parameters())


def burst(wavelength: float, angle: float, size: int = 224) -> torch.Tensor:
    """A grating of the given wavelength (pixels) and direction under a Gaussian bump."""
    rows, cols = np.mgrid[0:size, 0:size] - (size - 1) / 2
    along = np.cos(angle) * cols + np.sin(angle) * rows
    bump = np.exp(-(rows**2 + cols**2) / (2 * 12.0**2))
    picture = 0.5 + 0.3 * bump * np.cos(2 * np.pi * along / wavelength)
    return torch.from_numpy(picture).float().expand(1, 3, size, size)


@pytest.mark.parametrize("scale", range(len(WAVELENGTHS)))
@pytest.mark.parametrize("orientation", [0, 1, 3, 4, 6])
def test_a_grating_peaks_in_its_own_channel(bank: FilterBank, scale: int, orientation: int) -> None:
    image = burst(WAVELENGTHS[scale], np.pi * orientation / ORIENTATIONS)
    texture = bank.describe(image)[0, : ORIENTATIONS * len(WAVELENGTHS)]
    response = texture.exp().mean(dim=(1, 2)).reshape(len(WAVELENGTHS), ORIENTATIONS)
    assert int(response[scale].argmax()) == orientation
    if WAVELENGTHS[scale] < 16:  # the bump holds less than one period of longer ones
        assert int(response[:, orientation].argmax()) == scale


@pytest.mark.parametrize(("scale", "grid"), [(0, 2), (1, 2), (2, 4), (4, 4)])
@pytest.mark.parametrize("orientation", [0, 3, 6])
def test_one_window_agrees_with_plain_convolution(
    bank: FilterBank, scale: int, grid: int, orientation: int
) -> None:
    """The definition, summed pixel by pixel with spatial Gabor functions."""
    image = gaussian_filter(noise(224, 224).double().numpy(), 1.0)
    batch = torch.from_numpy(image).float().expand(1, 3, 224, 224)
    row, col = 13, 15  # a window far from the border
    got = float(bank.describe(batch)[0, scale * ORIENTATIONS + orientation, row, col])

    contrast = image / (gaussian_filter(image, 16.0, mode="mirror") + 0.25)
    wavelength = WAVELENGTHS[scale]
    sigma, angle = 0.56 * wavelength, np.pi * orientation / ORIENTATIONS
    rows, cols = np.mgrid[0:224, 0:224].astype(float)
    offsets = np.arange(grid // 2, 16, grid) - 0.5 - 4  # cell centres in the 16x16 window
    magnitudes = []
    for y in 8 * row + offsets:
        for x in 8 * col + offsets:
            dy, dx = rows - y, cols - x
            envelope = np.exp(-(dy**2 + dx**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
            wave = np.exp(2j * np.pi * (np.cos(angle) * dx + np.sin(angle) * dy) / wavelength)
            wave -= np.exp(-((2 * np.pi * sigma / wavelength) ** 2) / 2)
            magnitudes.append(abs((contrast * envelope * wave).sum()))
    assert got == pytest.approx(np.log(np.std(magnitudes) + 0.001), abs=0.02)


def test_colour_channels_are_window_means(bank: FilterBank) -> None:
    images = noise(1, 3, 96, 96)
    colour = bank.describe(images)[0, -3:]
    expected = images[0, :, 8 * 5 - 4 : 8 * 5 + 12, 8 * 4 - 4 : 8 * 4 + 12].mean(dim=(1, 2))
    torch.testing.assert_close(colour[:, 5, 4], expected)


def test_brighter_light_moves_texture_less_than_its_logarithm(bank: FilterBank) -> None:
    images = 0.3 + 0.2 * noise(2, 3, 128, 128)
    shift = (bank.describe(2 * images) - bank.describe(images))[:, :-3]
    assert 0 < float(shift.mean()) < 0.5 * np.log(2)


def test_a_small_blemish_stands_out(bank: FilterBank) -> None:
    sound = 0.5 + 0.05 * (noise(1, 1, 224, 224) - 0.5).expand(1, 3, 224, 224)
    faulty = sound.clone()
    faulty[..., 100:104, 60:90] = 0.2
    change = (bank(faulty)["surface"] - bank(sound)["surface"]).norm(dim=1)[0]
    row, col = divmod(int(change.argmax()), 28)
    assert abs(row - 12.5) <= 2 and 6 <= col <= 12


def test_constants_are_finite_and_plain() -> None:
    assert len(constants.MEAN) == len(constants.DEVIATION) == 51
    assert np.isfinite(constants.MEAN).all()
    assert min(constants.DEVIATION) > 0.05
    for values in (constants.MEAN, constants.DEVIATION):
        assert all(float(f"{value:.4g}") == value for value in values)


def test_constants_agree_with_a_small_sample(tmp_path: Path) -> None:
    write_sample(tmp_path / "s", train=3, test_good=0, test_defective=0)
    mean, deviation = (np.array(x) for x in compute(tmp_path / "s"))
    stored = np.array(constants.DEVIATION)
    assert np.abs((mean - constants.MEAN) / stored).max() < 0.1
    assert np.abs(deviation / stored - 1).max() < 0.08


@pytest.mark.long
@pytest.mark.slow
def test_constants_agree_with_the_whole_sample(tmp_path: Path) -> None:
    write_sample(tmp_path / "s", test_good=0, test_defective=0)
    mean, deviation = compute(tmp_path / "s")
    assert mean == pytest.approx(constants.MEAN, abs=2e-3)
    assert deviation == pytest.approx(constants.DEVIATION, abs=2e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu(bank: FilterBank) -> None:
    images = noise(2, 3, 224, 224)
    there = FilterBank().cuda()(images.cuda())["surface"].cpu()
    torch.testing.assert_close(there, bank(images)["surface"], atol=5e-3, rtol=1e-3)
