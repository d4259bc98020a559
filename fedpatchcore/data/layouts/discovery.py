"""A folder → products, by the layout that is named or by the one that fits.

Folders outside a layout's pattern, hidden files and files without an image suffix are ignored;
good images, and pictures of kinds that are not read, that are so left out are told (`unused`).
Images are listed, not opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fedpatchcore.data.images import list_images
from fedpatchcore.data.kinds import other_pictures
from fedpatchcore.data.layouts.folders import entries, expected
from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS, Layout
from fedpatchcore.data.products import GOOD, Product
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.spelling import nearest
from fedpatchcore.texts import counted

__all__ = ["discover", "overlooked", "unused"]


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
        layout: one of `LAYOUTS`, or "auto": the one that fits.
        products: names to keep; empty keeps all.
        deep: training images in sub-folders of the folder of good ones too, which are otherwise
            left out (`overlooked`).

    Raises:
        ConfigError: unknown layout.
        DataError: the root is missing, empty, no folder or unreadable; the tree fits no layout,
            several, or not the one asked for; a product asked for is absent; masks without a
            matching image.
    """
    root = Path(root)
    if layout not in (AUTO, *LAYOUTS):
        known, near = ", ".join((AUTO, *LAYOUTS)), nearest(layout, LAYOUTS)
        raise ConfigError(f"layout must be one of {known}, got {layout!r}{near}")
    if not entries(root):
        raise DataError(f"{root}: folder is empty; {expected()}")
    chosen = LAYOUTS.get(layout) or _recognised(root)
    found = chosen.read(root, deep)
    missing = [name for name in products if name not in found]
    if missing:
        raise DataError(
            f"{root}: no product {', '.join(missing)}; found: {', '.join(sorted(found))}"
        )
    return {name: found[name] for name in sorted(found) if not products or name in products}


def _recognised(root: Path) -> Layout:
    """The layout that fits, "plain" if no other does. Raises DataError if several do."""
    *known, last = LAYOUTS.values()
    fitting = [one for one in known if one.fits(root)]
    meant = [one for one in fitting if not any(one.name in other.above for other in fitting)]
    if len(meant) > 1:
        told = " and ".join(f"{one.expects} ({one.name})" for one in meant)
        words = " or ".join(f"layout='{one.name}'" for one in meant)
        raise DataError(f"{root}: holds {told}; choose {words}")
    return meant[0] if meant else last


def overlooked(products: Iterable[Product]) -> str:
    """One line on what `unused` finds, or ""."""
    return "; ".join(": ".join(one) for one in unused(products))


def unused(products: Iterable[Product]) -> list[tuple[str, str]]:
    """Images that are there and not used: what, and its fix.

    Good ones beside or below the training images, and files of kinds that are not read.
    """
    below: dict[Path, int] = {}
    spare: dict[Path, int] = {}
    other: dict[Path, None] = {}
    for product in products:
        folder = product.training_folder
        flat = not product.test and {path.parent for path in product.train} == {folder}
        if folder != product.root or flat:
            known = set(product.train)
            deep = [p for p in list_images(folder, recursive=True) if p.parent != folder]
            if count := len([path for path in deep if path not in known]):
                below[folder] = count
        further = product.root / "validation" / GOOD
        if further.is_dir() and (count := len(list_images(further))):
            spare[further] = count
        named = {*product.train, *(one.path for one in product.test)}
        parents = [folder, *sorted({path.parent for path in named})]
        other |= dict.fromkeys(one for one in other_pictures(parents) if one not in named)
    told = [
        _left(below, "in sub-folders of", "set group-by='folder': each sub-folder a group"),
        _left(spare, "in", "move them into train/good to learn from them too"),
        _unread(list(other)),
    ]
    return [one for one in told if one]


def _left(counts: Mapping[Path, int], where: str, fix: str) -> tuple[str, str] | None:
    if not counts:
        return None
    folder, count = next(iter(counts.items()))
    more = f" and of {len(counts) - 1} more" if len(counts) > 1 else ""
    found, verb = counted(count, "image"), "is" if count == 1 else "are"
    return f"{found} {where} {folder}{more} {verb} not used", fix


def _unread(paths: Sequence[Path]) -> tuple[str, str] | None:
    if not paths:
        return None
    kinds = ", ".join(sorted({path.suffix.lower() for path in paths}))
    files = (
        "1 file of a kind that is" if len(paths) == 1 else f"{len(paths)} files of kinds that are"
    )
    return f"{files} not read ({kinds}) in {paths[0].parent}", "save them as PNG or TIFF"
