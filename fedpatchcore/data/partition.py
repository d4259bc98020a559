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

from collections.abc import Mapping
from pathlib import Path

from fedpatchcore.data.dealing import Parts, complete, deal_category, deal_dirichlet, deal_iid
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.manifest import deal_by_manifest
from fedpatchcore.data.products import Product
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.spelling import typed

__all__ = ["SCHEMES", "partition"]

SCHEMES = ("iid", "category", "dirichlet", "manifest", "folders")
"""Names accepted by `partition`."""


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
    deep: bool = False,
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
        deep: of the site folders: see `discover`.

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
        return _counted(_deal_folders(root, layout, deep), sites, str(root))
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
        return complete(deal_iid(products, range(sites), seed), sites)
    if scheme == "category":
        return complete(deal_category(products, sites, seed), sites)
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"alpha of the dirichlet partition must be greater than 0, got {alpha}")
    return deal_dirichlet(products, sites, seed, alpha)


def _deal_folders(root: Path | None, layout: str, deep: bool) -> Parts:
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
    parts = {folder.name: discover(folder, layout, deep=deep) for folder in folders}
    divided = typed("partition", "iid")
    for folder in folders:
        own = parts[folder.name].get(folder.name)
        if own is not None and own.root == folder:
            raise DataError(
                f"{folder}: is a product itself, so no site would share it; "
                f"move its contents into {folder.name}/<product>"
                f"{divided and f', or divide the images with {divided}'}"
            )
    return parts


def _counted(parts: Parts, sites: int, source: str) -> Parts:
    """Refuse another number of sites than asked for; 0 takes all."""
    if sites not in (0, len(parts)):
        raise ConfigError(
            f"{source} holds {len(parts)} sites ({', '.join(parts)}), but {sites} were asked for; "
            f"set the number of sites to {len(parts)} or 0"
        )
    return parts
