"""Training images that a person took out, with the reason of each.

    file,reason
    bolt/train/good/017.png,scratch at the rim: a reject that came back

Files are relative to the data folder, or to the table. Every line needs a reason: nothing leaves
the memory of what is normal without a word that somebody can stand by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fedpatchcore.data.manifest import real_path
from fedpatchcore.data.products import Product
from fedpatchcore.data.tables import read_rows, resolve_inside
from fedpatchcore.errors import DataError

__all__ = ["excluded", "without", "without_at_sites"]


def excluded(table: Path, data: Path) -> dict[str, str]:
    """Reason of each file of a table → by real path.

    Raises:
        DataError: the table cannot be read, lacks a column, names a file that is not there or
            twice, or gives no reason.
    """
    reasons: dict[str, str] = {}
    for line, row in read_rows(table, ("file", "reason")):
        where = f"{table}, line {line}"
        if not row["reason"]:
            raise DataError(f"{where}: no reason why {row['file']} is left out; write one")
        root = data if (data / row["file"]).is_file() else table.parent
        path = real_path(resolve_inside(root, row["file"], where))
        if path in reasons:
            raise DataError(f"{where}: {row['file']} was left out before already")
        reasons[path] = row["reason"]
    return reasons


def without(
    products: Mapping[str, Product], reasons: Mapping[str, str], table: Path
) -> tuple[dict[str, Product], dict[str, int]]:
    """Products without these training images, and how many were left out of each.

    Raises:
        DataError: a file that is no training image here, or all images of a product.
    """
    kept, counts = _without(products, reasons, table)
    _all_known(reasons, [products], table)
    return kept, counts


def without_at_sites(
    parts: Mapping[str, Mapping[str, Product]], reasons: Mapping[str, str], table: Path
) -> tuple[dict[str, dict[str, Product]], dict[str, dict[str, int]]]:
    """The same of images that are dealt to sites: both results by site.

    Raises:
        DataError: a file that is no training image of any site, or all images of a product at one.
    """
    found = {
        site: _without(products, reasons, table, f" at site '{site}'")
        for site, products in parts.items()
    }
    _all_known(reasons, parts.values(), table)
    kept = {site: products for site, (products, _) in found.items()}
    return kept, {site: counts for site, (_, counts) in found.items()}


def _without(
    products: Mapping[str, Product], reasons: Mapping[str, str], table: Path, where: str = ""
) -> tuple[dict[str, Product], dict[str, int]]:
    kept, counts = {}, {}
    for name, product in products.items():
        train = {path: real_path(path) for path in product.train}
        out = {real for real in train.values() if real in reasons}
        if out and len(out) == len(set(train.values())):
            raise DataError(f"{table}: leaves no training image of '{name}'{where}; remove lines")
        counts[name] = len(out)
        left = tuple(path for path, real in train.items() if real not in out)
        kept[name] = replace(product, train=left) if out else product
    return kept, counts


def _all_known(
    reasons: Mapping[str, str], parts: Iterable[Mapping[str, Product]], table: Path
) -> None:
    known = {real_path(path) for own in parts for one in own.values() for path in one.train}
    if strange := sorted(set(reasons) - known):
        raise DataError(
            f"{table}: {strange[0]} is no training image here; correct the line or remove it"
        )
