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
from fedpatchcore.features.extraction import BadImages
from fedpatchcore.features.prefetch import automatic_workers, in_order
from fedpatchcore.features.settings import FeatureSettings

__all__ = ["Read", "feature_batches", "prepared"]

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
    """Batches of features ``[B, h, w, D]``; bad images are skipped up to the limit.

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
                else:
                    batch.append(one)
                    if kept is not None:
                        kept.append(at)
                if len(batch) == config.batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    with closing(batches()) as made:
        yield from backbone.flow(made)
    if len(bad.found) == len(images):
        raise DataError(f"none of {len(images)} images is readable")
