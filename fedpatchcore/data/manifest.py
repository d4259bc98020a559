"""A csv table deals images to sites: columns file, site and optionally group.

    file,site,group
    bolt/train/good/001.png,north,batch-7
    bolt/test/dent/004.png,*,

Files are relative to the data's root. Site "*" gives a file to every site, say the whole test
set. Whether an image is for training or testing is for the layout to say. A group names images
that belong together (one part, one batch) for `fedpatchcore.metrics.curves.paired_bootstrap`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from fedpatchcore.data.products import Product
from fedpatchcore.data.tables import read_rows, resolve_inside
from fedpatchcore.errors import DataError

__all__ = ["EVERY_SITE", "deal_by_manifest", "read_groups", "real_path", "subset"]

EVERY_SITE = "*"
"""Site of a file that all sites get."""


def deal_by_manifest(
    products: Mapping[str, Product], manifest: Path, root: Path
) -> dict[str, dict[str, Product]]:
    """Images to the sites the table names, sites sorted by name.

    Lines on existing files that are no image of `products` (another product, say) are skipped;
    images without a line are left out. A site may end up without training images.

    Raises:
        DataError: unreadable table; with its line number: no such file, no site, a file given
            twice to one site; no site named; no line on any of the products.
    """
    known = {real_path(path) for product in products.values() for path in _paths(product)}
    dealt: dict[str, dict[str, int]] = {}  # site → file → line
    matched = False
    for line, row in read_rows(manifest, ("file", "site")):
        where = f"{manifest}, line {line}"
        path = real_path(resolve_inside(root, row["file"], where))
        site = row["site"]
        if not site:
            raise DataError(f"{where}: site must not be empty; name one or {EVERY_SITE} for all")
        earlier = dealt.setdefault(site, {}).setdefault(path, line)
        if earlier != line:
            raise DataError(f"{where}: {row['file']} was given to {site} in line {earlier} already")
        matched = matched or path in known
    shared = dealt.pop(EVERY_SITE, {})
    if not dealt:
        raise DataError(f"{manifest}: names no site; fill the column site")
    if not matched:
        raise DataError(f"{manifest}: no line names an image of {', '.join(products)} below {root}")
    for site, files in dealt.items():
        for path, line in files.items():
            if path in shared:
                raise DataError(
                    f"{manifest}, line {line}: the file went to {site} by {EVERY_SITE} in line "
                    f"{shared[path]} already"
                )
    return {site: subset(products, {*dealt[site], *shared}) for site in sorted(dealt)}


def read_groups(manifest: Path, root: Path | None = None) -> dict[Path, str]:
    """Group of each file of a table that names one → by path below `root`.

    Args:
        manifest: csv with columns file and group.
        root: what the files are relative to; None: the table's folder.

    Raises:
        DataError: unreadable, a column is missing, no such file, or one file in two groups.
    """
    manifest = Path(manifest)
    root = manifest.parent if root is None else Path(root)
    groups: dict[Path, str] = {}
    for line, row in read_rows(manifest, ("file", "group")):
        if row["group"]:
            where = f"{manifest}, line {line}"
            path = resolve_inside(root, row["file"], where)
            if groups.setdefault(path, row["group"]) != row["group"]:
                raise DataError(f"{where}: {row['file']} is in group {groups[path]} already")
    return groups


def subset(products: Mapping[str, Product], files: set[str]) -> dict[str, Product]:
    """The products cut down to some images, given by `real_path`; empty products are left out."""
    kept = {}
    for name, product in products.items():
        train = tuple(path for path in product.train if real_path(path) in files)
        test = tuple(item for item in product.test if real_path(item.path) in files)
        if train or test:
            kept[name] = Product(name, train, test, product.root, product.saturation)
    return kept


def real_path(path: Path) -> str:
    """Identity of a file: its folder without links, its own name (which may be a link) kept."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _paths(product: Product) -> list[Path]:
    """All images of a product."""
    return [*product.train, *(item.path for item in product.test)]
