"""Pictures of a verdict, drawn from its scores when somebody looks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.images import load_image
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.errors import StationError
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.pictures.figures import colour, overlay, png
from fedpatchcore.pictures.scale import Scale
from fedpatchcore.station.benches import scores_of
from fedpatchcore.station.tables import Inspection

__all__ = ["KINDS", "as_jpeg", "as_png", "drawn"]

KINDS = ("plain", "heatmap", "overlay")


def drawn(
    one: Inspection,
    file: Path,
    kind: str,
    *,
    most: int = 0,
    value_range: ValueRange | None = None,
) -> Image.Image:
    """The image itself, its anomaly map in colours, or the map over the image in grey.

    A colour always means the same share of the threshold (`pictures/scale.py`).

    Args:
        most: pixels along the longer side; 0: as the image is.

    Raises:
        StationError: there is no verdict, and so no map.
        ImageError: the image cannot be read.
    """
    picture = load_image(file, value_range)
    if most and max(picture.size) > most:
        size = picture.size
        picture.thumbnail((most, most), Image.Resampling.LANCZOS)
    else:
        size = picture.size
    if kind == "plain":
        return picture
    if one.patches is None or one.score is None:
        raise StationError(f"image {one.id} has no verdict, and no map")
    told, side, *stride = one.geometry.split(":")
    geometry = Geometry(told, *map(int, (side, *stride)))
    found = geometry.restore(map_of(scores_of(one.patches), geometry), *size)
    if size != picture.size:
        found = _smaller(found, picture.size)
    scale = Scale.of(one.threshold)
    if kind == "heatmap":
        return Image.fromarray(colour(found, scale))
    return Image.fromarray(overlay(picture, found, scale))


def _smaller(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 ``[H, W]`` → of (W, H) ``size``, by the nearest pixels; NaN stays NaN."""
    width, height = size
    rows = (2 * np.arange(height) + 1) * values.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * values.shape[1] // (2 * width)
    return values[rows[:, None], columns]


def as_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file, without anything that stood in the original's."""
    return png(picture)


def as_jpeg(picture: Image.Image) -> bytes:
    """The bytes of a JPEG file, for a page."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()
