"""A folder → products, by the layout that is named or by the first that fits.

Folders outside a layout's pattern, hidden files and files without an image suffix are ignored.
Images are listed, not opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fedpatchcore.data.layouts.folders import entries, expected
from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS
from fedpatchcore.data.products import Product
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.spelling import nearest

__all__ = ["discover"]


def discover(
    root: str | os.PathLike[str], layout: str = AUTO, products: Sequence[str] = ()
) -> dict[str, Product]:
    """Products below a folder, sorted by name.

    A product without training images but with test images is returned with ``train=()``; the
    caller decides whether that is an error.

    Args:
        root: folder of the data.
        layout: one of `LAYOUTS`, or "auto": the first that fits.
        products: names to keep; empty keeps all.

    Raises:
        ConfigError: unknown layout.
        DataError: the root is missing, empty, no folder or unreadable; the tree fits no layout or
            not the one asked for; a product asked for is absent; masks without a matching image.
    """
    root = Path(root)
    if layout not in (AUTO, *LAYOUTS):
        known, near = ", ".join((AUTO, *LAYOUTS)), nearest(layout, LAYOUTS)
        raise ConfigError(f"layout must be one of {known}, got {layout!r}{near}")
    if not entries(root):
        raise DataError(f"{root}: folder is empty; {expected()}")
    chosen = LAYOUTS.get(layout) or next(one for one in LAYOUTS.values() if one.fits(root))
    found = chosen.read(root)
    missing = [name for name in products if name not in found]
    if missing:
        raise DataError(
            f"{root}: no product {', '.join(missing)}; found: {', '.join(sorted(found))}"
        )
    return {name: found[name] for name in sorted(found) if not products or name in products}
