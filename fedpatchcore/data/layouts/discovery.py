"""A folder → products, by the layout that is named or by the first that fits.

Folders outside a layout's pattern, hidden files and files without an image suffix are ignored.
Images are listed, not opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.folders import entries, expected
from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS
from fedpatchcore.data.products import Product
from fedpatchcore.errors import ConfigError, DataError

__all__ = ["discover", "overlooked"]


def discover(
    root: str | os.PathLike[str],
    layout: str = AUTO,
    products: Sequence[str] = (),
    *,
    deep: bool = False,
) -> dict[str, Product]:
    """Products below a folder, sorted by name.

    A product without training images but with test images is returned with ``train=()``; the
    caller decides whether that is an error.

    Args:
        root: folder of the data.
        layout: one of `LAYOUTS`, or "auto": the first that fits.
        products: names to keep; empty keeps all.
        deep: training images in sub-folders of the folder of good ones too, which are otherwise
            left out (`overlooked`).

    Raises:
        ConfigError: unknown layout.
        DataError: the root is missing, empty, no folder or unreadable; the tree fits no layout or
            not the one asked for; a product asked for is absent; masks without a matching image.
    """
    root = Path(root)
    if layout not in (AUTO, *LAYOUTS):
        known = ", ".join((AUTO, *LAYOUTS))
        raise ConfigError(f"layout must be one of {known}, got {layout!r}")
    if not entries(root):
        raise DataError(f"{root}: folder is empty; {expected()}")
    chosen = LAYOUTS.get(layout) or next(one for one in LAYOUTS.values() if one.fits(root))
    found = chosen.read(root, deep)
    missing = [name for name in products if name not in found]
    if missing:
        raise DataError(
            f"{root}: no product {', '.join(missing)}; found: {', '.join(sorted(found))}"
        )
    return {name: found[name] for name in sorted(found) if not products or name in products}


def overlooked(products: Iterable[Product]) -> str:
    """One line on images below the folders of training images that are not used, "" if none are."""
    left: dict[Path, int] = {}
    for product in products:
        folder = product.training_folder
        flat = not product.test and {path.parent for path in product.train} == {folder}
        if folder != product.root or flat:
            known = set(product.train)
            below = [p for p in list_images(folder, recursive=True) if p.parent != folder]
            if count := len([path for path in below if path not in known]):
                left[folder] = count
    if not left:
        return ""
    folder, count = next(iter(left.items()))
    more = f" and of {len(left) - 1} more folders" if len(left) > 1 else ""
    return (
        f"{count} images in sub-folders of {folder}{more} are not used: group-by='folder' takes "
        "each sub-folder as a group"
    )
