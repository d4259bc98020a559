"""Embedded texture features: a fixed Gabor filter bank that needs no weights and no training.

For demonstrations, tests and sites without access to pretrained networks. The features are
classical texture analysis (Jain and Farrokhnia, "Unsupervised texture segmentation using Gabor
filters", Pattern Recognition 24(12), 1991): the image is divided by its local brightness,
filtered by complex Gabor functions of six wavelengths (4 to 22.6 pixels, half an octave apart)
and eight orientations, and in windows of 16x16 pixels every 8 pixels the standard deviation of
each response's magnitude is taken, as a logarithm. The deviation reacts to structure that is not
uniform in the window (edges, scratches, holes) more than to the texture itself. Three channels
hold the window's mean colour. All 51 channels are standardised by constants that come from the
synthetic sample (`filterbank_constants`), so they are the same at every site. Last, each patch's
vector is divided by the root of one plus its mean square (divisive normalisation, Heeger, Visual
Neuroscience 9, 1992): a soft unit norm, which bounds high-contrast patches without blowing up
those that are like the average. No further norm is needed.

The magnitudes are computed in the Fourier domain: each filter's pass band is cut out and
transformed back on a coarse grid (magnitudes are band-limited, Simoncelli and Freeman, "The
steerable pyramid", ICIP 1995), which makes long wavelengths cheap.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbones import filterbank_constants as constants
from fedpatchcore.features.backbones.loaded import Loaded, layers_asked
from fedpatchcore.features.backbones.weights import state_sha256
from fedpatchcore.features.settings import FeatureSettings

__all__ = ["FilterBank", "load"]

STRIDE = 8  # pixels between windows
WINDOW = 16  # pixels a side of a window
_MARGIN = 32  # pixels reflected around the image, against wrap-around
_MINIMUM = 64  # pixels, smallest image side

ORIENTATIONS = 8  # k pi / 8 from the column axis, direction of the modulation
WAVELENGTHS = tuple(4.0 * 2 ** (i / 2) for i in range(6))  # pixels
_GRIDS = (2, 2, 4, 4, 4, 4)  # pixels between samples of the magnitude, by wavelength
_ENVELOPE = 0.56  # deviation of the Gaussian envelope in wavelengths: one octave of bandwidth

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_SURROUND = 16.0  # pixels, deviation of the Gaussian that measures local brightness
_SATURATION = 0.25  # local brightness below which division fades out
_SEMISATURATION = 1.0  # mean square of the standardised channels at which the norm sets in
_FLOOR = 0.001  # added before the logarithm; below the noise of 8-bit images


class FilterBank(nn.Module):
    """Fixed texture and colour features on a grid of stride 8.

    Deterministic; buffers move with ``.to(device)``. The one layer is ``"surface"``: 48 texture
    channels (wavelength-major, then orientation) and mean red, green, blue. Use it without layer
    norm (``layer_norm="none"``) and with a 3x3 neighbourhood.

    >>> bank = FilterBank()
    >>> bank(torch.rand(2, 3, 224, 224))["surface"].shape
    torch.Size([2, 51, 28, 28])
    """

    LAYERS: tuple[str, ...] = ("surface",)

    def __init__(self) -> None:
        super().__init__()
        # Exact decimal constants only: the state's hash identifies the features across machines,
        # while exponentials may differ in the last bit between them.
        self.register_buffer("mean", torch.tensor(constants.MEAN))
        self.register_buffer("deviation", torch.tensor(constants.DEVIATION))
        self.register_buffer("_luma", torch.tensor(_LUMA), persistent=False)
        self._filters: dict[tuple, tuple] = {}

    def channels(self, layer: str) -> int:
        """Number of channels of a layer."""
        if layer not in self.LAYERS:
            raise ConfigError(f"filter bank has no layer '{layer}'; it has {list(self.LAYERS)}")
        return len(constants.MEAN)

    def forward(self, images: Tensor, layers: Sequence[str] = LAYERS) -> dict[str, Tensor]:
        """Standardised, divisively normalised features; every value within ±sqrt(51).

        Args:
            images: ``[B, 3, H, W]`` float32 RGB in [0, 1]; H and W at least 64.
            layers: names out of :attr:`LAYERS`.

        Returns:
            ``[B, 51, H // 8, W // 8]`` float32 for each layer. Cell (i, j) sees the 16x16 pixels
            around pixel (8 i + 4, 8 j + 4), widened by the filters.
        """
        for layer in layers:
            self.channels(layer)
        raw = self.describe(images)
        shape = (1, -1, 1, 1)
        standardised = (raw - self.mean.view(shape)) / self.deviation.view(shape)
        energy = standardised.square().mean(dim=1, keepdim=True)
        features = standardised / torch.sqrt(energy + _SEMISATURATION)
        return dict.fromkeys(layers, features)

    def describe(self, images: Tensor) -> Tensor:
        """The same features before standardisation, ``[B, 51, H // 8, W // 8]``."""
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < _MINIMUM:
            raise ConfigError(
                f"filter bank got images of shape {tuple(images.shape)}; "
                f"it needs [B, 3, H, W] with H and W of at least {_MINIMUM}"
            )
        height, width = (side // STRIDE * STRIDE for side in images.shape[2:])
        with torch.autocast(images.device.type, enabled=False), torch.no_grad():
            images = images[..., :height, :width].float()
            padded = F.pad(images, (_MARGIN,) * 4, mode="reflect")
            contrast = self._local_contrast(padded)
            spectrum = torch.fft.fft2(contrast)
            size = tuple(contrast.shape[-2:])
            texture = [
                self._texture(spectrum, index, size, (height, width))
                for index in range(len(WAVELENGTHS))
            ]
            colour = _windows(padded, 1, (height, width))
        return torch.cat([*texture, colour], dim=1)

    def _local_contrast(self, padded: Tensor) -> Tensor:
        """Luminance ``[B, H, W]`` over its Gaussian-weighted surround, mean removed.

        One image at a time: torch's sums, and MKL's transform to real numbers, give other last
        digits for other numbers of images, and a cache may hold some of a batch.
        """
        size = padded.shape[-2:]
        blur = self._cached(("blur", *size), padded.device, lambda: (_gaussian_response(size),))[0]
        found = []
        for image in padded:
            luminance = sum(image[at] * weight for at, weight in enumerate(self._luma))
            surround = torch.fft.irfft2(torch.fft.rfft2(luminance) * blur, s=size)
            contrast = luminance / (surround + _SATURATION)
            found.append(contrast - contrast.mean())
        return torch.stack(found)

    def _texture(
        self, spectrum: Tensor, index: int, size: tuple[int, int], inner: tuple[int, int]
    ) -> Tensor:
        """Log deviation of the magnitudes at one wavelength, ``[B, 8, h, w]``."""
        rows, cols, response = self._cached(
            ("gabor", index, *size),
            spectrum.device,
            lambda: _gabor_responses(WAVELENGTHS[index], _GRIDS[index], size),
        )
        band = spectrum[:, rows[:, :, None], cols[:, None, :]] * response
        magnitude = torch.fft.ifft2(band).abs()
        mean = _windows(magnitude, _GRIDS[index], inner)
        square = _windows(magnitude.square(), _GRIDS[index], inner)
        return torch.log((square - mean.square()).clamp_min(0).sqrt() + _FLOOR)

    def _cached(self, key: tuple, device: torch.device, make) -> tuple[Tensor, ...]:
        """Filters for one image size, made on first use and kept on their device."""
        key = (*key, str(device))
        if key not in self._filters:
            self._filters[key] = tuple(tensor.to(device) for tensor in make())
        return self._filters[key]


def _windows(maps: Tensor, grid: int, inner: tuple[int, int]) -> Tensor:
    """Mean of ``maps [B, C, ., .]``, sampled every ``grid`` pixels, in each 16x16 window."""
    start = (_MARGIN - (WINDOW - STRIDE) // 2) // grid
    rows, cols = ((side + WINDOW - STRIDE) // grid for side in inner)
    maps = maps[..., start : start + rows, start : start + cols]
    return F.avg_pool2d(maps, WINDOW // grid, STRIDE // grid)


def _gaussian_response(size: Sequence[int]) -> Tensor:
    """Frequency response of the surround's Gaussian on the half spectrum of ``size``."""
    fy = torch.fft.fftfreq(size[0], dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(size[1], dtype=torch.float64)[None, :]
    return torch.exp(-2 * (math.pi * _SURROUND) ** 2 * (fy**2 + fx**2)).float()


def _gabor_responses(
    wavelength: float, grid: int, size: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Pass bands of the eight orientations at one wavelength.

    Returns row and column indices into the full spectrum, ``[8, n]`` and ``[8, m]``, and the
    complex responses ``[8, n, m]``. Transforming the cut-out back gives the response sampled
    every ``grid`` pixels, at the centres of the ``grid`` x ``grid`` cells, demodulated (its
    magnitude is unchanged). A sinusoid of amplitude 1 at the filter's frequency has magnitude
    1/2; the response to a constant is zero.
    """
    all_rows, all_cols, responses = [], [], []
    for k in range(ORIENTATIONS):
        cosine, sine = math.cos(math.pi * k / ORIENTATIONS), math.sin(math.pi * k / ORIENTATIONS)
        rows, fy = _cut(sine / wavelength, size[0], size[0] // grid)
        cols, fx = _cut(cosine / wavelength, size[1], size[1] // grid)
        fy, fx = fy[:, None], fx[None, :]
        spread = 2 * (math.pi * _ENVELOPE * wavelength) ** 2
        passband = torch.exp(
            -spread * ((fx - cosine / wavelength) ** 2 + (fy - sine / wavelength) ** 2)
        )
        constant = math.exp(-spread / wavelength**2) * torch.exp(-spread * (fx**2 + fy**2))
        centre = 2 * math.pi * (fx + fy) * (grid - 1) / 2
        gain = (passband - constant) / grid**2
        responses.append(torch.polar(gain.abs(), centre + math.pi * (gain < 0)))
        all_rows.append(rows)
        all_cols.append(cols)
    return torch.stack(all_rows), torch.stack(all_cols), torch.stack(responses).to(torch.complex64)


def _cut(frequency: float, length: int, kept: int) -> tuple[Tensor, Tensor]:
    """Indices of the ``kept`` bins around a frequency, and their frequencies (cycles/pixel)."""
    bins = torch.arange(kept) - kept // 2 + round(frequency * length)
    return bins % length, bins.double() / length


class _Layers(nn.Module):
    """The filter bank restricted to the named layers."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.bank = FilterBank()
        self.layers = layers
        for layer in layers:
            if layer not in self.bank.LAYERS:
                raise ConfigError(
                    f"backbone 'filterbank' has no layer '{layer}'; "
                    f"it has {', '.join(self.bank.LAYERS)}"
                )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.bank(images.contiguous(), self.layers)


def load(config: FeatureSettings) -> Loaded:
    """The filter bank; it normalises by itself, so "auto" is no further norm.

    Raises ConfigError for a layer that it lacks, and for a name that goes on after a "/".
    """
    if config.backbone != "filterbank":
        raise ConfigError(f"unknown backbone '{config.backbone}': the filter bank is 'filterbank'")
    network = _Layers(layers_asked(config.layers) or tuple(FilterBank.LAYERS))
    sha = state_sha256(network.state_dict())
    black, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Loaded(network, network.layers, sha, "embedded", black, one, layer_norm="none")
