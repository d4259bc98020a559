"""Pictures given in any form → batches of patch features."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.data.images import to_pil
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.prefetch import automatic_workers, in_order
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.features.tally import BadImages
from fedpatchcore.features.tiles import AHEAD, pieces_of
from fedpatchcore.features.tiling import Piece

__all__ = ["Read", "feature_batches", "feature_pieces", "prepared"]

Read = Callable[[Path], np.ndarray]


def prepared(backbone: Backbone, image: Any, read: Read | None = None) -> np.ndarray:
    """What the network sees of a file or of any picture that `to_pil` takes."""
    if isinstance(image, str | os.PathLike):
        return (read or backbone.read)(Path(image))
    return backbone.prepare(to_pil(image, backbone.value_range))


def feature_batches(
    backbone: Backbone,
    images: Sequence,
    config: FeatureSettings,
    kept: list[int] | None = None,
    *,
    read: Read | None = None,
) -> Iterator[np.ndarray]:
    """Batches of features ``[B, h, w, D]``, each of images of one size, in order; bad images are
    skipped up to the limit.

    ``kept`` is filled with the numbers of those that were not; ``read`` opens files in place of
    the backbone.
    """
    bad = BadImages(len(images), config.max_bad_images)

    def opened(image: Any) -> np.ndarray | ImageError:
        try:
            return prepared(backbone, image, read)
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
    *,
    read: Read | None = None,
) -> Iterator[Piece]:
    """As `feature_batches`, image by image, and of pictures cut into tiles tile by tile.

    A piece's ``index`` is the image's number among ``images``.
    """
    if not backbone.geometry.tiled:
        done = 0
        for batch in feature_batches(backbone, images, config, kept, read=read):
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
