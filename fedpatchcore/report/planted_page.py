"""Planted defects as one page: each kind in sizes and contrasts, before and after, and where."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.images import load_image
from fedpatchcore.data.products import Product
from fedpatchcore.data.value_range import ValueRange
from fedpatchcore.errors import DataError, ImageError, RunError
from fedpatchcore.files import write_atomically
from fedpatchcore.planted.cells import CONTRASTS, SIZES
from fedpatchcore.planted.grid import Task
from fedpatchcore.planted.planting import KINDS, Planted
from fedpatchcore.report.render import render
from fedpatchcore.texts import NAME, one_line
from fedpatchcore.version import VERSION

__all__ = ["write_planted_page"]

AROUND = 2.2  # of the defect's extent: how much is seen of its surroundings
CLOSE = 150  # pixels of a close-up
WHOLE = 300  # of a whole picture, the longer side


@dataclass(frozen=True)
class Shown:
    """A defect: the place before and after, and its mask, as data links.

    Attributes:
        faint: whether it has clearly less contrast than was asked for.
    """

    before: str
    after: str
    size: float
    contrast: float
    extent: int
    faint: bool


@dataclass(frozen=True)
class Kind:
    """A kind of defect in a product: a whole picture with its place, and the grid."""

    name: str
    whole: str
    shown: Sequence[Shown]


def write_planted_page(
    target: Path,
    folder: Path,
    products: Mapping[str, Product],
    *,
    seed: int = 0,
    value_range: ValueRange | None = None,
    done: Callable[[int], None] = lambda n: None,
) -> list[str]:
    """Write the page, from training images; returns what could not be planted, a line each.

    Raises:
        RunError: the page cannot be written.
        DataError: no product has a training image that can be read.
    """
    notes: list[str] = []
    drawn = []
    for at, (name, product) in enumerate(sorted(products.items())):
        pictures = _pictures(product, len(SIZES) * len(CONTRASTS), seed, value_range)
        if not pictures:
            notes.append(f"{one_line(name, NAME)}: no training image that can be read")
            continue
        kinds = [_kind(kind, pictures, name, (seed, at), notes) for kind in KINDS]
        drawn.append((name, len(product.train), [kind for kind in kinds if kind.shown]))
        done(1)
    if not drawn:
        raise DataError(f"{folder} has no training image to plant a defect into")
    page = render(
        "planted.html.j2",
        folder=folder.resolve().name,
        products=drawn,
        notes=notes,
        seed=seed,
        version=VERSION,
    )
    try:
        write_atomically(target, page.encode())
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror}") from None
    return notes


def _pictures(
    product: Product, count: int, seed: int, value_range: ValueRange | None
) -> list[np.ndarray]:
    """Some training images, drawn by the seed; those that cannot be read are left out."""
    found: list[np.ndarray] = []
    for at in np.random.default_rng([seed, 2]).permutation(len(product.train)):
        try:
            found.append(np.asarray(load_image(product.train[at], value_range)))
        except ImageError:
            continue
        if len(found) == count:
            break
    return found


def _kind(
    kind: str,
    pictures: Sequence[np.ndarray],
    product: str,
    seed: tuple[int, int],
    notes: list[str],
) -> Kind:
    """The grid of one kind, each cell in another picture as far as there are enough."""
    shown, whole = [], ""
    cells = [(size, contrast) for size in SIZES for contrast in CONTRASTS]
    for at, (size, contrast) in enumerate(cells):
        picture = pictures[at % len(pictures)]
        task = Task(0, kind, size, contrast, (*seed, list(KINDS).index(kind), at))
        try:
            planted = task.into(picture)
        except DataError as error:
            notes.append(f"{one_line(product, NAME)}, {kind}: {one_line(error)}")
            continue
        shown.append(_shown(picture, planted))
        if (size, contrast) == (SIZES[-2], CONTRASTS[-1]):
            whole = _whole(planted)
    return Kind(kind, whole, shown)


def _shown(picture: np.ndarray, planted: Planted) -> Shown:
    left, top, right, bottom = planted.box
    side = max(24, round(AROUND * planted.extent))
    side = min(side, *picture.shape[:2])
    x = int(np.clip((left + right - side) // 2, 0, picture.shape[1] - side))
    y = int(np.clip((top + bottom - side) // 2, 0, picture.shape[0] - side))
    part = (slice(y, y + side), slice(x, x + side))
    return Shown(
        before=_link(Image.fromarray(picture[part]).resize((CLOSE, CLOSE), _smooth(side))),
        after=_link(Image.fromarray(planted.picture[part]).resize((CLOSE, CLOSE), _smooth(side))),
        size=planted.size,
        contrast=planted.contrast,
        extent=planted.extent,
        faint=planted.faint,
    )


def _smooth(side: int) -> Image.Resampling:
    return Image.Resampling.NEAREST if side < CLOSE else Image.Resampling.LANCZOS


def _whole(planted: Planted) -> str:
    """The whole picture with a frame round the defect."""
    image = Image.fromarray(planted.picture)
    image.thumbnail((WHOLE, WHOLE))
    share = image.width / planted.picture.shape[1]
    left, top, right, bottom = (round(edge * share) for edge in planted.box)
    pixels = np.array(image)
    for y in (max(0, top - 3), min(image.height - 1, bottom + 2)):
        pixels[y, max(0, left - 3) : right + 3] = (255, 60, 60)
    for x in (max(0, left - 3), min(image.width - 1, right + 2)):
        pixels[max(0, top - 3) : bottom + 3, x] = (255, 60, 60)
    return _link(Image.fromarray(pixels))


def _link(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
