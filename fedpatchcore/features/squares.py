"""Squares that the network will see, kept of pictures that someone else has decoded.

Before an image teaches it is looked at: for faults, for groups. Decoding it costs most of that, and
most of making it ready for the network; so what comes of it for the network, 150 kB of bytes at 224
pixels, is laid aside until it is asked for. A site lays it into its cache, where another process
finds it, and takes it away once the features are there. Without a cache, and where its disk is
nearly full (the rest is for features), it stays in memory, up to a bound. What is not kept is
decoded again: it costs time, and changes nothing.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.content import content_hash
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache

__all__ = ["SPARE", "Squares"]

MEMORY = 1 << 28  # bytes: 1,700 images at 224 pixels
SPARE = 1 << 28  # bytes of a disk that are left to features
RECIPE = 1  # raised whenever squares come out differently


class Squares:
    """What `Backbone.square` makes of images, under the content of their files.

    With ``jpeg-draft`` nothing is kept: the network then sees other pixels than whoever decodes a
    picture in full. Nor is anything of pictures that are cut into tiles: they are all there is.

    Args:
        cache: where they are kept; None: in memory.
        most: bytes in memory.
    """

    def __init__(
        self, backbone: Backbone, *, cache: SiteCache | None = None, most: int = MEMORY
    ) -> None:
        self.backbone, self.cache = backbone, cache
        self._room = most
        self._kept: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()  # pictures are decoded in several threads

    def keep(self, path: Path, image: Image.Image) -> None:
        """Lay aside what the network will see of a picture, RGB and in full size."""
        if not self._kept_here:
            return
        key, square = self._key(path), self.backbone.square(image)
        with self._lock:
            spare = self.cache is not None and self.cache.room() > SPARE
            if spare and self.cache.put(key, {"square": square}):
                return
            if square.nbytes <= self._room and key not in self._kept:
                self._kept[key] = square
                self._room -= square.nbytes

    def read(self, path: Path) -> np.ndarray:
        """`Backbone.read`, from the square if it is there; one in memory is given away."""
        square = self._taken(self._key(path)) if self._kept_here else None
        return self.backbone.read(path) if square is None else self.backbone.pixels(square)

    def done(self, path: Path) -> None:
        """The image's features are in the cache: nobody will ask for its square."""
        if self.cache and self._kept_here:
            self.cache.drop(self._key(path))

    @property
    def _kept_here(self) -> bool:
        return not (self.backbone.fingerprint.jpeg_draft or self.backbone.geometry.tiled)

    def _taken(self, key: str) -> np.ndarray | None:
        with self._lock:
            square = self._kept.pop(key, None)
            if square is not None:
                self._room += square.nbytes
                return square
        entry = self.cache.get(key) if self.cache else None
        return None if entry is None else entry[1]["square"]

    def _key(self, path: Path) -> str:
        seen = self.backbone.fingerprint
        told = ("square", RECIPE, seen.geometry, seen.image_size, seen.stride, seen.value_range)
        return hashlib.sha256(repr((*told, content_hash(path))).encode()).hexdigest()
