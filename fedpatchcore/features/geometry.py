"""How a picture of any size becomes the square the backbone sees, and how a map goes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from fedpatchcore.data.reduced import Box

__all__ = ["Geometry", "whole_pixels"]

MARGIN = 2


@dataclass(frozen=True)
class Geometry:
    """``crop``: shorter side to 8/7 of ``size``, then the centre square (256 → 224, as the
    paper); ``full``: the whole frame squeezed into the square, so that nothing is cut away.
    """

    kind: Literal["crop", "full"]
    size: int

    def _resized(self, width: float, height: float) -> tuple[int, int]:
        if self.kind == "full":
            return self.size, self.size
        short = round(self.size * 256 / 224)
        if width <= height:
            return short, max(short, round(height * short / width))
        return max(short, round(width * short / height)), short

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Centre square (left, top, right, bottom) within the resized frame."""
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return left, top, left + self.size, top + self.size

    def needed(self, width: int, height: int) -> tuple[int, int]:
        """Size at which a picture of this size may be decoded: twice what it is resized to.

        With that margin it is the antialiasing of `image`, and no decoder, that decides what
        is left of fine detail.
        """
        resized = self._resized(width, height)
        return MARGIN * resized[0], MARGIN * resized[1]

    def image(self, image: Image.Image, box: Box | None = None) -> Image.Image:
        """RGB image → RGB image of ``size`` × ``size`` (bilinear with antialiasing).

        Args:
            box: the part that the picture fills (see `load_reduced`); None: all.
        """
        return self._apply(image, Image.Resampling.BILINEAR, box)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """bool ``[H, W]`` → bool ``[size, size]`` (a pixel is set if half of it is covered)."""
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
        return np.asarray(self._apply(picture, Image.Resampling.BILINEAR)) >= 128

    def _apply(
        self, image: Image.Image, how: Image.Resampling, box: Box | None = None
    ) -> Image.Image:
        left, top, right, bottom = box or (0, 0, *image.size)
        resized = self._resized(right - left, bottom - top)
        image = image.resize(resized, how, box=box)
        return image if self.kind == "full" else image.crop(self._box(*resized))

    def extent(self, width: int, height: int) -> Box:
        """What the square shows of a picture of this size, in its pixels and fractions of them."""
        if self.kind == "full":
            return 0.0, 0.0, float(width), float(height)
        resized = self._resized(width, height)
        left, top, right, bottom = self._box(*resized)
        across, down = width / resized[0], height / resized[1]
        return left * across, top * down, right * across, bottom * down

    def seen(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Pixels (left, top, right, bottom; half-open) whose centre the square shows.

        At least one, however slender the picture.
        """
        left, top, right, bottom = self.extent(width, height)
        columns, rows = whole_pixels(left, right, width), whole_pixels(top, bottom, height)
        return columns[0], rows[0], columns[1], rows[1]

    def restore(self, anomaly_map: np.ndarray, width: int, height: int) -> np.ndarray:
        """Anomaly map ``[size, size]`` → float32 ``[height, width]`` on the original picture.

        Parts that the crop cut away were never looked at and are NaN: all but `seen`.
        """
        frame = self._resized(width, height)
        left, top, right, bottom = (
            (0, 0, self.size, self.size) if self.kind == "full" else self._box(*frame)
        )
        around = ((top, frame[1] - bottom), (left, frame[0] - right))
        filled = np.pad(np.asarray(anomaly_map, dtype=np.float32), around, mode="edge")
        picture = Image.fromarray(filled).resize((width, height), Image.Resampling.BILINEAR)
        left, top, right, bottom = self.seen(width, height)
        canvas = np.full((height, width), np.nan, dtype=np.float32)
        canvas[top:bottom, left:right] = np.asarray(picture)[top:bottom, left:right]
        return canvas


def whole_pixels(start: float, stop: float, size: int) -> tuple[int, int]:
    """Pixels (first, end) of ``size`` in a line whose centre lies in [start, stop).

    If none does, the one in which the middle lies.
    """
    first, end = (min(max(math.ceil(at - 0.5), 0), size) for at in (start, stop))
    if first >= end:
        first = min(max(math.floor((start + stop) / 2), 0), size - 1)
        end = first + 1
    return first, end
