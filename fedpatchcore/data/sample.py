"""A synthetic inspection data set for demonstrations and tests: no download, no licence.

Several plants inspect up to three products (a machined washer, woven cloth, a circuit board).
Every plant has its own lamp and its own supplier of material (lot), and its training images show
only those. Every third test image, good or defective, shows the lamp and the material of another
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
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fedpatchcore.data.sample_render import DEFECTS, LAMPS, LOTS, Lamp, render
from fedpatchcore.errors import DataError

__all__ = ["MAX_SITES", "PRODUCTS", "SITES", "Condition", "products_of_site", "write_sample"]

PRODUCTS: tuple[str, ...] = tuple(DEFECTS)
SITES: tuple[str, ...] = ("plant-a", "plant-b", "plant-c", "plant-d", "plant-e")
MAX_SITES = 50

_VERSION = 1  # raise when the same parameters no longer give the same bytes
_MANIFEST = "sample.json"
_FOREIGN_EVERY = 3  # every third test image shows another plant's condition
_TRAIN, _TEST_GOOD, _TEST_DEFECTIVE = range(3)  # split numbers in the random keys


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
        "version": _VERSION,
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
        lamp, lot = shot.condition.lamp, shot.condition.lot
        picture, mask = render(shot.product, lot, lamp, shot.key, shot.defect)
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
        if any(root.iterdir()):
            raise DataError(f"{root} is not empty and holds no sample; choose another folder")
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        complete = found.pop("complete")
    except (ValueError, KeyError, AttributeError) as error:
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
    os.replace(partial, root / _MANIFEST)
