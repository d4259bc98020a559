"""As mvtec, but several masks an image and saturation thresholds; also MVTec LOCO.

Masks: ``ground_truth/<defect>/<stem>/*.png``; thresholds: ``<product>/defects_config.json``, see
`fedpatchcore.data.saturation`.
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.layouts.folders import folders
from fedpatchcore.data.layouts.trees import product_folders, read_tree
from fedpatchcore.data.products import Product
from fedpatchcore.data.saturation import CONFIG_NAME

__all__ = ["fits", "read"]


def fits(root: Path) -> bool:
    """Whether a product has thresholds, or masks in a folder an image."""
    return any(
        (product / CONFIG_NAME).is_file() or _has_mask_folders(product)
        for product in product_folders(root)
    )


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Products with any number of masks an image, and their thresholds."""
    return read_tree(root, nested=True, deep=deep)


def _has_mask_folders(product: Path) -> bool:
    """Whether masks lie in a folder per image."""
    truth = product / "ground_truth"
    return truth.is_dir() and any(folders(defect) for defect in folders(truth))
