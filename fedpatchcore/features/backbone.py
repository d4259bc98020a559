"""A frozen backbone from picture to patch features, with the fingerprint of what it computes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from fedpatchcore.data.images import load_image
from fedpatchcore.data.reduced import Box, load_reduced
from fedpatchcore.data.value_range import canonical, parse_range
from fedpatchcore.devices.choice import every_device
from fedpatchcore.devices.halves import slow_half
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbones.registry import family_of
from fedpatchcore.features.backbones.weights import unused_weights
from fedpatchcore.features.engines.registry import TORCH
from fedpatchcore.features.fingerprint import HALF_RECIPE, RECIPE, Fingerprint
from fedpatchcore.features.runner import Pending, Runner
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.features.tiling import Tiling
from fedpatchcore.spelling import mended, typed
from fedpatchcore.texts import one_line

__all__ = ["Backbone", "build_backbone"]

log = logging.getLogger("fedpatchcore")


class Backbone:
    """Turns images into patch features ``[B, h, w, D]``; build one with `build_backbone`.

    Args:
        devices: the network runs on all of them, batch by batch in turn.
        widths: channels of each layer, in their order in a patch feature.
        cells: patches in a line of a square picture.
        engine: what runs the network on a processor (`ENGINES`).

    Attributes:
        device: the first; where selections and searches belong.
        tiling: how pictures are cut, of geometry "tiles".
    """

    def __init__(
        self,
        network: nn.Module,
        fingerprint: Fingerprint,
        devices: Sequence[torch.device],
        source: str,
        widths: tuple[int, ...],
        cells: int,
        engine: str = TORCH,
    ) -> None:
        self.engine = engine
        self.fingerprint = fingerprint
        self.widths = widths
        self.geometry = fingerprint.frame
        self.tiling = Tiling(self.geometry, cells) if self.geometry.tiled else None
        self.value_range = parse_range(fingerprint.value_range)
        self.device = devices[0]
        self.source = source
        networks = [network, *(deepcopy(network) for _ in devices[1:])]
        self._runners = [
            Runner(one, fingerprint, device, engine)
            for one, device in zip(networks, devices, strict=True)
        ]
        self._turn = 0
        self._bytes = self.device.type != "cpu"  # a GPU normalises by itself

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Where the network runs."""
        return tuple(runner.device for runner in self._runners)

    @property
    def dimension(self) -> int:
        """Length D of one patch feature."""
        return self.fingerprint.dimension

    @property
    def apart(self) -> float | None:
        """How far the engine's patches lie from torch's at most, in lengths of a patch.

        Over the sizes of picture that it has run; None before the first, and where torch runs.
        """
        engines = (runner.engine for runner in self._runners if runner.engine is not None)
        return max((far for one in engines for far in list(one.apart.values())), default=None)

    def read(self, path: Path) -> np.ndarray:
        """`prepare` of an image file. Raises ImageError.

        With ``jpeg-draft`` large JPEG files are decoded at the size that is needed.
        """
        if self.fingerprint.jpeg_draft:
            return self.prepare(*load_reduced(path, self.geometry.needed, self.value_range))
        return self.prepare(self.open(path))

    def open(self, path: Path) -> Image.Image:
        """An image file in full size, RGB, by the stated range of values. Raises ImageError."""
        return load_image(path, self.value_range)

    def prepare(self, image: Image.Image, box: Box | None = None) -> np.ndarray:
        """One RGB image of any size → what the network's device takes, ``[H, W, 3]``.

        Normalised float32; for a GPU, which does that by itself, bytes. Pillow and numpy alone, on
        one core and mostly without the interpreter's lock: made for threads that work ahead of the
        network.

        Args:
            box: the part that the picture fills; None: all.
        """
        return self.pixels(self.square(image, box))

    def square(self, image: Image.Image, box: Box | None = None) -> np.ndarray:
        """The part of `prepare` that depends on the picture's size, uint8 ``[H, W, 3]``,
        to be read only."""
        return self.geometry.pixels(image, box)

    def pixels(self, square: np.ndarray) -> np.ndarray:
        """The rest of `prepare`: for the processor, normalised."""
        if self._bytes:
            return square if square.flags.writeable else square.copy()  # torch wants it so
        mean, std = _rows(self.fingerprint.mean, self.fingerprint.std, square.shape[1])
        pixels = square.astype(np.float32).reshape(len(square), -1)
        pixels /= np.float32(255)
        pixels -= mean
        pixels /= std
        return pixels.reshape(square.shape)

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Patch features of a batch of RGB images, float32 ``[B, h, w, D]`` on the CPU.

        Of a geometry that varies all must come out at one size.
        """
        return self.extract_prepared([self.prepare(image) for image in images])

    def extract_prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """`extract` of images that have gone through `prepare`."""
        return self.submit(images).result()

    def submit(self, images: Sequence[np.ndarray]) -> Pending:
        """`extract_prepared`, begun on the device whose turn it is; a CPU has done it at once."""
        runner = self._runners[self._turn % len(self._runners)]
        self._turn += 1
        return runner.submit(images)

    def compile(self, batch_size: int) -> None:
        """Compile the network for batches of this size, and try it.

        Raises:
            ConfigError: that cannot be done here.
        """
        side = self.geometry.size
        image = np.zeros((side, side, 3), np.uint8 if self._bytes else np.float32)
        for runner in self._runners:
            runner.network = torch.compile(runner.network)
            try:
                runner.submit([image] * batch_size).result()
            except Exception as error:  # of the compiler, or of what it calls
                reason = one_line(error, 200)
                raise ConfigError(
                    mended(
                        f"the network cannot be compiled on {runner.device} ({reason})",
                        typed("compile", "false"),
                    )
                ) from None

    @property
    def in_flight(self) -> int:
        """Batches to be submitted before the result of the first is waited for."""
        return len(self._runners) if self._bytes else 0

    def flow(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        """`extract_prepared` of each batch, in order, with `in_flight` of them under way."""
        flying: deque[Pending] = deque()
        for batch in batches:
            flying.append(self.submit(batch))
            if len(flying) > self.in_flight:
                yield flying.popleft().result()
        for one in flying:
            yield one.result()


@lru_cache(maxsize=64)
def _rows(
    mean: tuple[float, ...], std: tuple[float, ...], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of a row of pixels, which is one long vector to numpy: three at a time would be slow."""
    return np.tile(np.float32(mean), width), np.tile(np.float32(std), width)


def build_backbone(config: FeatureSettings) -> Backbone:
    """The backbone that the settings describe, ready on its device.

    Raises:
        ConfigError: unknown network, layer or device.
        WeightsError: no weights, or weights of another network.
    """
    devices = every_device(config.device)
    if config.engine != TORCH and devices[0].type != "cpu":
        raise ConfigError(
            mended(
                f"engine '{config.engine}' computes on the processor, not on {devices[0]}",
                typed("device", "cpu"),
                typed("engine", TORCH),
            )
        )
    if devices[0].type == "cpu" and (slow := slow_half(config.precision)):
        log.warning("%s", slow)
    family = family_of(config.backbone)
    if config.weights and not family.needs_weights:
        unused_weights(config.backbone, config.weights)
    loaded = family.load(config)
    network = loaded.network.eval()
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, config.image_size, config.image_size))
    widths = tuple(maps[layer].shape[1] for layer in loaded.layers)
    stride = loaded.stride if config.geometry in ("whole", "tiles") else 0
    shared = -(-config.tile_overlap // (2 * loaded.stride)) * 2 * loaded.stride
    fingerprint = Fingerprint(
        architecture=config.backbone,
        layers=loaded.layers,
        geometry=config.geometry,
        image_size=config.image_size,
        mean=loaded.mean,
        std=loaded.std,
        neighbourhood=config.neighbourhood,
        layer_norm=loaded.layer_norm if config.layer_norm == "auto" else config.layer_norm,
        precision=config.precision,
        engine=config.engine if config.precision != "float32" else TORCH,
        jpeg_draft=config.jpeg_draft,
        value_range=canonical(config.value_range),
        recipe=HALF_RECIPE if config.precision == "float16" else RECIPE,
        dimension=sum(widths),
        weights_sha256=loaded.weights_sha256,
        stride=stride,
        overlap=shared if config.geometry == "tiles" else 0,
    )
    for layer in loaded.layers:
        if maps[layer].dim() != 4:
            raise ConfigError(
                f"layer '{layer}' of {config.backbone} gives no map: choose a convolution"
            )
    if devices[0].type == "cpu":
        network = loaded.quicker(network)
    cells = max(maps[layer].shape[-1] for layer in loaded.layers)
    backbone = Backbone(network, fingerprint, devices, loaded.source, widths, cells, config.engine)
    if config.compile:
        backbone.compile(config.batch_size)
    return backbone
