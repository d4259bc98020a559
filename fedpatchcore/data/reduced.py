"""Large JPEG files decoded at 1/2, 1/4 or 1/8 of their size, where no more pixels are needed.

A JPEG holds blocks of 8 × 8 cosine coefficients; leaving out the high ones and transforming back
to 4 × 4, 2 × 2 or 1 pixel gives the smaller picture for a fraction of the work (`PIL.Image.draft`).
The scale depends on the stored width and height and on what is needed, on nothing else, so every
site reads equal files alike. Pixels differ a little from those of a full decode: features made
this way have a fingerprint of their own.

Images of any other format, and JPEGs that are not large enough, are decoded as ever, bit for bit.
Masks never come through here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from fedpatchcore.data.decoding import JPEGS, decode_file, guarded, image_to_rgb, orientation
from fedpatchcore.data.ranged import file_to_rgb
from fedpatchcore.data.value_range import ValueRange

__all__ = ["Box", "Needed", "load_reduced"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
Needed = Callable[[int, int], tuple[int, int]]
"""Stored width and height → the least width and height to decode at."""


def load_reduced(
    path: str | os.PathLike[str], needed: Needed, value_range: ValueRange | None = None
) -> tuple[Image.Image, Box]:
    """Decode an image file at no less than the size needed → PIL image, mode "RGB", upright.

    Returns:
        The image, and the part of it that the picture fills. They differ by less than a pixel a
        side: of 1,001 pixels at 1/8 come 126, of which the picture fills 125.125.

    Raises:
        ImageError: as `fedpatchcore.data.images.load_image`.
    """
    path, filled = Path(path), []

    def draft(image: Image.Image) -> None:
        drafted = None
        if image.format in JPEGS:
            drafted = image.draft(None, needed(*image.size))
        filled.append(drafted[1][2:] if drafted else image.size)

    def decode() -> tuple[Image.Image, Box]:
        image = decode_file(path, draft)
        # TIFF: Pillow turns the image itself while it loads, and nothing was reduced
        width, height = filled[0] if image.format in JPEGS else image.size
        box = _turned((width, height), image.size, orientation(image))
        if value_range and image.format not in JPEGS:
            return file_to_rgb(path, value_range), box
        return image_to_rgb(image), box

    return guarded(decode, path)


def _turned(filled: tuple[float, float], size: tuple[int, int], orientation: int) -> Box:
    """Where the upper left part of this width and height lies once the image stands upright."""
    right, bottom = filled
    spare_right, spare_bottom = size[0] - right, size[1] - bottom
    left = spare_right if orientation in (2, 3, 7, 8) else 0.0
    top = spare_bottom if orientation in (3, 4, 6, 7) else 0.0
    box = (left, top, left + right, top + bottom)
    return box if orientation < 5 else (box[1], box[0], box[3], box[2])
