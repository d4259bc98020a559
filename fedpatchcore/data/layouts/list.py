"""A table of images in any folders: ``list.csv`` with columns file, split, label.

    file,split,label,mask,group,site,product
    2024-03/0017.png,train,good,,lot 4,north,bolt
    2024-03/0311.png,test,dent,masks/0311.png,,north,bolt

Files are relative to the table's folder. The other columns may be left out: ``mask`` (several with
";" between them), ``group`` (images set aside together), ``site`` (the same file then is the
manifest of a simulation), ``product`` (without it all are one, named after the folder).
"""

from __future__ import annotations

from pathlib import Path

from fedpatchcore.data.layouts.folders import product_name
from fedpatchcore.data.layouts.tabled import Row, products_of
from fedpatchcore.data.manifest import read_groups
from fedpatchcore.data.products import Product
from fedpatchcore.data.tables import columns_of, read_rows
from fedpatchcore.errors import DataError

__all__ = ["NAME", "fits", "listed_groups", "read"]

NAME = "list.csv"
_COLUMNS = ("file", "split", "label")


def fits(root: Path) -> bool:
    """Whether there is such a table."""
    return (root / NAME).is_file()


def read(root: Path, deep: bool = False) -> dict[str, Product]:
    """Read the table → products by name. It names every image.

    Raises:
        DataError: no table, missing columns, or as `products_of`.
    """
    table = root / NAME
    if not table.is_file():
        raise DataError(f"{root}: no {NAME}; write one with columns {','.join(_COLUMNS)}")
    named = "product" in columns_of(table)
    return products_of(
        root,
        (
            Row(
                f"{table}, line {line}",
                row["product"] if named else product_name(root),
                row["split"],
                row["label"],
                row["file"],
                tuple(mask.strip() for mask in row["mask"].split(";") if mask.strip()),
            )
            for line, row in read_rows(table, _COLUMNS, ("mask", "product"))
        ),
    )


def listed_groups(root: Path) -> dict[Path, str]:
    """Groups that the table names, by path; none if it has no such column, or is not there."""
    table = root / NAME
    if not table.is_file() or "group" not in columns_of(table):
        return {}
    return read_groups(table, root)
