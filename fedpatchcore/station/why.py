"""Why: to each row of the bank the nearest good patch of this station's own training images.

A bank's row is a patch of some site's good part, and which image it came from did not travel. So
the station looks it up among its own training images, once for each bank, in the background: a
stopped region is shown beside the good patch that the bank finds most like it. Images that it
shows are this station's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.errors import DataError, FedPatchCoreError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.geometry import Geometry, Grid
from fedpatchcore.features.tiles import pieces_of
from fedpatchcore.features.tiling import Piece
from fedpatchcore.station.benches import Bench, Judged
from fedpatchcore.station.looks import Looks, looks_of

__all__ = ["Explainer", "Learnt", "Own", "explained", "learn", "training_images"]

MOST_IMAGES = 200  # training images of a product that are looked through, evenly chosen
REGIONS = 3  # regions of a verdict that are explained


@dataclass(frozen=True)
class Own:
    """What the station's training images are to one bank, for one product.

    Attributes:
        files: the images looked through.
        sizes: their (W, H).
        grids: rows and columns of their patches.
        nearest: int32 ``[M, 3]``, image, row and column of the patch nearest to each row.
        distances: float32 ``[M]``.
        looks: of each image.
    """

    files: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    grids: tuple[Grid, ...]
    nearest: np.ndarray
    distances: np.ndarray
    looks: tuple[Looks, ...]


Learnt = dict[str, Own]


def training_images(root: Path) -> dict[str, tuple[Path, ...]]:
    """Good images by product, as a run reads the folder. Raises DataError, ConfigError."""
    found = discover(root)
    return {name: one.train for name, one in found.items() if one.train}


def learn(bench: Bench, root: Path, stop: threading.Event) -> Learnt:
    """Look through the training images of each product that the bank knows.

    Raises:
        DataError, ConfigError: the folder cannot be read.
    """
    backbone, found = bench.detector.backbone, {}
    images = training_images(root)
    for product in bench.judging.sections:
        files = images.get(product, next(iter(images.values())) if len(images) == 1 else ())
        section = bench.judging.section(product)
        if files and not section.lens:
            chosen = _evenly(files)
            if (own := _through(backbone, chosen, section.features, stop)) is not None:
                found[product] = own
    return found


def _evenly(files: Sequence[Path]) -> list[Path]:
    at = np.linspace(0, len(files) - 1, min(MOST_IMAGES, len(files))).round().astype(int)
    return [files[one] for one in dict.fromkeys(at.tolist())]


def _through(
    backbone: Backbone, files: Sequence[Path], rows: np.ndarray, stop: threading.Event
) -> Own | None:
    best = np.full(len(rows), np.inf, np.float32)
    nearest = np.zeros((len(rows), 3), np.int32)
    kept: list[Path] = []
    sizes: list[tuple[int, int]] = []
    grids: list[Grid] = []
    looks: list[Looks] = []
    for file in files:
        try:
            picture = backbone.open(file)
        except (ImageError, DataError):
            continue
        for piece in _pieces(backbone, picture):
            if stop.is_set():
                return None
            width, dimension = piece.features.shape[1:]
            patches = np.ascontiguousarray(piece.features.reshape(-1, dimension))
            distances, at = NearestNeighbours(patches).search(rows, 1)
            closer, at = distances[:, 0] < best, at[:, 0]
            best[closer] = distances[closer, 0]
            down, across = piece.top + at // width, piece.left + at % width
            nearest[closer] = np.stack([np.full_like(at, len(kept)), down, across], 1)[closer]
        kept.append(file)
        sizes.append(picture.size)
        grids.append(piece.grid)
        looks.append(looks_of(picture))
    if not kept:
        return None
    return Own(tuple(kept), tuple(sizes), tuple(grids), nearest, best, tuple(looks))


def _pieces(backbone: Backbone, picture: Image.Image) -> Iterator[Piece]:
    """A picture's patches: tile by tile where it is cut, else all at once."""
    if backbone.geometry.tiled:
        yield from pieces_of(backbone, backbone.square(picture))
        return
    features = backbone.extract([picture])[0]
    yield Piece(0, features, 0, 0, features.shape[:2])


def explained(found: Judged, own: Own, geometry: Geometry) -> list[dict[str, Any]]:
    """To each of the first regions, the good patch that the bank finds most like it.

    ``here`` and ``there`` are boxes (left, top, right, bottom) in pixels of the two images, each
    of one patch; ``distance`` is that between the bank's row and the good patch.
    """
    told, picture = [], found.prediction.image
    for at, region in enumerate(found.prediction.regions[:REGIONS]):
        height, width = found.nearest.shape
        cell = _cell(geometry, picture.size, (width, height), region.x, region.y)
        row = int(found.nearest[cell[1], cell[0]])
        if row >= len(own.nearest):
            continue
        image, down, across = (int(one) for one in own.nearest[row])
        rows, columns = own.grids[image]
        told.append(
            {
                "region": at,
                "here": _box(geometry, picture.size, (width, height), *cell),
                "image": str(own.files[image]),
                "there": _box(geometry, own.sizes[image], (columns, rows), across, down),
                "distance": float(own.distances[row]),
            }
        )
    return told


def _cell(
    geometry: Geometry, size: tuple[int, int], cells: tuple[int, int], x: int, y: int
) -> tuple[int, int]:
    left, top, right, bottom = geometry.extent(*size)
    across = int((x + 0.5 - left) / (right - left) * cells[0])
    down = int((y + 0.5 - top) / (bottom - top) * cells[1])
    return min(max(across, 0), cells[0] - 1), min(max(down, 0), cells[1] - 1)


def _box(
    geometry: Geometry, size: tuple[int, int], cells: tuple[int, int], across: int, down: int
) -> list[int]:
    left, top, right, bottom = geometry.extent(*size)
    wide, tall = (right - left) / cells[0], (bottom - top) / cells[1]
    corner = left + across * wide, top + down * tall
    return [round(v) for v in (*corner, corner[0] + wide, corner[1] + tall)]


class Explainer:
    """Holds what was learnt of the bench in use, and tells why."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.trouble = ""
        self._learnt: tuple[str, Learnt] = ("", {})

    def learnt(self, bench: Bench | None) -> Learnt:
        """By product; empty until the images were looked through."""
        digest, found = self._learnt
        return found if bench is not None and bench.digest == digest else {}

    def look(self, bench: Bench, stop: threading.Event) -> None:
        """Look the training images through, if that was not done for this bench."""
        if self.root is None or self._learnt[0] == bench.digest:
            return
        try:
            found = learn(bench, self.root, stop)
            self.trouble = ""
        except FedPatchCoreError as error:
            found, self.trouble = {}, str(error)
        if not stop.is_set():
            self._learnt = (bench.digest, found)

    def lacking(self, bench: Bench | None, product: str) -> str:
        """Why a part of this product is shown beside no good patch.

        ``unset``: there is no training folder; ``unread``: it cannot be read; ``kind``: the bank's
        distances are none between patches; ``images``: none of the product could be read there;
        ``early``: they were not looked through yet when it was judged.
        """
        if self.root is None:
            return "unset"
        if self.trouble:
            return "unread"
        if bench is None or self._learnt[0] != bench.digest or product in self._learnt[1]:
            return "early"
        section = bench.judging.sections.get(product)
        return "kind" if section is not None and section.lens else "images"

    def why(self, bench: Bench, product: str, found: Judged) -> list[dict[str, Any]]:
        """What `explained` tells, where there is something to tell."""
        own = self.learnt(bench).get(product)
        if own is None or not found.prediction.regions:
            return []
        return explained(found, own, bench.detector.backbone.geometry)
