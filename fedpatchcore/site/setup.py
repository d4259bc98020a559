"""From settings to a working site: data, backbone, cache."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.exclude import excluded, without
from fedpatchcore.data.group_by import BY_FOLDER
from fedpatchcore.data.groups import named_groups
from fedpatchcore.data.layouts.discovery import discover, overlooked
from fedpatchcore.data.layouts.list import listed_groups
from fedpatchcore.data.products import Product
from fedpatchcore.devices.faiss import faiss_if_there
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.features.warm import Warm
from fedpatchcore.places import cache_home
from fedpatchcore.privacy.policy import Policy
from fedpatchcore.settings import listed
from fedpatchcore.site.membership import Member, by_files, simulated
from fedpatchcore.site.site import Site
from fedpatchcore.site.virtual import image_groups, virtual_parts, virtual_sites
from fedpatchcore.spelling import typed

__all__ = ["forget_backbones", "open_site", "use_threads"]

Say = Callable[[str], None]


def use_threads(count: int) -> None:
    """Give this process ``count`` compute threads, at most one a core; 0: the libraries' choice.

    Of a process that serves many runs the next one begins with that choice again.
    """
    import torch

    torch_own, faiss_own = _own_threads()
    most = os.cpu_count() or 1
    torch.set_num_threads(min(count, most) or torch_own)
    if (faiss := faiss_if_there()) is not None:
        faiss.omp_set_num_threads(min(count, most) or faiss_own)


@lru_cache(maxsize=1)
def _own_threads() -> tuple[int, int]:
    """How many the libraries chose by themselves, before anything was set."""
    import torch

    faiss = faiss_if_there()
    return torch.get_num_threads(), faiss.omp_get_max_threads() if faiss else 0


@lru_cache(maxsize=2)
def _backbone(config: FeatureSettings) -> Backbone:
    """A process serves many messages (simulation, worker): build each backbone once."""
    return build_backbone(config)


def forget_backbones() -> None:
    """Give back the memory of the networks, and what of a GPU they held."""
    import torch

    _backbone.cache_clear()
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _policy(node: NodeConfig, name: str, run_folder: Path | None) -> Policy:
    """A real site's ledger outlives every run; a virtual site's begins with the run."""
    if node.simulated:
        return Policy(run_folder / "sites" / name / "ledger" if run_folder else None)
    root = Path(node.ledger).expanduser() if node.ledger else cache_home() / "ledgers" / name
    return Policy(
        root,
        required=node.dp_required,
        budget=node.dp_budget_epsilon,
        alone=node.dp_alone_epsilon,
        trust_server=node.dp_trust_server,
        masked=listed(node.masked),
        colluding=node.colluding_sites,
    )


def _member(node: NodeConfig, name: str, virtual: Sequence[str], policy: Policy) -> Member | None:
    """By the site's own roster and key; of a virtual site by what all of them can work out."""
    if node.simulated:
        return simulated(name, virtual)
    if not (node.roster and node.sums_key):
        return None
    files = (Path(file).expanduser() for file in (node.roster, node.sums_key))
    return by_files(*files, policy.sums_folder)


def _taking_part(
    products: Mapping[str, Product], names: Sequence[str], site: str
) -> Mapping[str, Product]:
    """Those that the site lets take part. Raises DataError if none of these is there."""
    if not names:
        return products
    kept = {name: one for name, one in products.items() if name in names}
    if not kept:
        raise DataError(
            f"site '{site}' lets {', '.join(names)} take part (take-part) and nothing else; the "
            f"run asks for {', '.join(products) or 'none of its products'}"
        )
    return kept


def _overlooked_of_all(config: RunConfig, node: NodeConfig) -> str:
    """What no virtual site uses; of what one has dealt to others it is not said."""
    whole: dict[tuple[Path, str], Product] = {}
    named = config.model_copy(update={"exclude": ""})  # what is excluded is not overlooked
    for products in virtual_sites(named, node.num_partitions).values():
        for one in products.values():
            had = whole.setdefault((one.root, one.name), one)
            if had is not one:
                both = {"train": (*had.train, *one.train), "test": (*had.test, *one.test)}
                whole[one.root, one.name] = replace(had, **both)
    return overlooked(whole.values())


def open_site(
    config: RunConfig,
    node: NodeConfig,
    *,
    run_folder: Path | None = None,
    warm: Warm | None = None,
    say: Say = lambda line: None,
    asked: RunConfig | None = None,
) -> Site:
    """The site that ``node`` describes, ready to answer messages.

    Args:
        run_folder: of the run, which a virtual site shares with the server.
        asked: the run's settings as they were sent, where ``config`` was cut down.

    Raises:
        ConfigError: neither a data folder nor a partition is given, or no site name; a real site
            in a run that says which images are left out.
        DataError, WeightsError: the folder or the weights cannot be used.
    """
    asked, left_out = asked or config, {}
    if node.simulated:
        parts, out = virtual_parts(config, node.num_partitions)
        name = list(parts)[node.partition_id]
        products, groups, left_out = parts[name], image_groups(config), out.get(name, {})
        left = _overlooked_of_all(config, node) if node.partition_id == 0 else ""
        cache_root = cache_home() / "simulated"
    else:
        if not node.data:
            raise ConfigError(
                "this site has no data folder: start the SuperNode with "
                f"{typed('data', 'FOLDER', own=True)} or set FEDPATCHCORE_DATA"
            )
        name = node.site or Path(node.data).name
        if config.exclude:
            raise ConfigError(
                f"site '{name}' is real and says itself which of its images are left out: take "
                "exclude out of the run, and start the SuperNode with "
                f"{typed('exclude', 'CSV', own=True)}"
            )
        data = Path(node.data).expanduser()
        config = config.model_copy(update={"group_by": node.group_by or config.group_by})
        products = discover(
            data,
            node.layout or config.layout,
            config.product_names(),
            deep=config.group_by == BY_FOLDER,
        )
        products = _taking_part(products, listed(node.take_part), name)
        table = Path(node.groups).expanduser() if node.groups else None
        groups = named_groups(table, data) if table else listed_groups(data)
        cache_root = Path(node.cache).expanduser() if node.cache else cache_home() / "sites" / name
        left = overlooked(products.values())  # what is excluded is not overlooked
        if node.exclude:
            listing = Path(node.exclude).expanduser()
            products, left_out = without(products, excluded(listing, data), listing)
    if not products:
        raise DataError(f"site '{name}' has none of the products '{config.products}'")
    if left:
        say(left)
    given = {name: getattr(config, name) for name in FeatureSettings.model_fields}
    given |= {
        "weights": node.weights or config.weights,
        "device": node.device or config.device,
        "engine": node.engine or config.engine,
    }
    if node.memory_budget:
        config = config.model_copy(update={"memory_budget": node.memory_budget})
    cache = SiteCache(cache_root, config.cache_gb, warm=warm) if config.cache_gb else None
    return Site(
        name,
        products,
        config,
        _backbone(FeatureSettings(**given)),
        cache=cache,
        groups=groups,
        excluded=left_out,
        out=Path(node.out).expanduser() if node.out else cache_root / "results",
        simulated=node.simulated,
        policy=(policy := _policy(node, name, run_folder)),
        member=_member(node, name, tuple(parts) if node.simulated else (), policy),
        asked=asked,
        say=say,
    )
