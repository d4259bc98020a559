"""Folder layouts → products. A site keeps its images as it has them; one of four trees is read.

mvtec   <root>/<product>/train/good/*  test/good/*  test/<defect>/*
        ground_truth/<defect>/<stem>_mask.png (or <stem>.png; any image suffix).
        The root may itself be one product, which is then named after the folder.
        Paper: Bergmann et al., "MVTec AD", CVPR 2019.
autovi  as mvtec, but ground_truth/<defect>/<stem>/*.png, several masks an image, and
        <product>/defects_config.json; also MVTec LOCO. See `fedpatchcore.data.autovi`.
visa    split_csv/1cls.csv names every image. See `fedpatchcore.data.visa`.
plain   <root>/* are good images of one product named after the folder, or
        <root>/<product>/* of several. No test images.

Folders outside these patterns, hidden files and files without an image suffix are ignored.
Images are listed, not opened.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fedpatchcore.data.autovi import CONFIG_NAME, read_defects_config
from fedpatchcore.data.images import list_images
from fedpatchcore.data.products import GOOD, Product, TestImage
from fedpatchcore.data.visa import discover_visa, find_visa_table
from fedpatchcore.errors import ConfigError, DataError

__all__ = ["LAYOUTS", "Product", "TestImage", "discover"]

LAYOUTS = ("auto", "mvtec", "autovi", "visa", "plain")
"""Names accepted by `discover`."""

_EXPECTED = (
    "expected <product>/train/good/* with <product>/test/<label>/* (mvtec, autovi), "
    "split_csv/1cls.csv (visa), or folders of good images (plain)"
)

# Names that tell good from bad or training from test: never products of the plain layout, for
# a folder of defects would be learnt as normal.
_NOT_PRODUCTS = frozenset(
    {"train", "test", "val", "valid", "validation", "ground_truth", "groundtruth", "masks"}
    | {"good", "ok", "normal", "bad", "ng", "defect", "defects", "defective"}
    | {"anomaly", "anomalies", "anomalous", "abnormal"}
)


def discover(
    root: str | os.PathLike[str], layout: str = "auto", products: Sequence[str] = ()
) -> dict[str, Product]:
    """Products below a folder, sorted by name.

    A product without training images but with test images is returned with ``train=()``; the
    caller decides whether that is an error. "auto" takes the first that fits of visa, autovi,
    mvtec, plain.

    Args:
        root: folder of the data.
        layout: one of `LAYOUTS`.
        products: names to keep; empty keeps all.

    Raises:
        ConfigError: unknown layout.
        DataError: the root is missing, empty, no folder or unreadable; the tree fits no layout or
            not the one asked for; a product asked for is absent; masks without a matching image.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise ConfigError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    entries = _entries(root)
    if not entries:
        raise DataError(f"{root}: folder is empty; {_EXPECTED}")
    if layout == "auto":
        layout = _detect(root)
    readers: dict[str, Callable[[Path], dict[str, Product]]] = {
        "mvtec": _discover_mvtec,
        "autovi": _discover_autovi,
        "visa": discover_visa,
        "plain": _discover_plain,
    }
    found = readers[layout](root)
    missing = [name for name in products if name not in found]
    if missing:
        raise DataError(
            f"{root}: no product {', '.join(missing)}; found: {', '.join(sorted(found))}"
        )
    return {name: found[name] for name in sorted(found) if not products or name in products}


def _detect(root: Path) -> str:
    """The layout of a root."""
    if find_visa_table(root) is not None:
        return "visa"
    folders = _product_folders(root)
    if any((folder / CONFIG_NAME).is_file() or _has_mask_folders(folder) for folder in folders):
        return "autovi"
    return "mvtec" if folders else "plain"


def _product_folders(root: Path) -> list[Path]:
    """Folders that look like an MVTec product: the root itself, else its sub-folders."""
    if _is_product(root):
        return [root]
    return [folder for folder in _folders(root) if _is_product(folder)]


def _is_product(folder: Path) -> bool:
    """Whether train/good or test/<label>/ exists."""
    if (folder / "train" / GOOD).is_dir():
        return True
    return (folder / "test").is_dir() and bool(_folders(folder / "test"))


def _has_mask_folders(product: Path) -> bool:
    """Whether masks lie in a folder per image."""
    truth = product / "ground_truth"
    return truth.is_dir() and any(_folders(defect) for defect in _folders(truth))


def _discover_mvtec(root: Path) -> dict[str, Product]:
    return _discover_tree(root, nested=False)


def _discover_autovi(root: Path) -> dict[str, Product]:
    return _discover_tree(root, nested=True)


def _discover_tree(root: Path, nested: bool) -> dict[str, Product]:
    """Products of the MVTec tree; `nested`: masks in a folder per image, saturation rules."""
    found = {}
    for folder in _product_folders(root):
        name = _name(folder)
        train = folder / "train" / GOOD
        config = folder / CONFIG_NAME
        product = Product(
            name=name,
            train=list_images(train) if train.is_dir() else (),
            test=_test_images(folder, nested),
            root=folder,
            saturation=read_defects_config(config) if nested and config.is_file() else {},
        )
        if product.train or product.test:
            found[name] = product
    if not found:
        raise DataError(
            f"{root}: no images in train/{GOOD} or test/<label> of the folder or its sub-folders; "
            f"{_EXPECTED}"
        )
    return found


def _test_images(product: Path, nested: bool) -> tuple[TestImage, ...]:
    """Labelled test images of a product, good ones first, then by defect."""
    test = product / "test"
    labels = [folder.name for folder in _folders(test)] if test.is_dir() else []
    images = []
    for label in sorted(labels, key=lambda label: (label != GOOD, label)):
        masks = {} if label == GOOD else _masks(product / "ground_truth" / label, nested)
        paths = list_images(test / label)
        matched = [masks.get(path.stem, ()) for path in paths]
        if masks and paths and not any(matched):
            example = next(iter(masks.values()))[0]
            raise DataError(
                f"{example}: no mask of this folder belongs to an image of {test / label}; "
                "name them <image stem>_mask.png"
            )
        images += [TestImage(path, label, mask) for path, mask in zip(paths, matched, strict=True)]
    return tuple(images)


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
        for folder in _folders(truth):
            paths = list_images(folder)
            if paths:
                masks[folder.name] = paths
    return masks


def _discover_plain(root: Path) -> dict[str, Product]:
    """Folders of good images."""
    own = list_images(root)
    below = {folder: list_images(folder) for folder in _folders(root)}
    below = {folder: images for folder, images in below.items() if images}
    if own and below:
        names = ", ".join(folder.name for folder in below)
        raise DataError(
            f"{root}: images beside folders of images ({names}); "
            "move the images into a folder of their own, one per product"
        )
    if own:
        return {_name(root): Product(_name(root), own, (), root)}
    reserved = sorted(folder.name for folder in below if folder.name.lower() in _NOT_PRODUCTS)
    if reserved:
        raise DataError(
            f"{root}: folders {', '.join(reserved)} do not look like products; "
            f"put good training images into train/{GOOD}, others into test/<label>"
        )
    if not below:
        raise DataError(f"{root}: found neither images nor a known tree; {_EXPECTED}")
    return {
        folder.name: Product(folder.name, images, (), folder) for folder, images in below.items()
    }


def _name(folder: Path) -> str:
    """Name of a folder, also of "." and ".."."""
    return folder.name if folder.name not in {"", ".."} else folder.resolve().name


def _folders(folder: Path) -> list[Path]:
    """Visible sub-folders, sorted."""
    return sorted(entry for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> list[Path]:
    """Visible entries of a folder.

    Raises:
        DataError: the folder is missing, a file or not readable.
    """
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no such folder; check the path") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file; give the folder that holds the data") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); grant access") from error
