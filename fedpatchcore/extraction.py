"""Image files → patch features, with bad images named and counted, and a cache in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedpatchcore.backbones import Backbone
from fedpatchcore.cache import SiteCache
from fedpatchcore.data.images import content_hash, load_image
from fedpatchcore.errors import DataError, ImageError

__all__ = ["BadImages", "Extractor", "Progress", "Tally"]

Progress = Callable[[int, int], None]


@dataclass
class Tally:
    """What happened to the images of one request."""

    total: int = 0
    extracted: int = 0
    cached: int = 0
    bad: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def good(self) -> int:
        """Images that gave features."""
        return self.extracted + self.cached


class BadImages:
    """How many unreadable images a set may have: counts them, and says when it is too many."""

    def __init__(self, total: int, limit: float) -> None:
        self.total = total
        self.limit = limit
        self.found: list[tuple[Path | str, str]] = []

    def add(self, name: Path | str, reason: str) -> None:
        """Note one. Raises DataError once their share exceeds the limit."""
        self.found.append((name, reason))
        if len(self.found) > self.limit * self.total:
            first = "{}: {}".format(*self.found[0])
            raise DataError(
                f"{len(self.found)} of {self.total} images unreadable "
                f"(limit {100 * self.limit:g}%): first: {first}"
            )


class Extractor:
    """Streams patch features of image files through one backbone.

    Args:
        max_bad_images: largest share in [0, 1] of unreadable images that is put up with.
        on_bad: told the path and the reason of each skipped image.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int = 8,
        max_bad_images: float = 0.1,
        cache: SiteCache | None = None,
        on_bad: Callable[[Path, str], None] | None = None,
    ) -> None:
        self.backbone = backbone
        self.batch_size = batch_size
        self.max_bad_images = max_bad_images
        self.cache = cache
        self.on_bad = on_bad

    def stream(
        self, paths: Sequence[Path], tally: Tally, progress: Progress | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index into ``paths``, features float32 ``[h, w, D]``); order is not kept.

        Bad images are skipped. One batch is in memory at a time.

        Raises:
            DataError: no paths, more bad images than allowed, or none good.
        """
        if not paths:
            raise DataError("no images to extract features from")
        tally.total += len(paths)
        start, bad = tally.good, BadImages(len(paths), self.max_bad_images)
        waiting: list[tuple[int, str, object]] = []
        for index, path in enumerate(paths):
            try:
                key = self._key(path) if self.cache else ""
                if key and (entry := self.cache.get(key)) is not None:
                    tally.cached += 1
                    yield index, entry[1]["features"]
                else:
                    waiting.append((index, key, load_image(path)))
            except ImageError as error:
                reason = str(error).removeprefix(f"{path}: ")
                tally.bad.append((path, reason))
                if self.on_bad:
                    self.on_bad(path, reason)
                bad.add(path, reason)
            if len(waiting) == self.batch_size:
                yield from self._flush(waiting, tally)
            if progress:
                progress(index + 1, len(paths))
        yield from self._flush(waiting, tally)
        if tally.good == start:
            raise DataError(f"none of {len(paths)} images is readable")

    def all(
        self, paths: Sequence[Path], progress: Progress | None = None
    ) -> tuple[np.ndarray, list[int], Tally]:
        """Features float32 ``[n, h, w, D]`` of the good images, their indices, the tally."""
        tally = Tally()
        features: np.ndarray | None = None
        kept = np.zeros(len(paths), dtype=bool)
        for index, one in self.stream(paths, tally, progress):
            if features is None:
                features = np.empty((len(paths), *one.shape), dtype=np.float32)
            features[index] = one
            kept[index] = True
        if not kept.all():
            features = features[kept]
        return features, np.flatnonzero(kept).tolist(), tally

    def _key(self, path: Path) -> str:
        content = f"{self.backbone.fingerprint.digest}:{content_hash(path)}"
        return hashlib.sha256(content.encode()).hexdigest()

    def _flush(self, waiting: list, tally: Tally) -> Iterator[tuple[int, np.ndarray]]:
        if not waiting:
            return
        features = self.backbone.extract([image for _, _, image in waiting])
        for (index, key, _), one in zip(waiting, features, strict=True):
            if key:
                self.cache.put(key, {"features": one})
            tally.extracted += 1
            yield index, one
        waiting.clear()
