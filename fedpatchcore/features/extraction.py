"""Image files → patch features, with bad images named and counted, and a cache in between."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fedpatchcore.data.content import content_hash
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.cost import Pace
from fedpatchcore.features.maps import FeatureMaps, Gathering
from fedpatchcore.features.prefetch import automatic_workers, in_order
from fedpatchcore.features.runner import Pending
from fedpatchcore.features.squares import Squares
from fedpatchcore.features.tally import BadImages, Tally
from fedpatchcore.features.tiles import TileReader, put_together, stored_as
from fedpatchcore.features.tiling import Piece
from fedpatchcore.timing.halting import checkpoint

__all__ = ["Extractor", "Progress"]

Progress = Callable[[int, int], None]


@dataclass
class _Ready:
    """What a thread made of one file: cached features, or prepared pixels, or a reason."""

    path: Path
    key: str = ""
    features: np.ndarray | None = None
    pixels: np.ndarray | None = None
    reason: str = ""


@dataclass
class _Flight:
    """Images in their order, and those that are being extracted: of one size, what comes of it."""

    waiting: list[tuple[int, _Ready]]
    batches: list[tuple[list[_Ready], Pending]]


class Extractor:
    """Streams patch features of image files through one backbone.

    Reading, decoding and resizing happen in threads, ahead of the network.

    Args:
        workers: such threads; 0 chooses by the machine.
        max_bad_images: largest share in [0, 1] of unreadable images that is put up with.
        on_bad: told the path and the reason of each skipped image.

    Attributes:
        pace: told of images that were run through the network; whoever said how long that takes
            sets it.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        batch_size: int = 8,
        workers: int = 0,
        max_bad_images: float = 0.1,
        cache: SiteCache | None = None,
        on_bad: Callable[[Path, str], None] | None = None,
    ) -> None:
        self.backbone = backbone
        self.batch_size = batch_size
        self.workers = workers or automatic_workers(backbone.device.type == "cuda")
        self.max_bad_images = max_bad_images
        self.cache = cache
        self.on_bad = on_bad
        self.pace: Pace | None = None
        self._squares = Squares(backbone, cache=cache)
        self._held: dict[Path, np.ndarray] = {}
        self._whole: tuple[tuple[Path, ...], FeatureMaps, list[int], Tally] | None = None

    def stream(
        self, paths: Sequence[Path], tally: Tally, progress: Progress | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index into ``paths``, features float32 ``[h, w, D]``), in order.

        Of pictures that are cut into tiles all of one are put together: see `pieces`. Bad images
        are skipped. In memory are one batch and what was made ready for the next: pixels, or
        features of the cache; with GPUs, also a batch for each that is under way. What is yielded,
        counted and raised, and when, does not depend on ``workers``.

        Raises:
            DataError: no paths, more bad images than allowed, or none good.
        Halted: the work shall end here.
        """
        if not paths:
            raise DataError("no images to extract features from")
        tally.total += len(paths)
        if self.backbone.geometry.tiled:
            yield from put_together(self._tiles(paths, tally, progress))
            return
        start, bad = tally.good, BadImages(len(paths), self.max_bad_images)
        waiting: list[tuple[int, _Ready]] = []
        flying: deque[_Flight] = deque()
        stored: set[str] = set()
        ahead = max(self.batch_size, 2 * self.workers)
        with closing(in_order(self._open, paths, workers=self.workers, ahead=ahead)) as opened:
            for index, (path, one) in enumerate(zip(paths, opened, strict=True)):
                checkpoint()
                if one.key in stored and one.features is None:
                    one.features = self._cached(one.key)  # an equal file came before
                if one.features is not None:
                    tally.cached += 1
                if one.features is not None and not waiting and not flying:
                    yield index, one.features
                elif one.features is not None or one.pixels is not None:
                    waiting.append((index, one))  # in their order, behind what is to be extracted
                else:
                    try:
                        self._skip(path, one.reason, tally, bad)
                    except DataError:
                        yield from self._landed(flying, 0, tally, stored)
                        raise
                batch = sum(w.pixels is not None for _, w in waiting)
                if batch == self.batch_size or len(waiting) > 2 * ahead:
                    flying.append(self._begun(waiting))
                    waiting = []
                    yield from self._landed(flying, self.backbone.in_flight, tally, stored)
                if progress:
                    progress(index + 1, len(paths))
            flying.append(self._begun(waiting))
            yield from self._landed(flying, 0, tally, stored)
        if tally.good == start:
            raise DataError(f"none of {len(paths)} images is readable")

    def pieces(
        self, paths: Sequence[Path], tally: Tally, progress: Progress | None = None
    ) -> Iterator[Piece]:
        """`stream`, of pictures that are cut into tiles piece by piece; others are one each."""
        if not self.backbone.geometry.tiled:
            for index, one in self.stream(paths, tally, progress):
                yield Piece(index, one, 0, 0, one.shape[:2])
            return
        if not paths:
            raise DataError("no images to extract features from")
        tally.total += len(paths)
        yield from self._tiles(paths, tally, progress)

    def _tiles(
        self, paths: Sequence[Path], tally: Tally, progress: Progress | None
    ) -> Iterator[Piece]:
        start, bad = tally.good, BadImages(len(paths), self.max_bad_images)
        done = 0

        def told() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, len(paths))

        def skip(path: Path, reason: str) -> None:
            self._skip(path, reason, tally, bad)
            told()

        def count(cached: bool) -> None:
            tally.cached += cached
            tally.extracted += not cached

        how = {"batch_size": self.batch_size, "cache": self.cache, "key": self._key, "bad": skip}
        reader = TileReader(self.backbone, **how)
        for piece in reader.stream(paths, count):
            yield piece
            if piece.last:
                told()
                if self.pace:
                    self.pace.extracted()
        if tally.good == start:
            raise DataError(f"none of {len(paths)} images is readable")

    def _skip(self, path: Path, reason: str, tally: Tally, bad: BadImages) -> None:
        """A file that cannot be read. Raises DataError if there are too many."""
        tally.bad.append((path, reason))
        if self.on_bad:
            self.on_bad(path, reason)
        bad.add(path, reason)

    def all(
        self, paths: Sequence[Path], progress: Progress | None = None
    ) -> tuple[FeatureMaps, list[int], Tally]:
        """Features of the good images, their indices, the tally."""
        if self._whole is not None and tuple(paths) == self._whole[0]:
            return self._whole[1:]
        tally, good = Tally(), []
        features = Gathering(len(paths))
        for index, one in self.stream(paths, tally, progress):
            into = features.room(one.shape[:2], one.shape[2])
            if self.backbone.in_flight and one.flags.writeable:  # so much that it takes all threads
                torch.from_numpy(into).copy_(torch.from_numpy(one))
            else:
                into[...] = one
            good.append(index)
        return features.done(), good, tally

    @contextmanager
    def holding(
        self, paths: Sequence[Path], features: FeatureMaps, good: list[int], tally: Tally
    ) -> Iterator[None]:
        """While it lasts what `all` found of these images is what they have: no second look.

        The very array is handed out, to be read only; its images count as cached.
        """
        again = Tally(tally.total, cached=tally.good, bad=list(tally.bad))
        self._whole = tuple(paths), features, good, again
        self._held = {paths[at]: one for at, one in zip(good, features, strict=True)}
        try:
            yield
        finally:
            self._whole, self._held = None, {}

    def _open(self, path: Path) -> _Ready:
        """The part of the work that threads do."""
        if (held := self._held.get(path)) is not None:
            return _Ready(path, features=held)
        try:
            key = self._key(path) if self.cache else ""
            if key and (features := self._cached(key)) is not None:
                return _Ready(path, key, features=features)
            return _Ready(path, key, pixels=self._squares.read(path))
        except ImageError as error:
            return _Ready(path, reason=str(error).removeprefix(f"{path}: "))

    def keep(self, path: Path, image: Image.Image) -> None:
        """Spare decoding it again what the network will see of a picture that is decoded now.

        Args:
            image: the file's, RGB, upright, in full size, by the backbone's range of values.
        """
        if not self.holds(path):
            self._squares.keep(path, image)

    def holds(self, path: Path) -> bool:
        """Whether a file's features are in the cache."""
        if not self.cache:
            return False
        try:
            key = self._key(path)
        except ImageError:
            return False
        return self.cache.holds(stored_as(key) if self.backbone.geometry.tiled else key)

    def _cached(self, key: str) -> np.ndarray | None:
        entry = self.cache.get(key)
        return None if entry is None else entry[1]["features"]

    def _key(self, path: Path) -> str:
        content = f"{self.backbone.fingerprint.digest}:{content_hash(path)}"
        if self.batch_size == 1:  # the last digits of features depend on the rest of a batch
            content += ":alone"
        if self.backbone.engine != "torch":  # so they do on what computes them
            content += f":{self.backbone.engine}"
        return hashlib.sha256(content.encode()).hexdigest()

    def _begun(self, waiting: list[tuple[int, _Ready]]) -> _Flight:
        """Begin to extract what is to be extracted, images of one size as one batch."""
        sizes: dict[tuple[int, ...], list[_Ready]] = {}
        for _, one in waiting:
            if one.pixels is not None:
                sizes.setdefault(one.pixels.shape, []).append(one)
        batches = [
            (some, self.backbone.submit([o.pixels for o in some])) for some in sizes.values()
        ]
        return _Flight(waiting, batches)

    def _landed(
        self, flying: deque[_Flight], most: int, tally: Tally, stored: set[str]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield everything in order until only so many batches are under way."""
        while len(flying) > most:
            flight = flying.popleft()
            for batch, pending in flight.batches:
                for one, found in zip(batch, pending.result(), strict=True):
                    one.features, one.pixels = found, None
                    if one.key:
                        if self.cache.put(one.key, {"features": found}):
                            self._squares.done(one.path)
                        stored.add(one.key)
                    tally.extracted += 1
                if self.pace:
                    self.pace.extracted(len(batch))
            for index, one in flight.waiting:
                yield index, one.features
