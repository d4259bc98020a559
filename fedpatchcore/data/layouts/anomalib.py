"""The folders of anomalib's "Folder": ``normal/*``, ``abnormal/*``, ``mask/*``, ``normal_test/*``.

``normal`` is learnt from; ``abnormal`` is the test, each sub-folder a kind of defect; a mask has
its image's stem, with or without ``_mask``, in the same sub-folder of ``mask``. Without
``normal_test`` the test has no good images, so that false alarms cannot be counted
(``fedpatchcore data check`` says so). The root may be one product or hold some.
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.folders import expected, folders, good_images, product_name
from fedpatchcore.data.layouts.trees import matched_images
from fedpatchcore.data.products import GOOD, Product, TestImage
from fedpatchcore.errors import DataError

__all__ = ["fits", "read"]


def fits(root: Path) -> bool:
    """Whether the folder, or one in it, holds a folder of normal images."""
    return bool(_products(root))


def _products(root: Path) -> list[Path]:
    found = [path for path in (root, *folders(root)) if (path / "normal").is_dir()]
    return [root] if root in found else found


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Products by name.

    Raises:
        DataError: no such folders or no images in them; masks that belong to no image.
    """
    found = {}
    for folder in _products(root):
        name = product_name(folder)
        train, test = good_images(folder / "normal", deep), _test(folder)
        if train or test:
            found[name] = Product(name, train, test, folder)
    if not found:
        raise DataError(
            f"{root}: no images in normal/ or abnormal/ of the folder or its sub-folders; "
            f"{expected()}"
        )
    return found


def _test(product: Path) -> tuple[TestImage, ...]:
    good, bad = product / "normal_test", product / "abnormal"
    images = [TestImage(path, GOOD) for path in (list_images(good) if good.is_dir() else ())]
    if not bad.is_dir():
        return tuple(images)
    for folder in (bad, *folders(bad)):
        label = folder.name
        truth = product / "mask" if folder == bad else product / "mask" / label
        images += matched_images(folder, truth, label, nested=False)
    return tuple(images)
