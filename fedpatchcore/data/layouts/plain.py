"""Folders of good images and nothing else: ``<root>/*`` of one product, or ``<root>/<product>/*``.

No test images. A single folder's product is named after it.
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.folders import (
    NOT_PRODUCTS,
    expected,
    folders,
    good_images,
    product_name,
)
from fedpatchcore.data.products import GOOD, Product
from fedpatchcore.errors import DataError

__all__ = ["fits", "read", "sites_in"]


def fits(root: Path) -> bool:
    """Any folder: what it holds is looked at when it is read."""
    return True


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """A product for each folder of images."""
    own = list_images(root)
    below = {folder: good_images(folder, deep) for folder in folders(root)}
    below = {folder: images for folder, images in below.items() if images}
    if own and below:
        names = ", ".join(folder.name for folder in below)
        raise DataError(
            f"{root}: images beside folders of images ({names}); "
            "move the images into a folder of their own, one per product"
        )
    if own:
        return {product_name(root): Product(product_name(root), own, (), root)}
    reserved = sorted(folder.name for folder in below if folder.name.lower() in NOT_PRODUCTS)
    if reserved:
        raise DataError(
            f"{root}: folders {', '.join(reserved)} do not look like products; "
            f"put good training images into train/{GOOD}, others into test/<label>"
        )
    if not below and (sites := sites_in(root)):
        raise DataError(
            f"{root} holds folders of several sites ({', '.join(sites)}): name one of them, or "
            f"take all with 'fedpatchcore simulate --data {root}'"
        )
    if not below:
        raise DataError(f"{root}: found neither images nor a known tree; {expected()}")
    return {
        folder.name: Product(folder.name, images, (), folder) for folder, images in below.items()
    }


def sites_in(root: Path) -> list[str]:
    """Folders in which there are products, as ``fedpatchcore sample`` writes them."""
    return [
        folder.name
        for folder in folders(root)
        if any(list_images(train) for train in folder.glob(f"*/train/{GOOD}"))
    ]
