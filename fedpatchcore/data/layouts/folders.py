"""What all layouts need of a folder: its visible entries, its name, what would have fitted."""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.images import list_images
from fedpatchcore.data.layouts.registry import LAYOUTS
from fedpatchcore.errors import DataError

__all__ = [
    "BAD_NAMES",
    "NOT_PRODUCTS",
    "entries",
    "expected",
    "folders",
    "good_images",
    "product_name",
]

BAD_NAMES = frozenset(
    {"bad", "ng", "nok", "nio", "fail", "faulty", "scrap", "reject", "rejects", "rejected"}
    | {"defect", "defects", "defective", "anomaly", "anomalies", "anomalous", "abnormal"}
)
# Names that tell good from bad or training from test: never products of the plain layout, for
# a folder of defects would be learnt as normal.
NOT_PRODUCTS = frozenset(
    {"train", "test", "val", "valid", "validation", "ground_truth", "groundtruth", "mask", "masks"}
    | {"normal_test", "test_public", "test_private", "test_private_mixed"}
    | {"good", "ok", "io", "normal", "pass"}
    | BAD_NAMES
)


def expected() -> str:
    """What each layout looks for, for messages."""
    told = [f"{one.expects} ({one.name})" for one in LAYOUTS.values()]
    return f"expected {', '.join(told[:-1])}, or {told[-1]}"


def product_name(folder: Path) -> str:
    """Name of a folder, also of "." and ".."."""
    return folder.name if folder.name not in {"", ".."} else folder.resolve().name


def folders(folder: Path) -> list[Path]:
    """Visible sub-folders, sorted."""
    return sorted(entry for entry in entries(folder) if entry.is_dir())


def good_images(folder: Path, deep: bool) -> tuple[Path, ...]:
    """Images of a folder of good ones; `deep`: of its sub-folders too.

    Raises:
        DataError: the folder cannot be listed, or a sub-folder's name tells of defects.
    """
    if not deep:
        return list_images(folder)
    images = list_images(folder, recursive=True)
    below = {part for path in images for part in path.relative_to(folder).parts[:-1]}
    if doubtful := sorted(name for name in below if name.lower() in BAD_NAMES):
        raise DataError(
            f"{folder}: images in a folder {', '.join(doubtful)} would be learnt as good; "
            "move them out, or rename the folder after its group"
        )
    return images


def entries(folder: Path) -> list[Path]:
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
