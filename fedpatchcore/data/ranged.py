"""Pictures of more than 8 bits → 8-bit RGB by a range of values that is stated, not guessed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.decoding import decode_file, image_to_rgb, upright, white_is_zero
from fedpatchcore.data.stored import raw_mode
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import ImageError

__all__ = ["STRAY", "as_levels", "file_to_rgb", "opened_to_rgb"]

STRAY = 0.001
"""Share of the values that may lie outside the range, dead or hot pixels say; they are clipped."""


def file_to_rgb(path: Path, given: ValueRange) -> Image.Image:
    """An image file → upright RGB, its samples from the range to 0 … 255.

    Files of 8-bit samples are read as without a range.

    Raises:
        ImageError: more than `STRAY` of the values lie outside the range, or one is NaN.
    """
    raw: list[str] = []
    image = decode_file(path, lambda opened: raw.append(raw_mode(opened)), given)
    if ";16" in raw[0] and not image.mode.startswith("I"):
        if image.mode != "RGB" or not raw[0].startswith("RGB;16"):
            raise ImageError("16-bit colour with transparency takes no value-range; save it as RGB")
        low = decode_file(path, _low_bytes)
        values = np.asarray(upright(image)).astype(np.uint16) << 8 | np.asarray(upright(low))
        return Image.fromarray(as_levels(values, given))
    return opened_to_rgb(image, given)


def opened_to_rgb(image: Image.Image, given: ValueRange) -> Image.Image:
    """`file_to_rgb` of a loaded image; of 16-bit colour Pillow has kept the high bytes alone."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image_to_rgb(image)
    values = np.asarray(upright(image))
    levels = as_levels(values, given)
    levels = 255 - levels if white_is_zero(image) else levels
    return Image.fromarray(levels).convert("RGB")


def as_levels(values: np.ndarray, given: ValueRange) -> np.ndarray:
    """Samples of any kind → uint8 of the same shape, by rounding to the nearest level.

    Raises:
        ImageError: more than `STRAY` of the values lie outside the range, or one is no number.
    """
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ImageError("holds NaN or infinite values; save it without")
    outside = float(np.mean((wide < given.low) | (wide > given.high)))
    if outside > STRAY:
        raise ImageError(
            f"{outside:.1%} of the values lie outside value-range='{given}': they go from "
            f"{wide.min():g} to {wide.max():g}; state the range of the camera"
        )
    shares = (wide.clip(given.low, given.high) - given.low) / (given.high - given.low)
    return np.rint(255 * shares).astype(np.uint8)


def _low_bytes(image: Image.Image) -> None:
    """Let Pillow, which keeps one byte of each two, keep the other."""
    other = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B"}
    other["RGB;16N"] = "RGB;16B" if sys.byteorder == "little" else "RGB;16L"
    swapped = []
    for one in image.tile:
        first, *rest = one[3] if isinstance(one[3], tuple) else (one[3],)
        args = (other[first], *rest) if rest else other[first]
        swapped.append(one._replace(args=args) if hasattr(one, "_replace") else (*one[:3], args))
    image.tile = swapped
