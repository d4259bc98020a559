"""How a picture of any size becomes what the backbone sees, and how a map goes back.

``whole``: the whole frame, its aspect kept, in about ``size``² pixels: a square of ``size``, or as
many pixels in another shape, each side the nearest multiple of the network's ``stride``. So a
picture costs what a square costs, whatever its shape, and the grid of patches is as the picture
asks. No side gets below `SHORTEST` pixels, and beyond 16 to 1 the longer side is squeezed.

``tiles``: every pixel as it is (`fedpatchcore.features.tiling`). Beyond the last column and row the
picture is reflected, up to a multiple of the stride.

``crop``: shorter side to 8/7 of ``size``, then the centre square (256 → 224), as the paper.

``full``: the whole frame squeezed into a square of ``size``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from fedpatchcore.data.reduced import Box

__all__ = ["KINDS", "Geometry", "Grid", "Kind", "whole_pixels"]

Kind = Literal["whole", "tiles", "crop", "full"]
KINDS: tuple[Kind, ...] = ("whole", "tiles", "crop", "full")
Grid = tuple[int, int]
"""Rows and columns of patches."""
MARGIN = 2
SHORTEST = 64  # pixels that a side of a whole frame has at least: what the filter bank needs
SLENDER = 16.0  # longer side over shorter; beyond, a whole frame is squeezed
MOST_PATCHES = 10**6  # of a picture cut into tiles: 64 megapixels, a patch every 8 pixels
TILE_CELL = 2  # pixels of a map a patch, where pictures are cut into tiles
BAND = 256  # rows of a large picture that are copied at a time


@dataclass(frozen=True)
class Geometry:
    """What of a picture the backbone sees, and how large.

    Attributes:
        size: side of the square, or of a square of as many pixels; of a tile.
        stride: pixels of which both sides of a whole frame, or of a tile, are multiples.
        overlap: pixels that neighbouring tiles share, a multiple of twice the stride.
    """

    kind: Kind
    size: int
    stride: int = 16
    overlap: int = 0

    @property
    def varies(self) -> bool:
        """Whether pictures of different sizes may have different grids."""
        return self.kind in ("whole", "tiles")

    @property
    def tiled(self) -> bool:
        """Whether a picture is seen piece by piece."""
        return self.kind == "tiles"

    @property
    def most_pixels(self) -> int:
        """What the network sees of a picture, or of a tile, has no more pixels than this."""
        if self.kind != "whole":
            return self.size**2
        shortest = self._shortest()
        short, half = max(self.size / SLENDER**0.5, shortest), self.stride / 2
        slender = (short + half) * (SLENDER * short + half)
        return math.ceil(max(slender, (self.size + half) ** 2))

    @property
    def most_patches(self) -> int:
        """An image has no more patches than this: a patch is a pixel of what is seen at least."""
        return MOST_PATCHES if self.tiled else self.most_pixels

    def field(self, width: int, height: int) -> tuple[int, int]:
        """Width and height at which a picture of this size is seen."""
        if self.kind == "tiles":
            return self._even(width), self._even(height)
        if self.kind != "whole":
            return self.size, self.size
        aspect = min(max(width / height, 1 / SLENDER), SLENDER)
        across, down = self.size * aspect**0.5, self.size / aspect**0.5
        shortest = self._shortest()
        larger = max(1.0, shortest / min(across, down))
        sides = (self.stride * round(larger * side / self.stride) for side in (across, down))
        return tuple(max(shortest, side) for side in sides)

    def _shortest(self) -> int:
        return self._even(min(SHORTEST, self.size))

    def _even(self, pixels: int) -> int:
        """The next multiple of the stride."""
        return -(-pixels // self.stride) * self.stride

    def _resized(self, width: float, height: float) -> tuple[int, int]:
        if self.kind != "crop":
            return self.field(width, height)
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
        is left of fine detail. Where pictures are cut into tiles, all of it.
        """
        if self.tiled:
            return width, height
        resized = self._resized(width, height)
        return MARGIN * resized[0], MARGIN * resized[1]

    def image(self, image: Image.Image, box: Box | None = None) -> Image.Image:
        """RGB image → RGB image of its `field` (bilinear with antialiasing; tiles: reflected).

        Args:
            box: the part that the picture fills (see `load_reduced`); None: all.
        """
        return self._apply(image, box)

    def pixels(self, image: Image.Image, box: Box | None = None) -> np.ndarray:
        """`image` as bytes ``[H, W, 3]`` (of a grey one ``[H, W, 1]``), to be read only."""
        if self.tiled:
            return _mirrored(image, self.field(*image.size))
        return np.asarray(self._apply(image, box))

    def mask(self, mask: np.ndarray, grid: Grid) -> np.ndarray:
        """bool ``[H, W]`` → bool ``[*canvas]`` (a pixel is set if half of it is covered).

        Args:
            grid: of the picture's patches.
        """
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
        if self.kind == "crop":
            return np.asarray(self._apply(picture)) >= 128
        height, width = self.canvas(grid)
        if self.tiled:
            picture = self._apply(picture)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)) >= 128

    def canvas(self, grid: Grid) -> tuple[int, int]:
        """Height and width of the anomaly map of a picture whose patches have this grid."""
        if self.tiled:
            return TILE_CELL * grid[0], TILE_CELL * grid[1]
        if not self.varies:
            return self.size, self.size
        scale = self.size / (grid[0] * grid[1]) ** 0.5
        return max(1, round(scale * grid[0])), max(1, round(scale * grid[1]))

    @property
    def sigma(self) -> float:
        """Standard deviation of a map's smoothing, in pixels of the map: the paper's 4.

        Of tiles half a patch, which is as much where patches are 8 pixels apart.
        """
        return TILE_CELL / 2 if self.tiled else 4.0

    def _apply(self, image: Image.Image, box: Box | None = None) -> Image.Image:
        left, top, right, bottom = box or (0, 0, *image.size)
        if self.tiled:
            field = self.field(*image.size)
            return image if image.size == field else Image.fromarray(self.pixels(image).squeeze())
        resized = self._resized(right - left, bottom - top)
        image = image.resize(resized, Image.Resampling.BILINEAR, box=box)
        return image.crop(self._box(*resized)) if self.kind == "crop" else image

    def extent(self, width: int, height: int) -> Box:
        """What is shown of a picture of this size, in its pixels and fractions of them.

        Of tiles it may reach beyond the picture, by less than a stride.
        """
        if self.kind != "crop":
            right, bottom = self.field(width, height) if self.tiled else (width, height)
            return 0.0, 0.0, float(right), float(bottom)
        resized = self._resized(width, height)
        left, top, right, bottom = self._box(*resized)
        across, down = width / resized[0], height / resized[1]
        return left * across, top * down, right * across, bottom * down

    def share(self, width: int, height: int) -> float:
        """How much of a picture of this size is seen, above 0, at most 1."""
        left, top, right, bottom = self.extent(width, height)
        return min(1.0, (right - left) * (bottom - top) / (width * height))

    def seen(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Pixels (left, top, right, bottom; half-open) whose centre is seen.

        At least one, however slender the picture.
        """
        left, top, right, bottom = self.extent(width, height)
        columns, rows = whole_pixels(left, right, width), whole_pixels(top, bottom, height)
        return columns[0], rows[0], columns[1], rows[1]

    def restore(self, anomaly_map: np.ndarray, width: int, height: int) -> np.ndarray:
        """Anomaly map ``[*canvas]`` → float32 ``[height, width]`` on the original picture.

        Parts that the crop cut away were never looked at and are NaN: all but `seen`.
        """
        if self.kind != "crop":
            picture = Image.fromarray(np.asarray(anomaly_map, dtype=np.float32))
            right, bottom = self.extent(width, height)[2:]
            box = (0, 0, picture.width * width / right, picture.height * height / bottom)
            resized = picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
            return np.array(resized)
        frame = self._resized(width, height)
        left, top, right, bottom = self._box(*frame)
        around = ((top, frame[1] - bottom), (left, frame[0] - right))
        filled = np.pad(np.asarray(anomaly_map, dtype=np.float32), around, mode="edge")
        picture = Image.fromarray(filled).resize((width, height), Image.Resampling.BILINEAR)
        left, top, right, bottom = self.seen(width, height)
        canvas = np.full((height, width), np.nan, dtype=np.float32)
        canvas[top:bottom, left:right] = np.asarray(picture)[top:bottom, left:right]
        return canvas


def _mirrored(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Bytes of a picture that goes on to the right and below as in a mirror, again and again.

    Band by band, so that beside the picture there is this array and nothing of its size.
    """
    width, height = image.size
    pixels = np.empty((size[1], size[0], len(image.getbands())), np.uint8)
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        band = np.asarray(image.crop((0, top, width, bottom)))
        pixels[top:bottom, :width] = band.reshape(bottom - top, width, -1)
    while width < size[0]:
        more = min(width, size[0] - width)
        pixels[:height, width : width + more] = pixels[:height, width - more : width][:, ::-1]
        width += more
    while height < size[1]:
        more = min(height, size[1] - height)
        pixels[height : height + more] = pixels[height - more : height][::-1]
        height += more
    return pixels


def whole_pixels(start: float, stop: float, size: int) -> tuple[int, int]:
    """Pixels (first, end) of ``size`` in a line whose centre lies in [start, stop).

    If none does, the one in which the middle lies.
    """
    first, end = (min(max(math.ceil(at - 0.5), 0), size) for at in (start, stop))
    if first >= end:
        first = min(max(math.floor((start + stop) / 2), 0), size - 1)
        end = first + 1
    return first, end
