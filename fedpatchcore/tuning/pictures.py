"""Patch features of pictures with planted defects, from the same cache as those of good ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.planted.grid import Task
from fedpatchcore.timing.halting import checkpoint

__all__ = ["planted_features"]

RECIPE = 1  # raised whenever defects are planted otherwise


def planted_features(
    backbone: Backbone,
    path: Path,
    key: str,
    tasks: Mapping[int, Task],
    cache: SiteCache | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Each defect that leaves a mark in the picture, and the picture's features with it.

    A defect that has clearly less contrast than was asked for is left out, and so are all of a
    picture that cannot be read: they say nothing.

    Args:
        key: the file's content.
        tasks: by number.

    Yields:
        The task's number and float32 ``[h, w, D]``.
    """
    picture: np.ndarray | None = None
    for number, task in tasks.items():
        checkpoint()
        name = _key(backbone, key, task)
        if cache and (entry := cache.get(name)) is not None:
            if "features" in entry[1]:
                yield number, entry[1]["features"]
            continue
        if picture is None:
            try:
                picture = np.asarray(backbone.open(path))
            except ImageError:
                return
        features = _features(backbone, picture, task)
        if cache:
            cache.put(name, {} if features is None else {"features": features})
        if features is not None:
            yield number, features


def _features(backbone: Backbone, picture: np.ndarray, task: Task) -> np.ndarray | None:
    from PIL import Image

    try:
        planted = task.into(picture)
    except DataError:
        return None
    if planted.faint:
        return None
    return backbone.extract([Image.fromarray(planted.picture)])[0]


def _key(backbone: Backbone, key: str, task: Task) -> str:
    told = ("planted", RECIPE, backbone.fingerprint.digest, key)
    told += (task.kind, task.size, task.contrast, task.seed)
    return hashlib.sha256(repr(told).encode()).hexdigest()
