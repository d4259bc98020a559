"""The tree of MVTec AD, which two layouts share: train/good, test/<label>, ground_truth/<label>."""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.folders import expected, folders, good_images, product_name
from fedpatchcore.data.products import GOOD, Product, TestImage
from fedpatchcore.data.saturation import CONFIG_NAME, read_defects_config
from fedpatchcore.errors import DataError

__all__ = ["labelled_images", "matched_images", "product_folders", "read_tree"]


def product_folders(root: Path) -> list[Path]:
    """Folders that look like an MVTec product: the root itself, else its sub-folders."""
    if _is_product(root):
        return [root]
    return [folder for folder in folders(root) if _is_product(folder)]


def _is_product(folder: Path) -> bool:
    """Whether train/good or test/<label>/ exists."""
    if (folder / "train" / GOOD).is_dir():
        return True
    return (folder / "test").is_dir() and bool(folders(folder / "test"))


def read_tree(root: Path, nested: bool, deep: bool = False) -> dict[str, Product]:
    """Products of the MVTec tree.

    Args:
        nested: masks in a folder per image, and saturation rules.
        deep: training images in sub-folders of train/good too.
    """
    found = {}
    for folder in product_folders(root):
        name = product_name(folder)
        train = folder / "train" / GOOD
        config = folder / CONFIG_NAME
        product = Product(
            name=name,
            train=good_images(train, deep) if train.is_dir() else (),
            test=labelled_images(folder / "test", folder / "ground_truth", nested),
            root=folder,
            saturation=read_defects_config(config) if nested and config.is_file() else {},
        )
        if product.train or product.test:
            found[name] = product
    if not found:
        raise DataError(
            f"{root}: no images in train/{GOOD} or test/<label> of the folder or its sub-folders; "
            f"{expected()}"
        )
    return found


def labelled_images(test: Path, truth: Path, nested: bool) -> tuple[TestImage, ...]:
    """Images of ``test/<label>``, good ones first, then by defect; masks of ``truth/<label>``."""
    labels = [folder.name for folder in folders(test)] if test.is_dir() else []
    images: list[TestImage] = []
    for label in sorted(labels, key=lambda label: (label != GOOD, label)):
        if test / label != truth:
            images += matched_images(test / label, truth / label, label, nested)
    return tuple(images)


def matched_images(folder: Path, truth: Path, label: str, nested: bool) -> list[TestImage]:
    """Test images of one label, each with its masks of the folder ``truth``.

    Raises:
        DataError: there are masks, and none belongs to an image.
    """
    masks = {} if label == GOOD else _masks(truth, nested)
    paths = list_images(folder)
    matched = [masks.get(path.stem, ()) for path in paths]
    if masks and paths and not any(matched):
        example = next(iter(masks.values()))[0]
        raise DataError(
            f"{example}: no mask of this folder belongs to an image of {folder}; "
            "name them <image stem>_mask.png"
        )
    return [TestImage(path, label, mask) for path, mask in zip(paths, matched, strict=True)]


def _masks(truth: Path, nested: bool) -> dict[str, tuple[Path, ...]]:
    """Masks of one defect by image stem; ``<stem>_mask`` wins over ``<stem>``."""
    if not truth.is_dir():
        return {}
    masks: dict[str, tuple[Path, ...]] = {}
    for path in list_images(truth):
        masks.setdefault(path.stem, (path,))
    for path in list_images(truth):
        if path.stem.endswith("_mask"):
            masks[path.stem.removesuffix("_mask")] = (path,)
    if nested:
        for folder in folders(truth):
            paths = list_images(folder)
            if paths:
                masks[folder.name] = paths
    return masks
