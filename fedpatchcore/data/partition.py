"""One data set → the data of several simulated sites. Real sites have their own folders.

iid        train and test images of each product dealt evenly, shuffled.
category   whole products to sites. More products than sites: a site gets several, balanced by
           training images. More sites than products: the sites sharing a product get its images
           dealt as in iid, and larger products are shared by more sites.
dirichlet  a product's shares over the sites ~ Dir(α, …, α); small α: sites differ strongly.
           Paper: Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for
           Federated Visual Classification", 2019; here shares are drawn per product, and the
           test images follow the shares of the training images.
manifest   a csv table says which image goes where, see `fedpatchcore.data.manifest`.
folders    each sub-folder of the root is a site with <product> folders of its own.

iid, category and dirichlet are partitions: each image goes to exactly one site. Every site gets at
least one training image. Good images and each kind of defect are dealt separately, so that sites
resemble each other as far as the scheme allows. A site lacks a product it has no image of.
"""

import csv
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.data.layouts import discover
from fedpatchcore.data.manifest import deal_by_manifest, read_groups, real_path
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.errors import ConfigError, DataError

__all__ = ["SCHEMES", "UNUSED", "partition", "read_groups", "statistics", "write_statistics"]

SCHEMES = ("iid", "category", "dirichlet", "manifest", "folders")
"""Names accepted by `partition`."""

UNUSED = "(unused)"
"""Site of `statistics` under which images are counted that no site got."""

Parts = dict[str, dict[str, Product]]

_REDRAWS = 100


def partition(
    products: Mapping[str, Product],
    scheme: str,
    *,
    sites: int,
    seed: int = 0,
    alpha: float = 0.5,
    manifest: Path | None = None,
    root: Path | None = None,
    layout: str = "auto",
) -> Parts:
    """Deal a data set to sites.

    Args:
        products: the whole data set, from `discover`; not looked at by "folders".
        scheme: one of `SCHEMES`.
        sites: number of sites; 0 with "manifest" and "folders": as many as there are.
        seed: of the shuffles and draws, ≥ 0; equal seeds give equal parts on every machine.
        alpha: concentration of "dirichlet", > 0.
        manifest: csv table of "manifest".
        root: what the manifest's files are relative to (None: the table's folder); the folder of
            site folders of "folders".
        layout: layout of the site folders of "folders".

    Returns:
        Site → product name → product. Sites are "site-0", "site-1", … or named by the manifest or
        the folders.

    Raises:
        ConfigError: unknown scheme; a setting out of range or missing; another number of sites
            than the manifest or the folders hold.
        DataError: no data; fewer training images than sites; no draw gave every site one; faults
            of the manifest or the folders.
    """
    if scheme not in SCHEMES:
        raise ConfigError(f"partition scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if seed < 0:
        raise ConfigError(f"partition seed must be 0 or more, got {seed}")
    if scheme == "folders":
        return _counted(_deal_folders(root, layout), sites, str(root))
    if not products:
        raise DataError("no products to deal to sites; check the data root and layout")
    if scheme == "manifest":
        if manifest is None:
            raise ConfigError("partition scheme 'manifest' needs the path of a csv table")
        table = Path(manifest)
        parts = deal_by_manifest(products, table, table.parent if root is None else Path(root))
        return _counted(parts, sites, str(table))
    if sites < 1:
        raise ConfigError(f"partition scheme {scheme!r} needs 1 site or more, got {sites}")
    total = sum(len(product.train) for product in products.values())
    if total < sites:
        raise DataError(f"{total} training images cannot serve {sites} sites; use fewer sites")
    products = {name: products[name] for name in sorted(products)}
    if scheme == "iid":
        return _complete(_deal_iid(products, range(sites), seed), sites)
    if scheme == "category":
        return _complete(_deal_category(products, sites, seed), sites)
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"alpha of the dirichlet partition must be greater than 0, got {alpha}")
    return _deal_dirichlet(products, sites, seed, alpha)


def statistics(
    parts: Mapping[str, Mapping[str, Product]], products: Mapping[str, Product] | None = None
) -> list[dict[str, Any]]:
    """Counts of images → rows {site, product, train, test_good, test_defective}.

    Args:
        parts: from `partition`.
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
) -> None:
    """Write `statistics` as csv with a header.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with Path(path_csv).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file, ("site", "product", "train", "test_good", "test_defective")
            )
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


def _deal_iid(products: Mapping[str, Product], sites: range, seed: int) -> Parts:
    """Deal like cards; the next product goes on where the last one stopped."""
    parts: Parts = {_site(number): {} for number in sites}
    turn = {"train": 0, "test": 0}
    for name, product in products.items():
        rng = _rng(seed, name)
        owners = []
        for kind, size in _strata(product):
            order = rng.permutation(size)
            owner = np.empty(size, dtype=np.int64)
            owner[order] = (turn[kind] + np.arange(size)) % len(sites)
            turn[kind] += size
            owners.append(owner)
        _hand_out(parts, product, owners)
    return parts


def _deal_category(products: Mapping[str, Product], sites: int, seed: int) -> Parts:
    """Whole products, largest first, to the site with the fewest training images."""
    largest = sorted(products.values(), key=lambda product: (-len(product.train), product.name))
    if len(products) >= sites:
        parts: Parts = {_site(number): {} for number in range(sites)}
        load = [0] * sites
        for product in largest:
            number = min(range(sites), key=lambda site: (load[site], site))
            parts[_site(number)][product.name] = product
            load[number] += len(product.train)
        return {site: dict(sorted(own.items())) for site, own in parts.items()}
    shares = dict.fromkeys(products, 1)
    for _ in range(sites - len(products)):  # d'Hondt: one more site where each has most to do
        crowded = max(largest, key=lambda product: len(product.train) / (shares[product.name] + 1))
        shares[crowded.name] += 1
    parts = {}
    for name, product in products.items():
        block = range(len(parts), len(parts) + shares[name])
        parts |= _deal_iid({name: product}, block, seed)
    return parts


def _deal_dirichlet(products: Mapping[str, Product], sites: int, seed: int, alpha: float) -> Parts:
    """Cut each shuffled product at the cumulated shares; draw again while a site goes empty."""
    for draw in range(_REDRAWS):
        parts: Parts = {_site(number): {} for number in range(sites)}
        for name, product in products.items():
            rng = _rng(seed, name, draw)
            edges = np.cumsum(rng.dirichlet(np.full(sites, alpha)))[:-1]
            owners = []
            for _, size in _strata(product):
                owner = np.empty(size, dtype=np.int64)
                owner[rng.permutation(size)] = np.searchsorted(
                    edges, (np.arange(size) + 0.5) / max(size, 1)
                )
                owners.append(owner)
            _hand_out(parts, product, owners)
        if all(_has_training(own) for own in parts.values()):
            return parts
    raise DataError(
        f"{_REDRAWS} draws of the dirichlet partition left a site without training images; "
        f"raise alpha ({alpha:g}) or use fewer sites ({sites})"
    )


def _deal_folders(root: Path | None, layout: str) -> Parts:
    """Discover each sub-folder of the root."""
    if root is None:
        raise ConfigError("partition scheme 'folders' needs a root, the folder of site folders")
    root = Path(root)
    try:
        entries = [path for path in root.iterdir() if not path.name.startswith(".")]
        folders = sorted(path for path in entries if path.is_dir())
    except OSError as error:
        raise DataError(f"{root}: cannot be listed ({error.strerror}); check the path") from error
    if not folders:
        raise DataError(f"{root}: holds no folders; expected <site>/<product>/...")
    parts = {folder.name: discover(folder, layout) for folder in folders}
    for folder in folders:
        own = parts[folder.name].get(folder.name)
        if own is not None and own.root == folder:
            raise DataError(
                f"{folder}: is a product itself, so no site would share it; "
                f"move its contents into {folder.name}/<product>"
            )
    return parts


def _strata(product: Product) -> list[tuple[str, int]]:
    """Sizes of the groups dealt separately: training images, then each test label, sorted."""
    labels = [item.label for item in product.test]
    return [
        ("train", len(product.train)),
        *(("test", labels.count(label)) for label in sorted(set(labels))),
    ]


def _hand_out(parts: Parts, product: Product, owners: list[np.ndarray]) -> None:
    """Give each site its images of a product, in the layout's order.

    Args:
        parts: extended in place.
        product: the whole product.
        owners: as `_strata`, position of the site in `parts` of each image, int64 [size].
    """
    labels = sorted({item.label for item in product.test})
    by_label = {
        label: iter(owner.tolist()) for label, owner in zip(labels, owners[1:], strict=True)
    }
    test_owner = [next(by_label[item.label]) for item in product.test]
    for position, own in enumerate(parts.values()):
        train = tuple(
            path
            for path, owner in zip(product.train, owners[0].tolist(), strict=True)
            if owner == position
        )
        test = tuple(
            item for item, owner in zip(product.test, test_owner, strict=True) if owner == position
        )
        if train or test:
            own[product.name] = Product(product.name, train, test, product.root, product.saturation)


def _complete(parts: Parts, sites: int) -> Parts:
    """Refuse a site without training images."""
    for site, own in parts.items():
        if not _has_training(own):
            raise DataError(f"{site} of {sites} would get no training image; use fewer sites")
    return parts


def _counted(parts: Parts, sites: int, source: str) -> Parts:
    """Refuse another number of sites than asked for; 0 takes all."""
    if sites not in (0, len(parts)):
        raise ConfigError(
            f"{source} holds {len(parts)} sites ({', '.join(parts)}), but {sites} were asked for; "
            f"set the number of sites to {len(parts)} or 0"
        )
    return parts


def _has_training(own: Mapping[str, Product]) -> bool:
    return any(product.train for product in own.values())


def _site(number: int) -> str:
    return f"site-{number}"


def _rng(seed: int, name: str, draw: int = 0) -> np.random.Generator:
    """Generator of one product: adding a product leaves the shuffles of the others alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), draw])
