"""Image files → patch features, with bad images named and counted, and a cache in between."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fedpatchcore.data.content import content_hash
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.prefetch import automatic_workers, in_order
from fedpatchcore.features.runner import Pending
from fedpatchcore.features.squares import Squares
from fedpatchcore.timing.halting import checkpoint

__all__ = ["BadImages", "Extractor", "Progress", "Tally", "gathered"]

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


def gathered(parts: Iterable[np.ndarray], most: int) -> np.ndarray:
    """Parts ``[b, ...]`` under one another, ``most`` rows at most, filled into one array.

    Unlike ``np.concatenate`` this never holds everything twice. There must be a part.
    """
    whole: np.ndarray | None = None
    filled = 0
    for part in parts:
        if whole is None:
            whole = np.empty((most, *part.shape[1:]), part.dtype)
        whole[filled : filled + len(part)] = part
        filled += len(part)
    return whole[:filled]


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
    """Images in their order, those of them that are being extracted, and what will come of it."""

    waiting: list[tuple[int, _Ready]]
    batch: list[_Ready]
    pending: Pending | None


class Extractor:
    """Streams patch features of image files through one backbone.

    Reading, decoding and resizing happen in threads, ahead of the network.

    Args:
        workers: such threads; 0 chooses by the machine.
        max_bad_images: largest share in [0, 1] of unreadable images that is put up with.
        on_bad: told the path and the reason of each skipped image.
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
        self._squares = Squares(backbone, cache=cache)
        self._held: dict[Path, np.ndarray] = {}
        self._whole: tuple[tuple[Path, ...], np.ndarray, list[int], Tally] | None = None

    def stream(
        self, paths: Sequence[Path], tally: Tally, progress: Progress | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index into ``paths``, features float32 ``[h, w, D]``), in order.

        Bad images are skipped. In memory are one batch and what was made ready for the next:
        pixels, or features of the cache; with GPUs, also a batch for each that is under way.
        What is yielded, counted and raised, and when, does not depend on ``workers``.

        Raises:
            DataError: no paths, more bad images than allowed, or none good.
        Halted: the work shall end here.
        """
        if not paths:
            raise DataError("no images to extract features from")
        tally.total += len(paths)
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
                    tally.bad.append((path, one.reason))
                    if self.on_bad:
                        self.on_bad(path, one.reason)
                    try:
                        bad.add(path, one.reason)
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

    def all(
        self, paths: Sequence[Path], progress: Progress | None = None
    ) -> tuple[np.ndarray, list[int], Tally]:
        """Features float32 ``[n, h, w, D]`` of the good images, their indices, the tally."""
        if self._whole is not None and tuple(paths) == self._whole[0]:
            return self._whole[1:]
        tally = Tally()
        features: np.ndarray | None = None
        kept = np.zeros(len(paths), dtype=bool)
        for index, one in self.stream(paths, tally, progress):
            if features is None:
                features = np.empty((len(paths), *one.shape), dtype=np.float32)
            if self.backbone.in_flight and one.flags.writeable:  # so much that it takes all threads
                torch.from_numpy(features[index]).copy_(torch.from_numpy(one))
            else:
                features[index] = one
            kept[index] = True
        good = np.flatnonzero(kept).tolist()
        for to, at in enumerate(good):  # gaps close in place: no second copy
            if to != at:
                features[to] = features[at]
        return features[: len(good)], good, tally

    @contextmanager
    def holding(
        self, paths: Sequence[Path], features: np.ndarray, good: list[int], tally: Tally
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
        if not (self.cache and self.cache.holds(self._key(path))):
            self._squares.keep(path, image)

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
        """Begin to extract what is to be extracted, as one batch."""
        batch = [one for _, one in waiting if one.pixels is not None]
        pixels = [one.pixels for one in batch]
        return _Flight(waiting, batch, self.backbone.submit(pixels) if batch else None)

    def _landed(
        self, flying: deque[_Flight], most: int, tally: Tally, stored: set[str]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield everything in order until only so many batches are under way."""
        while len(flying) > most:
            flight = flying.popleft()
            features = flight.pending.result() if flight.pending else ()
            for one, found in zip(flight.batch, features, strict=True):
                one.features, one.pixels = found, None
                if one.key:
                    if self.cache.put(one.key, {"features": found}):
                        self._squares.done(one.path)
                    stored.add(one.key)
                tally.extracted += 1
            for index, one in flight.waiting:
                yield index, one.features
