"""``<root>/<product>/train/good/*``, ``test/good/*``, ``test/<defect>/*``.

Masks: ``ground_truth/<defect>/<stem>_mask.png``, or ``<stem>.png``; any image suffix. The root may
itself be one product, which is then named after the folder. Paper: Bergmann et al., "MVTec AD",
CVPR 2019.
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.layouts.trees import product_folders, read_tree
from fedpatchcore.data.products import Product

__all__ = ["fits", "read"]


def fits(root: Path) -> bool:
    """Whether it is a product, or holds some; none with a public test instead of a test."""
    return any(
        (p / "test").is_dir() or not (p / "test_public").is_dir() for p in product_folders(root)
    )


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Products with a mask an image."""
    return read_tree(root, nested=False, deep=deep)
