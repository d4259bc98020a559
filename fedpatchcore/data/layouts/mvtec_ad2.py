"""MVTec AD 2: ``<product>/train/good/*``, ``test_public/{good,bad}/*``, ``validation/good/*``.

Masks: ``test_public/ground_truth/bad/<stem>_mask.png``. Paper: Heckler-Kram et al., "The MVTec
AD 2 Dataset", 2025. The images of ``test_private`` and ``test_private_mixed`` have no labels and
are left out. So are those of ``validation/good``, and that is said: they are there to choose by,
not to learn from, and a threshold is set here by what is set aside of the training images.
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.layouts.folders import expected, folders, good_images, product_name
from fedpatchcore.data.layouts.trees import labelled_images
from fedpatchcore.data.products import GOOD, Product
from fedpatchcore.errors import DataError

__all__ = ["fits", "read"]

TEST = "test_public"


def fits(root: Path) -> bool:
    """Whether the folder is a product with a public test, or holds some."""
    return bool(_products(root))


def _products(root: Path) -> list[Path]:
    found = [path for path in (root, *folders(root)) if (path / TEST).is_dir()]
    return [root] if root in found else found


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Products by name. Raises DataError if there are none."""
    found = {}
    for folder in _products(root):
        name, train = product_name(folder), folder / "train" / GOOD
        learnt = good_images(train, deep) if train.is_dir() else ()
        test = labelled_images(folder / TEST, folder / TEST / "ground_truth", nested=False)
        if learnt or test:
            found[name] = Product(name, learnt, test, folder)
    if not found:
        raise DataError(f"{root}: no images in train/{GOOD} or {TEST}/<label>; {expected()}")
    return found
