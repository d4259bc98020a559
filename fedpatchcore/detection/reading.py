"""Pictures given in any form → batches of patch features."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fedpatchcore.data.images import to_pil
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.prefetch import automatic_workers, in_order
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.features.tally import BadImages, Tally
from fedpatchcore.features.tiles import AHEAD, pieces_of
from fedpatchcore.features.tiling import Piece

__all__ = ["Files", "Pictures", "Source", "feature_batches", "feature_pieces", "prepared"]


class Source(Protocol):
    """Where the features of images come from; ``kept`` is filled with the numbers of those that
    could be read.
    """

    def batches(self, images: Sequence, kept: list[int]) -> Iterator[np.ndarray]: ...

    def pieces(self, images: Sequence, kept: list[int]) -> Iterator[Piece]: ...


class Pictures:
    """Pictures in any form, each opened and run through the network whenever it is asked for."""

    def __init__(self, backbone: Backbone, config: FeatureSettings) -> None:
        self._backbone, self._config = backbone, config

    def batches(self, images: Sequence, kept: list[int]) -> Iterator[np.ndarray]:
        """See `feature_batches`."""
        return feature_batches(self._backbone, images, self._config, kept)

    def pieces(self, images: Sequence, kept: list[int]) -> Iterator[Piece]:
        """See `feature_pieces`."""
        return feature_pieces(self._backbone, images, self._config, kept)


class Files:
    """Image files by an extractor, whose cache knows those of before."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor

    def batches(self, images: Sequence, kept: list[int]) -> Iterator[np.ndarray]:
        """Image by image, ``[1, h, w, D]``. Raises as `Extractor.stream`."""
        for at, one in self._extractor.stream(images, Tally()):
            kept.append(at)
            yield one[None]

    def pieces(self, images: Sequence, kept: list[int]) -> Iterator[Piece]:
        """Of pictures cut into tiles tile by tile. Raises as `Extractor.stream`."""
        for piece in self._extractor.pieces(images, Tally()):
            if not kept or kept[-1] != piece.index:
                kept.append(piece.index)
            yield piece


def prepared(backbone: Backbone, image: Any) -> np.ndarray:
    """What the network sees of a file or of any picture that `to_pil` takes."""
    if isinstance(image, str | os.PathLike):
        return backbone.read(Path(image))
    return backbone.prepare(to_pil(image, backbone.value_range))


def feature_batches(
    backbone: Backbone,
    images: Sequence,
    config: FeatureSettings,
    kept: list[int] | None = None,
) -> Iterator[np.ndarray]:
    """Batches of features ``[B, h, w, D]``, each of images of one size, in order; bad images are
    skipped up to the limit.

    ``kept`` is filled with the numbers of those that were not.
    """
    bad = BadImages(len(images), config.max_bad_images)

    def opened(image: Any) -> np.ndarray | ImageError:
        try:
            return prepared(backbone, image)
        except ImageError as error:
            return error

    def batches() -> Iterator[list[np.ndarray]]:
        batch: list[np.ndarray] = []
        workers = config.workers or automatic_workers(backbone.device.type == "cuda")
        ahead = max(config.batch_size, 2 * workers)
        with closing(in_order(opened, images, workers=workers, ahead=ahead)) as ready:
            for at, one in enumerate(ready):
                if isinstance(one, ImageError):
                    bad.add(f"image {at + 1}", str(one))
                    continue
                if batch and (len(batch) == config.batch_size or one.shape != batch[0].shape):
                    yield batch
                    batch = []
                batch.append(one)
                if kept is not None:
                    kept.append(at)
        if batch:
            yield batch

    with closing(batches()) as made:
        yield from backbone.flow(made)
    if len(bad.found) == len(images):
        raise DataError(f"none of {len(images)} images is readable")


def feature_pieces(
    backbone: Backbone,
    images: Sequence,
    config: FeatureSettings,
    kept: list[int],
) -> Iterator[Piece]:
    """As `feature_batches`, image by image, and of pictures cut into tiles tile by tile.

    A piece's ``index`` is the image's number among ``images``.
    """
    if not backbone.geometry.tiled:
        done = 0
        for batch in feature_batches(backbone, images, config, kept):
            for one in batch:
                yield Piece(kept[done], one, 0, 0, one.shape[:2])
                done += 1
        return
    bad = BadImages(len(images), config.max_bad_images)

    def opened(image: Any) -> np.ndarray | ImageError:
        try:
            return backbone.square(to_pil(image, backbone.value_range))
        except ImageError as error:
            return error

    with closing(in_order(opened, images, workers=1, ahead=AHEAD)) as ready:
        for at, one in enumerate(ready):
            if isinstance(one, ImageError):
                bad.add(f"image {at + 1}", str(one))
                continue
            kept.append(at)
            yield from pieces_of(backbone, one, batch_size=config.batch_size, index=at)
    if len(bad.found) == len(images):
        raise DataError(f"none of {len(images)} images is readable")
