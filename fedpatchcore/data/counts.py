"""How many images of each product every site got, as rows and as csv."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpatchcore.data.manifest import real_path
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.errors import DataError

__all__ = ["TESTS", "UNUSED", "statistics", "write_statistics"]

TESTS = ("test_good", "test_defective")
UNUSED = "(unused)"
"""Site of `statistics` under which images are counted that no site got."""


def statistics(
    parts: Mapping[str, Mapping[str, Product]], products: Mapping[str, Product] | None = None
) -> list[dict[str, Any]]:
    """Counts of images → rows {site, product, train, test_good, test_defective}.

    Args:
        parts: from `fedpatchcore.data.partition.partition`.
        products: the whole data set; images that no site got are then counted in rows of site
            `UNUSED`, one a product, left out where none is unused.
    """
    rows = [
        _row(site, product.name, product.train, product.test)
        for site, own in parts.items()
        for product in own.values()
    ]
    if products is None:
        return rows
    used = {
        real_path(path)
        for own in parts.values()
        for product in own.values()
        for path in (*product.train, *(item.path for item in product.test))
    }
    for product in products.values():
        train = tuple(path for path in product.train if real_path(path) not in used)
        test = tuple(item for item in product.test if real_path(item.path) not in used)
        if train or test:
            rows.append(_row(UNUSED, product.name, train, test))
    return rows


def write_statistics(
    parts: Mapping[str, Mapping[str, Product]],
    path_csv: Path,
    products: Mapping[str, Product] | None = None,
    *,
    tests: bool = True,
) -> None:
    """Write `statistics` as csv with a header; without ``tests`` those of training alone.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with Path(path_csv).open("w", encoding="utf-8", newline="") as file:
            columns = ("site", "product", "train", *(TESTS if tests else ()))
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(statistics(parts, products))
    except OSError as error:
        raise DataError(f"{path_csv}: cannot be written ({error.strerror})") from error


def _row(
    site: str, product: str, train: tuple[Path, ...], test: tuple[TestImage, ...]
) -> dict[str, Any]:
    defective = sum(item.anomalous for item in test)
    return {
        "site": site,
        "product": product,
        "train": len(train),
        "test_good": len(test) - defective,
        "test_defective": defective,
    }
