"""Writing the sample into a folder, with a manifest that says when it is complete."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from fedpatchcore.data.sample.camera import render
from fedpatchcore.data.sample.plan import Shot, products_of_site, shots_of, site_names
from fedpatchcore.data.sample.scenes import PRODUCTS
from fedpatchcore.errors import DataError

__all__ = ["MAX_SITES", "VERSION", "write_sample"]

MAX_SITES = 50
VERSION = 1  # raise when the same parameters no longer give the same bytes
_MANIFEST = "sample.json"


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
    shots = list(shots_of(seed, sites, train, test_good, test_defective, products))
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


def _already_complete(root: Path, manifest: dict, shots: Sequence[Shot]) -> bool:
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
