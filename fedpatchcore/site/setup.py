"""From settings to a working site: data, backbone, cache."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.manifest import read_groups
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product
from fedpatchcore.data.sample import VERSION, write_sample
from fedpatchcore.errors import ConfigError, DataError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extractor import Backbone, build_backbone
from fedpatchcore.places import cache_home
from fedpatchcore.privacy.policy import Policy
from fedpatchcore.site.site import Site
from fedpatchcore.wire.messages import TrainReply

__all__ = ["open_site", "sample_folder", "use_threads", "virtual_sites"]

Say = Callable[[str], None]


def use_threads(count: int) -> None:
    """Give this process ``count`` compute threads; 0 leaves the libraries' own choice."""
    if count:
        import faiss
        import torch

        torch.set_num_threads(count)
        faiss.omp_set_num_threads(count)


@lru_cache(maxsize=2)
def _backbone(config: RunConfig) -> Backbone:
    """A process serves many messages (simulation): build each backbone once."""
    return build_backbone(config)


def sample_folder(sites: int) -> Path:
    """The synthetic sample for so many sites, written on first use; one writer at a time."""
    folder = cache_home() / f"sample-v{VERSION}-{sites}"
    with _lock(folder.with_name(f"{folder.name}.lock")):
        write_sample(folder, sites=sites)
    return folder


@contextmanager
def _lock(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def virtual_sites(config: RunConfig, count: int = 0) -> dict[str, dict[str, Product]]:
    """All sites of a simulation and their products, by the ``partition`` setting.

    Every process computes the same division from the same folder and seed. Without a
    ``data`` folder the synthetic sample is used, with one folder a site.
    """
    if not config.data:
        return partition({}, "folders", sites=count, root=sample_folder(count or 5))
    root = Path(config.data).expanduser()
    wanted = config.product_names()
    if config.partition == "folders":
        parts = partition({}, "folders", sites=count, root=root, layout=config.layout)
        if wanted:
            parts = {s: {n: p for n, p in own.items() if n in wanted} for s, own in parts.items()}
        return parts
    return partition(
        discover(root, config.layout, wanted),
        config.partition,
        sites=count,
        seed=config.seed,
        alpha=config.dirichlet_alpha,
        manifest=Path(config.manifest).expanduser() if config.manifest else None,
        root=root,
        layout=config.layout,
    )


def image_groups(config: RunConfig) -> Mapping[Path, str]:
    """Groups named in a manifest's third column: shots of one part, held out together."""
    if config.partition != "manifest":
        return {}
    manifest = Path(config.manifest).expanduser()
    with manifest.open(encoding="utf-8-sig") as file:
        if "group" not in file.readline().strip().split(","):
            return {}
    return read_groups(manifest, Path(config.data).expanduser())


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
    if node.simulated:
        parts = virtual_sites(config, node.num_partitions)
        name = list(parts)[node.partition_id]
        products, groups = parts[name], image_groups(config)
        cache_root = cache_home() / "simulated"
    else:
        if not node.data:
            raise ConfigError(
                "this site has no data folder: start the SuperNode with "
                "--node-config \"site='plant-a' data='/path/to/images'\" or set FEDPATCHCORE_DATA"
            )
        name = node.site or Path(node.data).name
        products = discover(
            Path(node.data).expanduser(), node.layout or config.layout, config.product_names()
        )
        groups = {}
        cache_root = Path(node.cache).expanduser() if node.cache else cache_home() / "sites" / name
    if not products:
        raise DataError(f"site '{name}' has none of the products '{config.products}'")
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
        out=Path(node.out).expanduser() if node.out else cache_root / "results",
        simulated=node.simulated,
        policy=_policy(node, name, run_folder),
        say=say,
    )


def rehearse_attack(site: Site, reply: TrainReply, count: int) -> TrainReply:
    """What a virtual site of ``count`` sends if it is one of the run's malicious ones."""
    from fedpatchcore.site.rehearsal import attacked

    names = list(virtual_sites(site.config, count)) if site.simulated else [site.name]

    def peer(name: str) -> Contribution:
        node = NodeConfig(partition_id=names.index(name), num_partitions=len(names))
        return open_site(site.config, node).train().contribution

    return attacked(site, reply, names, peer)
