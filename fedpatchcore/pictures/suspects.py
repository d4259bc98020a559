"""Pictures of the training images that the rest explains least, with a table of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.images import to_pil
from fedpatchcore.data.tables import no_formula
from fedpatchcore.detection.regions import find_regions
from fedpatchcore.detection.scoring import PatchScores, flat
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.detection.suspects import Suspect
from fedpatchcore.errors import ImageError
from fedpatchcore.features.geometry import Geometry
from fedpatchcore.files import write_atomically
from fedpatchcore.pictures.cases import LOW_PERCENTILE, file_stem
from fedpatchcore.pictures.scale import Scale

__all__ = ["save_suspects"]


def save_suspects(
    folder: Path,
    product: str,
    images: Sequence[Path],
    scores: PatchScores,
    suspects: Sequence[Suspect],
    *,
    threshold: float,
    geometry: Geometry,
    read: Callable[[Path], Image.Image] = to_pil,
) -> list[Path]:
    """Write a picture of each and ``<product>.csv`` (image, score, deviations, picture).

    Args:
        images, scores: all training images that were scored, by banks without them.
        read: opens one, as the backbone does.

    Returns:
        The pictures, in the suspects' order; an image that cannot be read any more has none.

    Raises:
        OSError: the folder cannot be written.
    """
    from fedpatchcore.pictures.figures import png, triple

    usual = float(np.percentile(flat(scores.patches), LOW_PERCENTILE))
    scale = Scale.around(usual, threshold)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["image", "score", "deviations", "picture"])
    written = []
    for place, one in enumerate(suspects):
        path = images[one.number]
        try:
            image = read(path)
        except ImageError:
            continue
        patches = scores.patches[one.number]
        _, mask = find_regions(patches, one.score, threshold, geometry, image.size)
        picture = triple(
            image,
            geometry.restore(map_of(patches, geometry), *image.size),
            score=one.score,
            threshold=threshold,
            region=mask,
            scale=scale,
            title=f"{product}  ·  {path.name}",
        )
        file = folder / f"{file_stem(product)}-{place + 1}-{file_stem(path.stem)}.png"
        write_atomically(file, png(picture))
        writer.writerow(
            [no_formula(str(path)), f"{one.score:.6g}", f"{one.deviations:.3g}", file.name]
        )
        written.append(file)
    write_atomically(folder / f"{file_stem(product)}.csv", table.getvalue().encode())
    return written
