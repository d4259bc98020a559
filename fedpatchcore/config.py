"""One validated object for everything a run can be told.

Flower hands over flat tables: the *run-config* (``[tool.flwr.app.config]`` in
``pyproject.toml``, overridden by ``flwr run --run-config``) is the same at every site and
at the server; the *node-config* (``flower-supernode --node-config``) belongs to one site.
Keys are kebab-case there and snake_case here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedpatchcore.errors import ConfigError

__all__ = ["NodeConfig", "RunConfig", "cache_home"]

# Named here as well as in `fedpatchcore.aggregation`, which takes torch to import.
AGGREGATION_NAMES = (
    "federated_coreset",
    "simple_concatenate",
    "diversity_preserving",
    "coordinate_median",
    "geometric_median",
    "site_vote",
)
# Those that withstand faulty sites, and need 2f + 1 sites for it.
CELL_SUMS = "cell_sums"  # what dp="cells" makes of the sites' noisy sums
MOMENT_SUMS = "moment_sums"  # and dp="moments"
KERNEL_SUMS = "kernel_sums"  # and dp="kernel"
ROBUST_NAMES = ("coordinate_median", "geometric_median", "site_vote")


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=True
    )

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str) -> Self:
        """Validate a flat table. Raises ConfigError naming each bad key and its allowed range."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            raise ConfigError(f"{where}: {_explain(cls, error)}") from None

    def table(self) -> dict[str, Any]:
        """The settings under their kebab-case keys, as plain values."""
        return self.model_dump(by_alias=True)


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    known = [_kebab(name) for name in cls.model_fields]
    parts = []
    for item in error.errors():
        key = ".".join(str(p) for p in item["loc"]) or "settings"
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            parts.append(f"unknown key '{key}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        else:
            text = item["msg"].removeprefix("Value error, ")
            given = "" if key == "settings" else f", got {item['input']!r}"
            parts.append(f"{key}: {text}{given}")
    return "; ".join(parts)


class RunConfig(_Settings):
    """Settings of one run, equal at every site. Sizes are rows, times are seconds."""

    # What the features are
    backbone: str = "wide_resnet50_2"
    layers: str = ""
    geometry: Literal["crop", "full"] = "crop"
    image_size: int = Field(224, ge=32, le=2048)
    neighbourhood: int = Field(3, ge=1, le=15)
    layer_norm: Literal["auto", "none", "unit"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    jpeg_draft: bool = False
    weights: str = ""
    download_weights: bool = False
    # How a site works
    batch_size: int = Field(8, ge=1, le=4096)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0, le=1024)
    workers: int = Field(0, ge=0, le=256)
    max_bad_images: float = Field(0.1, ge=0, le=1)
    cache_gb: float = Field(20.0, ge=0)
    memory_budget: float = Field(0.0, ge=0)
    # Coreset
    coreset: Literal["k-center", "random"] = "k-center"
    coreset_size: int = Field(0, ge=0)
    coreset_ratio: float = Field(0.01, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**32)
    # The global bank
    aggregation: str = "federated_coreset"
    global_bank_size: int = Field(10_000, ge=1)
    weighted_by_samples: bool = False
    tolerated_sites: int = Field(1, ge=0)
    single_source: Literal["admit", "drop"] = "admit"
    sections: Literal["product", "shared"] = "product"
    server_memory_gb: float = Field(0.0, ge=0)
    # Robustness against faulty or hostile sites
    robustness_enabled: bool = False
    robustness_aggregation: Literal["site_vote", "coordinate_median", "geometric_median"] = (
        "site_vote"
    )
    zscore_threshold: float = Field(3.5, gt=0)
    on_outlier: Literal["warn", "exclude"] = "warn"
    density_filter: float = Field(0.0, ge=0, lt=1)
    # Privacy
    dp: Literal["off", "per-vector", "cells", "moments", "kernel"] = "off"
    dp_epsilon: float = Field(1.0, gt=0)
    dp_delta: float = Field(1e-5, gt=0, lt=1)
    dp_budget_epsilon: float = Field(1.0, gt=0)
    dp_clip: float = Field(1.0, gt=0)
    dp_cells: int = Field(128, ge=1, le=4096)
    dp_projection: int = Field(32, ge=1, le=4096)
    dp_waves: int = Field(2048, ge=1, le=65536)
    dp_bandwidth: float = Field(1.5, gt=1e-6, lt=1e6)
    dp_codebook: str = "sample"
    dp_combine: Literal["sum", "per-site"] = "sum"
    dp_share_metrics: bool = False
    # Attacks, for experiments in simulation only
    attack: str = ""
    attack_strength: float = Field(1.0, gt=0)
    malicious_fraction: float = Field(0.0, ge=0, lt=1)
    # Scoring and thresholds
    neighbours: int = Field(1, ge=1, le=100)
    reweight: int = Field(0, ge=0, le=100)
    search: Literal["exact", "approximate"] = "exact"
    holdout: float = Field(0.1, ge=0, lt=1)
    target_fpr: float = Field(0.05, gt=0, lt=1)
    # The federation
    num_rounds: int = Field(1, ge=1)
    min_sites: int = Field(2, ge=1)
    expected_sites: int = Field(0, ge=0)
    wait_seconds: float = Field(120.0, ge=0)
    round_timeout: float = Field(3600.0, gt=0)
    rejoin_seconds: float = Field(90.0, ge=0)
    keep_absent_sites: bool = True
    wire: Literal["float32", "float16", "int8", "pq"] = "float32"
    # Data, for simulation (at a real site the node-config names the folder)
    data: str = ""
    layout: Literal["auto", "mvtec", "autovi", "visa", "plain"] = "auto"
    products: str = ""
    partition: Literal["folders", "iid", "category", "dirichlet", "manifest"] = "folders"
    dirichlet_alpha: float = Field(0.5, gt=0)
    manifest: str = ""
    # Results
    out_dir: str = "runs"
    run_name: str = ""
    resume: str = ""
    compare_local: bool = True
    compare_pooled: bool = False
    heatmaps: int = Field(3, ge=0, le=1000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood: must be odd, got {self.neighbourhood}")
        if self.expected_sites and self.expected_sites < self.min_sites:
            raise ValueError(
                f"expected-sites ({self.expected_sites}) is below min-sites ({self.min_sites})"
            )
        if self.partition == "manifest" and not self.manifest:
            raise ValueError("partition='manifest' needs manifest='<csv file>'")
        if self.aggregation not in AGGREGATION_NAMES:
            known = ", ".join(AGGREGATION_NAMES)
            raise ValueError(f"aggregation: must be one of {known}, got '{self.aggregation}'")
        self._check_robust()
        self._check_private()
        return self

    def _check_robust(self) -> None:
        needed, name = 2 * self.tolerated_sites + 1, self.effective_aggregation
        if name in ROBUST_NAMES and self.min_sites < needed:
            which = "robustness-aggregation" if self.robustness_enabled else "aggregation"
            raise ValueError(
                f"{which}='{name}' with tolerated-sites={self.tolerated_sites} "
                f"needs min-sites >= {needed}, got {self.min_sites}"
            )
        if self.attack and not self.malicious_fraction:
            raise ValueError("attack needs malicious-fraction above 0")

    def _check_private(self) -> None:
        if self.dp == "off":
            return
        if self.wire != "float32":
            raise ValueError(
                f"wire='{self.wire}' takes dp='off': private releases and their banks travel "
                "exact, with wire='float32'"
            )
        if self.dp_epsilon > self.dp_budget_epsilon:
            raise ValueError(
                f"dp-epsilon ({self.dp_epsilon:g}) is above dp-budget-epsilon "
                f"({self.dp_budget_epsilon:g}): no site could pay for this run"
            )
        one_row = self.dp in ("moments", "kernel")
        if (one_row or self.dp == "per-vector") and self.num_rounds > 1:
            raise ValueError(f"dp='{self.dp}' takes num-rounds=1: each round would cost anew")
        if one_row and self.reweight:
            raise ValueError(
                f"dp='{self.dp}' makes one row a product: re-weighting takes reweight=0"
            )
        if one_row and self.dp_combine != "sum":
            raise ValueError(
                f"dp='{self.dp}' makes one row and a metric, no rows to compare: with "
                "dp-combine='per-site' set dp='cells'"
            )
        if self.sums and self.dp_combine == "sum" and self.robustness_enabled:
            raise ValueError(
                "a sum over sites cannot be robust: with robustness-enabled set "
                "dp='cells' and dp-combine='per-site'"
            )

    @property
    def sums(self) -> bool:
        """Whether sites answer with noisy sums over a public codebook."""
        return self.dp in ("cells", "moments", "kernel")

    @property
    def effective_aggregation(self) -> str:
        """The aggregation in force: ``robustness-aggregation`` if robustness is enabled."""
        if self.sums and self.dp_combine == "sum":
            return {"cells": CELL_SUMS, "moments": MOMENT_SUMS, "kernel": KERNEL_SUMS}[self.dp]
        return self.robustness_aggregation if self.robustness_enabled else self.aggregation

    @property
    def votes(self) -> int:
        """Sites that must call a patch normal before the bank does."""
        return self.tolerated_sites + 1 if self.effective_aggregation == "site_vote" else 1

    def product_names(self) -> tuple[str, ...]:
        """Products to use; empty means all that are found."""
        return tuple(p.strip() for p in self.products.split(",") if p.strip())


class NodeConfig(_Settings):
    """What one site says of itself: ``--node-config`` or environment variables.

    In simulation Flower sets ``partition-id`` and ``num-partitions`` instead.
    """

    site: str = ""
    data: str = ""
    layout: Literal["", "auto", "mvtec", "autovi", "visa", "plain"] = ""
    weights: str = ""
    cache: str = ""
    out: str = ""
    device: Literal["", "auto", "cpu", "cuda"] = ""
    memory_budget: float = Field(0.0, ge=0)
    ledger: str = ""
    dp_required: bool = False
    dp_budget_epsilon: float = Field(0.0, ge=0)
    partition_id: int = Field(-1, ge=-1)
    num_partitions: int = Field(0, ge=0)

    @classmethod
    def from_node(cls, table: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Self:
        """Node-config first, then FEDPATCHCORE_SITE, _DATA, _LAYOUT, _CACHE, _OUT, _DEVICE …"""
        merged = {
            key: environ[f"FEDPATCHCORE_{key.upper()}"]
            for key in ("site", "data", "layout", "cache", "out", "device", "ledger")
            if environ.get(f"FEDPATCHCORE_{key.upper()}")
        }
        merged.update(table)
        return cls.parse(merged, where="node-config")

    @property
    def simulated(self) -> bool:
        """True for a virtual site of Flower's simulation."""
        return self.num_partitions > 0 and not self.data


def cache_home() -> Path:
    """Where this machine keeps caches: $FEDPATCHCORE_HOME or ~/.cache/fedpatchcore."""
    return Path(os.environ.get("FEDPATCHCORE_HOME") or "~/.cache/fedpatchcore").expanduser()
