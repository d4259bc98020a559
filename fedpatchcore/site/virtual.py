"""The sites of a simulation: how one folder of images becomes many."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from fedpatchcore.config import RunConfig
from fedpatchcore.data.exclude import excluded, without_at_sites
from fedpatchcore.data.group_by import BY_FOLDER
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.layouts.folders import folders
from fedpatchcore.data.layouts.list import listed_groups
from fedpatchcore.data.layouts.plain import sites_in
from fedpatchcore.data.layouts.registry import AUTO
from fedpatchcore.data.manifest import read_groups
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product
from fedpatchcore.data.sample import VERSION, write_sample
from fedpatchcore.data.tables import columns_of
from fedpatchcore.errors import DataError
from fedpatchcore.places import cache_home
from fedpatchcore.spelling import typed

__all__ = ["image_groups", "one_product", "sample_folder", "virtual_parts", "virtual_sites"]


def sample_folder(sites: int) -> Path:
    """The synthetic sample for so many sites, written on first use; one writer at a time."""
    folder = cache_home() / f"sample-v{VERSION}-{sites}"
    with _lock(folder.with_name(f"{folder.name}.lock")):
        write_sample(folder, sites=sites)
    return folder


def one_product(root: Path) -> bool:
    """Whether a folder that should hold sites is a product's, whose folders look like sites."""
    return (root / "train" / "good").is_dir()


@contextmanager
def _lock(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def virtual_sites(config: RunConfig, count: int = 0) -> dict[str, dict[str, Product]]:
    """All sites of a simulation and their products, by the ``partition`` setting.

    Every process computes the same division from the same folder and seed. Without a
    ``data`` folder the synthetic sample is used, with one folder a site. Images that ``exclude``
    names are taken out of what was divided: all others stay where they were.
    """
    return virtual_parts(config, count)[0]


def virtual_parts(
    config: RunConfig, count: int = 0
) -> tuple[dict[str, dict[str, Product]], dict[str, dict[str, int]]]:
    """`virtual_sites`, and how many training images ``exclude`` took out, by site and product."""
    root = Path(config.data).expanduser() if config.data else sample_folder(count or 5)
    parts = _divided(config, count, root)
    if not config.exclude:
        return parts, {}
    table = Path(config.exclude).expanduser()
    return without_at_sites(parts, excluded(table, root), table)


def _divided(config: RunConfig, count: int, root: Path) -> dict[str, dict[str, Product]]:
    if not config.data:
        return partition({}, "folders", sites=count, root=root)
    wanted, deep = config.product_names(), config.group_by == BY_FOLDER
    if config.partition == "folders":
        if one_product(root):
            raise DataError(
                f"{root} is one product, and partition='folders' takes a folder of sites: "
                f"{typed('partition', 'iid')} divides its images over the sites"
            )
        parts = partition({}, "folders", sites=count, root=root, layout=config.layout, deep=deep)
        if wanted:
            parts = {s: {n: p for n, p in own.items() if n in wanted} for s, own in parts.items()}
        return parts
    try:
        products = discover(root, config.layout, wanted, deep=deep)
    except DataError:
        if config.layout != AUTO or not (sites := sites_in(root)):
            raise
        raise DataError(
            f"{root} holds folders of several sites ({', '.join(sites)}), and "
            f"partition={config.partition!r} divides one folder of products: give one of them, as "
            f"{root / sites[0]}, or leave partition out to take the sites as they are"
        ) from None
    return partition(
        products,
        config.partition,
        sites=count,
        seed=config.seed,
        alpha=config.dirichlet_alpha,
        manifest=Path(config.manifest).expanduser() if config.manifest else None,
        root=root,
        layout=config.layout,
    )


def image_groups(config: RunConfig) -> Mapping[Path, str]:
    """Groups that a manifest or lists of images name: shots of one part, held out together."""
    root = Path(config.data).expanduser()
    if config.partition != "manifest":
        sites = folders(root) if config.data and config.partition == "folders" else []
        lists = [listed_groups(folder) for folder in (root, *sites) if config.data]
        return {path: label for one in lists for path, label in one.items()}
    manifest = Path(config.manifest).expanduser()
    if "group" not in columns_of(manifest):
        return {}
    return read_groups(manifest, root)
