"""A frozen backbone from picture to patch features, with the fingerprint of what it computes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fedpatchcore.data.images import load_image
from fedpatchcore.data.reduced import Box, load_reduced
from fedpatchcore.data.value_range import canonical, parse_range
from fedpatchcore.devices.choice import resolve_device
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbones.registry import family_of
from fedpatchcore.features.fingerprint import HALF_RECIPE, RECIPE, Fingerprint
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.features.patches import embed
from fedpatchcore.features.settings import FeatureSettings

__all__ = ["Backbone", "build_backbone"]


class Backbone:
    """Turns images into patch features ``[B, h, w, D]``; build one with `build_backbone`."""

    def __init__(
        self, network: nn.Module, fingerprint: Fingerprint, device: torch.device, source: str
    ) -> None:
        self.fingerprint = fingerprint
        self.geometry = Geometry(fingerprint.geometry, fingerprint.image_size)
        self.value_range = parse_range(fingerprint.value_range)
        self.device = device
        self.source = source
        # Channels last: half the time on a CPU with AVX2, and what a GPU's tensor cores want.
        self._network = network.to(device, memory_format=torch.channels_last)
        # A row of pixels is one long vector to numpy: three at a time would be slow.
        self._mean = np.tile(np.float32(fingerprint.mean), fingerprint.image_size)
        self._std = np.tile(np.float32(fingerprint.std), fingerprint.image_size)

    @property
    def dimension(self) -> int:
        """Length D of one patch feature."""
        return self.fingerprint.dimension

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
        """One RGB image of any size → normalised float32 ``[S, S, 3]``.

        Pillow and numpy alone, on one core and mostly without the interpreter's lock: made
        for threads that work ahead of the network.

        Args:
            box: the part that the picture fills; None: all.
        """
        side = self.geometry.size
        pixels = np.array(self.geometry.image(image, box), dtype=np.float32).reshape(side, -1)
        pixels /= np.float32(255)
        pixels -= self._mean
        pixels /= self._std
        return pixels.reshape(side, side, 3)

    def extract(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Patch features of a batch of RGB images, float32 ``[B, h, w, D]`` on the CPU."""
        return self.extract_prepared([self.prepare(image) for image in images])

    def extract_prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """`extract` of images that have gone through `prepare`."""
        side, cuda = self.geometry.size, self.device.type == "cuda"
        # pinned memory can be copied to the GPU while this thread goes on
        batch = torch.empty((len(images), side, side, 3), pin_memory=cuda)
        np.stack(images, out=batch.numpy())
        return self.forward(batch.permute(0, 3, 1, 2)).cpu().numpy()

    @torch.inference_mode()
    def forward(self, batch: Tensor) -> Tensor:
        """Prepared images ``[B, 3, S, S]`` → float32 ``[B, h, w, D]`` on this device."""
        batch = batch.to(self.device, non_blocking=True)
        batch = batch.contiguous(memory_format=torch.channels_last)
        autocast = nullcontext()
        if self.device.type == "cuda" and self.fingerprint.precision != "float32":
            kind = getattr(torch, self.fingerprint.precision)
            autocast = torch.autocast("cuda", dtype=kind)
        with autocast:
            maps = self._network(batch)
        return embed(
            [maps[layer] for layer in self.fingerprint.layers],
            neighbourhood=self.fingerprint.neighbourhood,
            layer_norm=self.fingerprint.layer_norm,
        )


def build_backbone(config: FeatureSettings) -> Backbone:
    """The backbone that the settings describe, ready on its device.

    Raises:
        ConfigError: unknown network, layer or device.
        WeightsError: no weights, or weights of another network.
    """
    device = resolve_device(config.device)
    loaded = family_of(config.backbone).load(config)
    network = loaded.network.eval()
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, config.image_size, config.image_size))
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
        jpeg_draft=config.jpeg_draft,
        value_range=canonical(config.value_range),
        recipe=HALF_RECIPE if config.precision == "float16" else RECIPE,
        dimension=sum(maps[layer].shape[1] for layer in loaded.layers),
        weights_sha256=loaded.weights_sha256,
    )
    for layer in loaded.layers:
        if maps[layer].dim() != 4:
            raise ConfigError(
                f"layer '{layer}' of {config.backbone} gives no map: choose a convolution"
            )
    if device.type == "cpu":
        network = loaded.quicker(network)
    return Backbone(network, fingerprint, device, loaded.source)
