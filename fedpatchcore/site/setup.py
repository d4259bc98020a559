"""From settings to a working site: data, backbone, cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.exclude import excluded, without
from fedpatchcore.data.group_by import BY_FOLDER
from fedpatchcore.data.groups import named_groups
from fedpatchcore.data.layouts.discovery import discover, overlooked
from fedpatchcore.data.layouts.list import listed_groups
from fedpatchcore.devices.faiss import faiss_if_there
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.places import cache_home
from fedpatchcore.privacy.policy import Policy
from fedpatchcore.site.site import Site
from fedpatchcore.site.virtual import image_groups, virtual_sites
from fedpatchcore.spelling import typed

__all__ = ["open_site", "use_threads"]

Say = Callable[[str], None]


def use_threads(count: int) -> None:
    """Give this process ``count`` compute threads; 0 leaves the libraries' own choice."""
    if count:
        import torch

        torch.set_num_threads(count)
        if (faiss := faiss_if_there()) is not None:
            faiss.omp_set_num_threads(count)


@lru_cache(maxsize=2)
def _backbone(config: RunConfig) -> Backbone:
    """A process serves many messages (simulation): build each backbone once."""
    return build_backbone(config)


def _policy(node: NodeConfig, name: str, run_folder: Path | None) -> Policy:
    """A real site's ledger outlives every run; a virtual site's begins with the run."""
    if node.simulated:
        return Policy(run_folder / "sites" / name / "ledger" if run_folder else None)
    root = Path(node.ledger).expanduser() if node.ledger else cache_home() / "ledgers" / name
    return Policy(root, required=node.dp_required, budget=node.dp_budget_epsilon)


def open_site(
    config: RunConfig,
    node: NodeConfig,
    *,
    run_folder: Path | None = None,
    say: Say = lambda line: None,
) -> Site:
    """The site that ``node`` describes, ready to answer messages.

    Args:
        run_folder: of the run, which a virtual site shares with the server.

    Raises:
        ConfigError: neither a data folder nor a partition is given, or no site name.
        DataError, WeightsError: the folder or the weights cannot be used.
    """
    left_out: dict[str, int] = {}
    if node.simulated:
        parts = virtual_sites(config, node.num_partitions)
        name = list(parts)[node.partition_id]
        products, groups = parts[name], image_groups(config)
        cache_root = cache_home() / "simulated"
    else:
        if not node.data:
            raise ConfigError(
                "this site has no data folder: start the SuperNode with "
                f"{typed('data', 'FOLDER', own=True)} or set FEDPATCHCORE_DATA"
            )
        name = node.site or Path(node.data).name
        data = Path(node.data).expanduser()
        config = config.model_copy(update={"group_by": node.group_by or config.group_by})
        products = discover(
            data,
            node.layout or config.layout,
            config.product_names(),
            deep=config.group_by == BY_FOLDER,
        )
        table = Path(node.groups).expanduser() if node.groups else None
        groups = named_groups(table, data) if table else listed_groups(data)
        cache_root = Path(node.cache).expanduser() if node.cache else cache_home() / "sites" / name
        if node.exclude:
            listing = Path(node.exclude).expanduser()
            products, left_out = without(products, excluded(listing, data), listing)
    if not products:
        raise DataError(f"site '{name}' has none of the products '{config.products}'")
    if told := overlooked(products.values()):
        say(told)
    settings = config.model_copy(
        update={"weights": node.weights or config.weights, "device": node.device or config.device}
    )
    if node.memory_budget:
        config = config.model_copy(update={"memory_budget": node.memory_budget})
    cache = SiteCache(cache_root, config.cache_gb) if config.cache_gb else None
    return Site(
        name,
        products,
        config,
        _backbone(settings),
        cache=cache,
        groups=groups,
        excluded=left_out,
        out=Path(node.out).expanduser() if node.out else cache_root / "results",
        simulated=node.simulated,
        policy=_policy(node, name, run_folder),
        say=say,
    )
