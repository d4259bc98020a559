"""VisA's table of images: ``1cls.csv`` with columns object, split, label, image, mask.

Paper: Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and
Segmentation", ECCV 2022. Paths are relative to the data set's root.
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.layouts.tabled import Row, products_of
from fedpatchcore.data.products import Product
from fedpatchcore.data.tables import read_rows
from fedpatchcore.errors import DataError

__all__ = ["fits", "read"]

_COLUMNS = ("object", "split", "label", "image", "mask")


def fits(root: Path) -> bool:
    """Whether there is a table."""
    return _table(root) is not None


def _table(root: Path) -> Path | None:
    """The table of a VisA root, None if there is none."""
    for path in (root / "split_csv" / "1cls.csv", root / "1cls.csv"):
        if path.is_file():
            return path
    return None


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Read the table → products by name. It names every image.

    Raises:
        DataError: no table, missing columns, or as `products_of`.
    """
    table = _table(root)
    if table is None:
        raise DataError(f"{root}: no split_csv/1cls.csv or 1cls.csv; is it a VisA folder?")
    return products_of(
        root,
        (
            Row(
                f"{table}, line {line}",
                row["object"],
                row["split"],
                row["label"],
                row["image"],
                (row["mask"],) if row["mask"] else (),
            )
            for line, row in read_rows(table, _COLUMNS)
        ),
    )
