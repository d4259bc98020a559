"""What there is to see of an image file, from opening it once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.content import file_state, hashed
from fedpatchcore.data.decoding import decode_opened, guarded, image_to_rgb, require_file
from fedpatchcore.data.likeness import SIDE
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.data.ranged import file_to_rgb, opened_to_rgb
from fedpatchcore.data.stored import pages_of, sample_kind
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import ImageError

__all__ = ["Look", "Looked", "Looks", "look_at"]

SHARP_SIDE = 256
"""Pixels of the longer side at which sharpness is measured."""


@dataclass(frozen=True)
class Look:
    """An image file, or why it is none.

    Attributes:
        problem: why it cannot be used, "" if it can.
        size: width and height, upright.
        bits: of a sample: 1, 8, 16 or 32.
        sample: "unsigned", "signed" or "float".
        pages: frames or pages; the first is used.
        low, high: of the samples as they are stored.
        mean, spread: of the picture's grey levels, 0 to 255.
        sharpness: natural logarithm of the mean square of its second differences.
        small: uint8 ``[64, 64]``, grey; zeros if it cannot be used.
        digest: sha256 of the file, "" if it cannot be read.
        ranged: whether a range of values was stated to read it by.
    """

    path: Path
    problem: str = ""
    size: tuple[int, int] = (0, 0)
    bits: int = 8
    sample: str = "unsigned"
    pages: int = 1
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    spread: float = 0.0
    sharpness: float = 0.0
    small: np.ndarray | None = None
    digest: str = ""
    ranged: bool = False


@dataclass(frozen=True)
class Looked:
    """A product with a look at each of its images, in the product's order."""

    product: Product
    train: Sequence[Look]
    test: Sequence[tuple[TestImage, Look]]

    @property
    def all(self) -> list[Look]:
        """Training images, then test images."""
        return [*self.train, *(look for _, look in self.test)]


Seen = Callable[[Path, Image.Image], None]


class Looks:
    """Looks at image files: each is opened once for all who ask, until it is forgotten.

    Some 5 kB are kept of an image.

    Args:
        value_range: by which pictures are read.
        seen: given each usable picture while it is decoded, RGB, upright and in full size, as
            `fedpatchcore.data.images.load_image` reads it; in the thread that opened it.
    """

    def __init__(
        self, value_range: ValueRange | None = None, seen: Seen = lambda path, image: None
    ) -> None:
        self.value_range, self._seen = value_range, seen
        self._known: dict[tuple, Look] = {}

    def at(self, path: Path) -> Look:
        """The look at a file as it is now; nothing is raised for one that cannot be used."""
        key = file_state(path)
        if key not in self._known:
            self._known[key] = _look(path, self.value_range, self._seen)
        return self._known[key]

    def small(self, path: Path) -> Image.Image:
        """The picture at a thumbnail's size, grey. Raises ImageError for one that is none."""
        found = self.at(path)
        if found.problem:
            raise ImageError(f"{path}: {found.problem}")
        return Image.fromarray(found.small)

    def forget(self) -> None:
        """Free the memory; whoever asks from here on has files opened anew."""
        self._known.clear()


def look_at(
    products: Iterable[Product], looks: Looks, done: Callable[[int], None] = lambda n: None
) -> list[Looked]:
    """Look at every image of these products, several at a time; ``done`` hears of each."""
    found = []
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        for product in products:
            paths = [*product.train, *(one.path for one in product.test)]
            seen = []
            for one in pool.map(looks.at, paths):
                seen.append(one)
                done(1)
            train = seen[: len(product.train)]
            test = list(zip(product.test, seen[len(product.train) :], strict=True))
            found.append(Looked(product, train, test))
    return found


def _look(path: Path, value_range: ValueRange | None, seen: Seen) -> Look:
    """Open an image: content and pixels from one and the same opening."""
    facts: dict = {"path": path}

    def opened() -> Image.Image:
        require_file(path)
        with path.open("rb") as file:
            facts["digest"] = hashed(file, path)
            return decode_opened(file, lambda image: facts.update(_stored(image)), value_range)

    try:
        image = guarded(opened, path)
        facts |= _range(image, facts["bits"])
        rgb = guarded(partial(_rgb, path, image, facts["bits"], value_range), path)
        facts |= _measured(rgb)
        seen(path, rgb)
    except (ImageError, OSError) as error:
        facts["problem"] = str(error).removeprefix(f"{path}: ")
    return Look(**facts, ranged=value_range is not None)


def _rgb(path: Path, image: Image.Image, bits: int, value_range: ValueRange | None) -> Image.Image:
    """The picture as `load_image` reads it."""
    if not value_range:
        return image_to_rgb(image)
    if bits == 16 and not image.mode.startswith("I"):  # colour: the low bytes are not decoded yet
        return file_to_rgb(path, value_range)
    return opened_to_rgb(image, value_range)


def _stored(image: Image.Image) -> dict:
    """What the file says of itself, before a sample is decoded."""
    bits, sample = sample_kind(image)
    return {"size": image.size, "bits": bits, "sample": sample, "pages": pages_of(image)}


def _range(image: Image.Image, bits: int) -> dict:
    """Smallest and largest visible sample; of 16-bit colour Pillow tells the high bytes alone."""
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if image.mode in ("LA", "RGBA"):
        bands = bands[:-1]
    low, high = float(min(b[0] for b in bands)), float(max(b[1] for b in bands))
    if bits == 16 and not image.mode.startswith("I"):
        low, high = 256 * low, 256 * high + 255
    return {"low": low, "high": high}


def _measured(rgb: Image.Image) -> dict:
    grey = rgb.convert("L")
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    longer = max(grey.size)
    if longer > SHARP_SIDE:
        shape = (
            max(1, grey.width * SHARP_SIDE // longer),
            max(1, grey.height * SHARP_SIDE // longer),
        )
        grey = grey.resize(shape, Image.Resampling.BILINEAR)
    values = np.asarray(grey, dtype=np.float32)
    second = [np.diff(values, 2, axis=axis) for axis in (0, 1) if values.shape[axis] > 2]
    power = sum(float((d**2).mean()) for d in second) if second else 0.0
    return {
        "size": rgb.size,
        "mean": float(values.mean()),
        "spread": float(values.std()),
        "sharpness": float(np.log(power + 1e-3)),
        "small": small,
    }
