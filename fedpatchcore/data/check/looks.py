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

from fedpatchcore.data.content import content_hash
from fedpatchcore.data.decoding import decode_file, guarded, image_to_rgb
from fedpatchcore.data.likeness import SIDE
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.data.ranged import file_to_rgb
from fedpatchcore.data.stored import sample_kind
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import ImageError

__all__ = ["Look", "Looked", "look", "look_at"]

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
        ranged: whether it was read by a stated range of values.
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


def look_at(
    products: Iterable[Product],
    value_range: ValueRange | None = None,
    done: Callable[[int], None] = lambda n: None,
) -> list[Looked]:
    """Open every image of these products once, several at a time; ``done`` hears of each."""
    found = []
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        for product in products:
            paths = [*product.train, *(one.path for one in product.test)]
            looks = []
            for one in pool.map(partial(look, value_range=value_range), paths):
                looks.append(one)
                done(1)
            train = looks[: len(product.train)]
            test = list(zip(product.test, looks[len(product.train) :], strict=True))
            found.append(Looked(product, train, test))
    return found


def look(path: Path, value_range: ValueRange | None = None) -> Look:
    """Open an image; nothing is raised for one that cannot be used."""
    facts: dict = {"path": path}
    try:
        facts["digest"] = content_hash(path)
        image = guarded(
            partial(decode_file, path, lambda opened: facts.update(_stored(opened))), path
        )
        facts |= _range(image, facts["bits"])
        if value_range and (facts["bits"] > 8 or facts["sample"] == "float"):
            facts |= _seen(guarded(lambda: file_to_rgb(path, value_range), path))
        else:
            facts |= _seen(guarded(lambda: image_to_rgb(image), path))
    except (ImageError, OSError) as error:
        return Look(**facts, problem=str(error).removeprefix(f"{path}: "))
    return Look(**facts, ranged=value_range is not None)


def _stored(image: Image.Image) -> dict:
    """What the file says of itself, before a sample is decoded."""
    bits, sample = sample_kind(image)
    try:
        pages = getattr(image, "n_frames", 1)
    except (OSError, SyntaxError, ValueError, LookupError, EOFError):
        pages = 1  # pages that cannot be counted are not used either
    return {"size": image.size, "bits": bits, "sample": sample, "pages": pages}


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


def _seen(rgb: Image.Image) -> dict:
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
