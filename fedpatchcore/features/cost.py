"""What settings cost on this machine, said before the work: seconds and memory.

A picture of noise is run through the network twice, and the second time counts; of large pictures a
batch of tiles. A process does so once for a network, a size of pictures and its number of threads.
Reading pictures is not counted: threads do it ahead of the network. The words change when the work
turns out slower or quicker than was said.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedpatchcore.data.amounts import duration, work_told
from fedpatchcore.data.sizes import image_size
from fedpatchcore.errors import ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.geometry import Geometry

__all__ = ["Cost", "Pace", "cost_of", "share_seen", "sizes_of"]

Size = tuple[int, int]

LOOKED_AT = 40  # pictures whose heads are read, evenly spread
TOLD = 1.5  # times slower or quicker than was said, from which it is said anew
ENOUGH = 8  # pictures, to say so
MATTERS = 10.0  # seconds; less of a difference is not said
FLOAT = 4  # bytes
REMEMBERED = 256  # measurements


_lock = threading.Lock()
_measured: dict[tuple, tuple[float, tuple[int, int]]] = {}


@dataclass(frozen=True)
class Cost:
    """Of features.

    Attributes:
        images: that are to be gone through.
        seconds: an image.
        patches: of all of them.
        dimension: numbers a patch.
    """

    images: int
    seconds: float
    patches: int
    dimension: int

    @property
    def features(self) -> int:
        """Bytes of all features."""
        return FLOAT * self.patches * self.dimension

    def told(self, *, passes: int = 1, budget: int = 0) -> str:
        """``about 0.12 s an image, 75 images: 9 s; features 1.1 GB``.

        Args:
            passes: how often each image is run through the network.
            budget: bytes that features may take; 0: as many as there are.
        """
        return work_told(self.images, self.seconds, self.features, passes=passes, most=budget)


class Pace:
    """Says when images take longer, or less long, than was thought.

    Args:
        seconds: an image, as was said.
    """

    def __init__(self, images: int, seconds: float, say: Callable[[str], None]) -> None:
        self._images, self._seconds, self._say = images, seconds, say
        self._done, self._begun = 0, time.perf_counter()

    def extracted(self, images: int = 1) -> None:
        """So many more images have been run through the network."""
        self._done += images
        passed = time.perf_counter() - self._begun
        left = self._images - self._done
        if self._done < ENOUGH or left <= 0:
            return
        each = passed / self._done
        matters = abs(each - self._seconds) * left > MATTERS
        if matters and not 1 / TOLD < each / self._seconds < TOLD:
            self._say(
                f"{'slower' if each > self._seconds else 'quicker'} than thought: {each:.2g} s an "
                f"image, {duration(left * each)} for the {left:,} that are left"
            )
            self._seconds = each


def cost_of(
    backbone: Backbone, sizes: Sequence[Size], images: int, *, batch_size: int = 8
) -> Cost | None:
    """What so many images cost; None without a size.

    Args:
        sizes: width and height of some of them.
    """
    if not sizes:
        return None
    geometry, tiling = backbone.geometry, backbone.tiling
    fields = [geometry.field(*one) for one in sizes]
    if tiling:
        tiles = np.mean([len(tiling.cuts(field)) for field in fields])
        patches = np.mean([math.prod(tiling.grid(field)) for field in fields])
        seconds, _ = _second(backbone, (geometry.size, geometry.size), batch_size)
        return Cost(images, float(seconds * tiles), round(patches * images), backbone.dimension)
    usual = sorted(fields, key=math.prod)[len(fields) // 2]
    seconds, grid = _second(backbone, usual, 1)
    times = np.mean([math.prod(field) for field in fields]) / math.prod(usual)
    patches = math.prod(grid) * times
    return Cost(images, float(seconds * times), round(patches * images), backbone.dimension)


def share_seen(geometry: Geometry, sizes: Sequence[Size]) -> float:
    """Share of the pictures' area that is seen, on average over pictures of these sizes."""
    return float(np.mean([geometry.share(*one) for one in sizes])) if sizes else 1.0


def sizes_of(paths: Sequence[Path], most: int = LOOKED_AT) -> list[Size]:
    """Widths and heights of some of these files, evenly spread, of those that can be read."""
    found = []
    for path in paths[:: -(-len(paths) // most) or 1]:
        with suppress(ImageError):
            found.append(image_size(path))
    return found


def _second(backbone: Backbone, field: Size, batch: int) -> tuple[float, tuple[int, int]]:
    """Seconds a picture at the second time, and rows and columns of its patches."""
    devices = tuple(map(str, backbone.devices))
    key = backbone.fingerprint.digest, devices, backbone.engine, torch.get_num_threads()
    with _lock:  # two at a time would be in each other's way
        if (key, field, batch) not in _measured:
            if len(_measured) >= REMEMBERED:
                _measured.clear()
            _measured[key, field, batch] = _tried(backbone, field, batch)
        return _measured[key, field, batch]


def _tried(backbone: Backbone, field: Size, batch: int) -> tuple[float, tuple[int, int]]:
    noise = np.random.default_rng(0).integers(0, 256, (field[1], field[0], 3), np.uint8)
    for _ in range(2):
        begun = time.perf_counter()
        found = backbone.extract_prepared([backbone.pixels(noise.copy()) for _ in range(batch)])
    return (time.perf_counter() - begun) / batch, found.shape[1:3]
