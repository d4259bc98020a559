"""A synthetic inspection data set for demonstrations and tests: no download, no licence.

Several plants inspect up to three products (a machined washer, woven cloth, a circuit board).
Every plant has its own lamp and its own supplier of material (lot), and its training images show
only those. Every fifth test image, good or defective, shows the lamp and the material of another
plant that makes the same product: parts transferred between plants, a spare lamp, a second
supplier. A memory bank built from one plant's images therefore raises false alarms on conditions
that are normal elsewhere, and the union of all plants' banks covers them. The sample is designed
so, to demonstrate what federation is for; it is no evidence for any real production line.

Layout, MVTec-AD style for each plant and product::

    <root>/sample.json                                       parameters and completeness
    <root>/plant-a/washer/train/good/000.png                 256x256 RGB
    <root>/plant-a/washer/test/good/000.png
    <root>/plant-a/washer/test/scratch/000.png
    <root>/plant-a/washer/ground_truth/scratch/000_mask.png  256x256 L, 0 or 255
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.data.sample_render import (
    COLS,
    DEFECTS,
    LOTS,
    ROWS,
    SIZE,
    draw_scene,
    noise_window,
)
from fedpatchcore.errors import DataError

__all__ = [
    "LAMPS",
    "MAX_SITES",
    "PRODUCTS",
    "SITES",
    "Condition",
    "Lamp",
    "products_of_site",
    "render",
    "site_names",
    "write_sample",
]

PRODUCTS: tuple[str, ...] = tuple(DEFECTS)
SITES: tuple[str, ...] = ("plant-a", "plant-b", "plant-c", "plant-d", "plant-e")
MAX_SITES = 50

_MASK_THRESHOLD = 0.02  # change of reflectance that counts as defect
VERSION = 1  # raise when the same parameters no longer give the same bytes
_MANIFEST = "sample.json"
_FOREIGN_EVERY = 5  # every fifth test image shows another plant's condition
_TRAIN, _TEST_GOOD, _TEST_DEFECTIVE = range(3)  # split numbers in the random keys


@dataclass(frozen=True)
class Lamp:
    """Lighting and camera of one station. Angles in radians, lengths in pixels."""

    angle: float  # direction the light comes from, in the image plane
    gradient: float  # relative brightness change from centre to the lit edge
    gain: float
    tint: tuple[float, float, float]  # colour of the light, RGB
    spot: float  # strength of the bright spot towards the lamp
    blur: float  # weight of the neighbours in the camera's 3x3 kernel, 0..1/3 per axis
    noise: float  # standard deviation of the sensor noise, 8-bit counts


LAMPS: tuple[Lamp, ...] = (
    Lamp(0.6, 0.10, 1.00, (1.00, 1.00, 1.00), 0.03, 0.16, 1.5),  # even ring light
    Lamp(3.0, 0.34, 0.98, (1.07, 1.00, 0.88), 0.05, 0.20, 1.8),  # warm side light
    Lamp(-0.9, 0.16, 1.05, (0.94, 1.00, 1.08), 0.22, 0.12, 1.5),  # cool bar with a hot spot
    Lamp(1.7, 0.26, 0.74, (1.02, 1.00, 0.95), 0.04, 0.22, 2.0),  # dim, noisy
    Lamp(-2.2, 0.08, 1.20, (0.98, 1.03, 0.97), 0.08, 0.26, 1.5),  # bright diffuser
)


@dataclass(frozen=True)
class Condition:
    """What a plant's normal production looks like: its lamp and its supplier's material."""

    lamp: Lamp
    lot: int

    @classmethod
    def of_site(cls, site: int) -> "Condition":
        """Condition of the site with this number; 25 different ones, then they repeat."""
        return cls(LAMPS[site % len(LAMPS)], (site + site // len(LAMPS)) % LOTS)


@dataclass(frozen=True)
class _Shot:
    """One picture to take and where it goes, relative to the root."""

    product: str
    condition: Condition
    key: tuple[int, ...]
    defect: str | None
    image: Path
    mask: Path | None


def _photograph(scene: np.ndarray, lamp: Lamp, rng: np.random.Generator) -> np.ndarray:
    """Light a scene and record it: [256, 256, 3] uint8."""
    angle = lamp.angle + rng.normal(0, 0.08)
    gain = lamp.gain * (1 + rng.normal(0, 0.03))
    towards = (math.cos(angle) * COLS + math.sin(angle) * ROWS) / (SIZE / 2)
    light = 1 + lamp.gradient * towards
    dy, dx = ROWS / 128 - 0.55 * math.sin(angle), COLS / 128 - 0.55 * math.cos(angle)
    light += lamp.spot * np.exp(-(dy * dy + dx * dx) / 0.18)
    picture = scene * light[..., None]
    picture *= np.asarray(lamp.tint, np.float32) * np.float32(255 * gain)
    side, middle = lamp.blur, 1 - 2 * lamp.blur
    rows = middle * picture
    rows[1:] += side * picture[:-1]
    rows[:-1] += side * picture[1:]
    rows[[0, -1]] += side * picture[[0, -1]]
    picture = middle * rows
    picture[:, 1:] += side * rows[:, :-1]
    picture[:, :-1] += side * rows[:, 1:]
    picture[:, [0, -1]] += side * rows[:, [0, -1]]
    for channel in range(3):
        picture[..., channel] += lamp.noise * noise_window(rng, 0.0)
    picture += 0.5
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def render(
    product: str, condition: Condition, key: Sequence[int], defect: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Photograph one part.

    ``key`` seeds everything random: the same key with and without ``defect`` shows the same part,
    pose, light and sensor noise. The mask is where the scene differs from the same scene without
    the defect; in the picture the difference reaches one pixel further, through the blur.

    Returns:
        The picture [256, 256, 3] uint8 and the mask [256, 256] bool (all False without a defect).
    """
    light = condition.lamp.angle
    scene = draw_scene(product, condition.lot, light, key, defect)
    mask = np.zeros((SIZE, SIZE), bool)
    if defect is not None:
        sound = draw_scene(product, condition.lot, light, key)
        mask = np.abs(scene - sound).max(axis=-1) > _MASK_THRESHOLD
    return _photograph(scene, condition.lamp, np.random.default_rng([*key, 2])), mask


def site_names(count: int) -> tuple[str, ...]:
    """``plant-a`` ... ``plant-z``, ``plant-aa`` ... for ``count`` sites."""
    letters = [chr(ord("a") + i) for i in range(26)]
    letters += ["a" + letter for letter in letters]
    return tuple(f"plant-{letter}" for letter in letters[:count])


def products_of_site(site: int, products: Sequence[str] = PRODUCTS) -> tuple[str, ...]:
    """Products the site with this number makes: three of four sites lack one product.

    With fewer than three products every site makes all of them.
    """
    lacking = site % 4 - 1
    if len(products) < 3 or lacking < 0:
        return tuple(products)
    return tuple(p for i, p in enumerate(products) if i != lacking)


def write_sample(
    root: Path,
    *,
    seed: int = 0,
    sites: int = 5,
    train: int = 24,
    test_good: int = 8,
    test_defective: int = 8,
    products: Sequence[str] = PRODUCTS,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Write the sample below ``root``; the same arguments give the same bytes.

    Args:
        root: folder to create; it must be empty, or hold a sample of the same arguments. A
            complete one is left as it is, an interrupted one is written again.
        seed: any non-negative integer.
        sites: number of plants, 1 to 50.
        train: good training images per site and product.
        test_good: good test images per site and product.
        test_defective: defective test images per site and product, spread over the product's
            defect kinds.
        products: which of :data:`PRODUCTS` to make.
        progress: called with (images written, images in all).

    Returns:
        The manifest (arguments, products of each site, image and mask counts) plus ``root`` and
        ``written`` (False if a complete sample was already there).

    Raises:
        DataError: an argument is out of range, or the folder holds something else.
    """
    root, products = Path(root), tuple(products)
    _check(seed, sites, train, test_good, test_defective, products)
    shots = list(_plan(seed, sites, train, test_good, test_defective, products))
    names = site_names(sites)
    manifest = {
        "format": "fedpatchcore-sample",
        "version": VERSION,
        "seed": seed,
        "train": train,
        "test_good": test_good,
        "test_defective": test_defective,
        "products": list(products),
        "sites": {name: list(products_of_site(i, products)) for i, name in enumerate(names)},
        "images": len(shots),
        "masks": sum(shot.mask is not None for shot in shots),
    }
    if _already_complete(root, manifest, shots):
        return {**manifest, "root": str(root), "written": False}

    root.mkdir(parents=True, exist_ok=True)
    _write_manifest(root, manifest, complete=False)
    for folder in {path.parent for shot in shots for path in (shot.image, shot.mask) if path}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for done, shot in enumerate(shots, start=1):
        picture, mask = render(shot.product, shot.condition, shot.key, shot.defect)
        Image.fromarray(picture).save(root / shot.image, compress_level=1)
        if shot.mask is not None:
            Image.fromarray(mask.astype("uint8") * 255).save(root / shot.mask, compress_level=1)
        if progress is not None:
            progress(done, len(shots))
    _write_manifest(root, manifest, complete=True)
    return {**manifest, "root": str(root), "written": True}


def _check(seed, sites, train, test_good, test_defective, products) -> None:
    if seed < 0:
        raise DataError(f"sample seed is {seed}; it must be 0 or more")
    if not 1 <= sites <= MAX_SITES:
        raise DataError(f"sample of {sites} sites; 1 to {MAX_SITES} are possible")
    if train < 1 or test_good < 0 or test_defective < 0:
        raise DataError("sample needs at least 1 training image and no negative counts")
    if not products or len(set(products)) < len(products) or set(products) - set(PRODUCTS):
        raise DataError(f"sample products {list(products)}; choose among {list(PRODUCTS)}")


def _plan(seed, sites, train, test_good, test_defective, products) -> Iterator[_Shot]:
    """Every picture of the sample, in writing order."""
    names = site_names(sites)
    for site, name in enumerate(names):
        for product in products_of_site(site, products):
            peers = [
                other
                for other in range(sites)
                if other != site and product in products_of_site(other, products)
            ]
            folder = Path(name) / product
            number = PRODUCTS.index(product)
            for split, count in (
                (_TRAIN, train),
                (_TEST_GOOD, test_good),
                (_TEST_DEFECTIVE, test_defective),
            ):
                for index in range(count):
                    shown = site
                    if split != _TRAIN and peers and index % _FOREIGN_EVERY == 1:
                        shown = peers[(index // _FOREIGN_EVERY + site) % len(peers)]
                    defect, mask, stem = None, None, f"{index:03d}"
                    image = folder / ("train" if split == _TRAIN else "test") / "good"
                    if split == _TEST_DEFECTIVE:
                        kinds = DEFECTS[product]
                        defect, stem = kinds[index % len(kinds)], f"{index // len(kinds):03d}"
                        image = folder / "test" / defect
                        mask = folder / "ground_truth" / defect / f"{stem}_mask.png"
                    key = (seed, site, number, split, index)
                    condition = Condition.of_site(shown)
                    yield _Shot(product, condition, key, defect, image / f"{stem}.png", mask)


def _already_complete(root: Path, manifest: dict, shots: Sequence[_Shot]) -> bool:
    """True if ``root`` holds exactly this sample; DataError if it holds anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(f"cannot write the sample to {root}: not a folder")
    path = root / _MANIFEST
    if not path.exists():
        if any(entry.name != f"{_MANIFEST}.partial" for entry in root.iterdir()):
            raise DataError(f"{root} is not empty and holds no sample; choose another folder")
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        complete = found.pop("complete")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not a sample's manifest; choose another folder") from error
    if found != manifest:
        raise DataError(f"{root} holds a sample of other parameters; choose another folder")
    files = [path for shot in shots for path in (shot.image, shot.mask) if path]
    return complete is True and all((root / file).is_file() for file in files)


def _write_manifest(root: Path, manifest: dict, *, complete: bool) -> None:
    """Replace the manifest in one step, so that an interrupted write stays marked as such."""
    partial = root / f"{_MANIFEST}.partial"
    text = json.dumps({**manifest, "complete": complete}, indent=2) + "\n"
    partial.write_text(text, encoding="utf-8")
    partial.replace(root / _MANIFEST)
