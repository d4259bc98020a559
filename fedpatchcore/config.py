"""Everything a run can be told: the rooms' sheets of settings, put together.

Flower hands over flat tables: the *run-config* (``[tool.flwr.app.config]`` in
``pyproject.toml``, overridden by ``flwr run --run-config``) is the same at every site and
at the server; the *node-config* (``flower-supernode --node-config``) belongs to one site.
Keys are kebab-case there and snake_case here. Only checks across rooms stand here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import model_validator

from fedpatchcore.aggregation.registry import AGGREGATIONS
from fedpatchcore.aggregation.settings import AggregationSettings
from fedpatchcore.bank.settings import BankSettings
from fedpatchcore.coreset.settings import CoresetSettings
from fedpatchcore.data.group_by import compiled
from fedpatchcore.data.layouts.registry import AUTO, LAYOUTS
from fedpatchcore.data.settings import DataSettings
from fedpatchcore.detection.settings import DetectionSettings, DetectorSettings
from fedpatchcore.devices.names import check_device
from fedpatchcore.features.engines.registry import WORDS
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.learned.composing import clashes
from fedpatchcore.learned.settings import LearnedSettings, MemorySettings
from fedpatchcore.methods.settings import MethodSettings
from fedpatchcore.pictures.settings import PictureSettings
from fedpatchcore.privacy.figures import figures_clash
from fedpatchcore.privacy.registry import Mechanism, examples
from fedpatchcore.privacy.settings import PrivacySettings, SitePrivacy
from fedpatchcore.robustness.settings import AttackSettings, RobustnessSettings
from fedpatchcore.server.settings import FederationSettings, ResultSettings, TurnSettings
from fedpatchcore.settings import Settings, kebab, setting
from fedpatchcore.site.settings import Eligibility, SiteSettings
from fedpatchcore.spelling import typed
from fedpatchcore.tuning.settings import TuneSettings, tune_clash
from fedpatchcore.wire.settings import WireSettings

__all__ = ["SHEETS", "SITE_SHEETS", "NodeConfig", "RunConfig", "SiteOwn"]

ENVIRONMENT = ("site", "data", "layout", "cache", "out", "device", "ledger", "worker")

SHEETS: tuple[type[Settings], ...] = (  # in the order in which people read them
    MethodSettings,
    FeatureSettings,
    CoresetSettings,
    BankSettings,
    AggregationSettings,
    RobustnessSettings,
    PrivacySettings,
    AttackSettings,
    LearnedSettings,
    MemorySettings,
    DetectionSettings,
    FederationSettings,
    TurnSettings,
    WireSettings,
    SiteSettings,
    TuneSettings,
    DataSettings,
    ResultSettings,
    PictureSettings,
)


class RunConfig(
    MethodSettings,
    DetectorSettings,
    AggregationSettings,
    RobustnessSettings,
    PrivacySettings,
    AttackSettings,
    LearnedSettings,
    MemorySettings,
    TurnSettings,
    WireSettings,
    SiteSettings,
    TuneSettings,
    DataSettings,
    ResultSettings,
    PictureSettings,
):
    """Settings of one run, equal at every site. Sizes are rows, times are seconds."""

    @model_validator(mode="after")
    def _across_rooms(self) -> Self:
        self.check_turns()
        self._check_robust()
        if told := clashes(self) or tune_clash(self) or figures_clash(self):
            raise ValueError(told)
        if self.mechanism:
            self._check_private(self.mechanism)
        return self

    def _check_robust(self) -> None:
        needed, name = 2 * self.tolerated_sites + 1, self.effective_aggregation
        known = AGGREGATIONS.get(name)
        if known and known.robust and self.min_sites < needed:
            which = "robustness-aggregation" if self.robustness_enabled else "aggregation"
            raise ValueError(
                f"{which}='{name}' with tolerated-sites={self.tolerated_sites} "
                f"needs min-sites >= {needed}, got {self.min_sites}"
            )

    def _check_private(self, mechanism: Mechanism) -> None:
        if self.geometry == "tiles":
            raise ValueError(f"dp='{self.dp}' takes no geometry='tiles': it bounds an image whole")
        if self.secure_sums and self.min_sites < self.min_openers:
            told = f"min-openers={self.min_openers} takes as many sites"
            raise ValueError(f"{told}: raise min-sites ({self.min_sites})")
        if self.wire != "float32":
            told = "private releases and their banks travel exact, with wire='float32'"
            raise ValueError(f"wire='{self.wire}' takes dp='off': {told}")
        if not mechanism.several_rounds and self.num_rounds > 1:
            raise ValueError(f"dp='{self.dp}' takes num-rounds=1: each round would cost anew")
        if self.dp_share_metrics and self.num_rounds > 1:
            raise ValueError(
                "dp-share-metrics takes num-rounds=1: figures that leave without noise are noted "
                "in the sites' ledgers, which release nothing more over the same images then"
            )
        if mechanism.one_row and self.reweight:
            raise ValueError(f"dp='{self.dp}' makes one row a product: it takes reweight=0")
        if self.sums and self.dp_combine == "sum" and self.robustness_enabled:
            raise ValueError(
                "a sum over sites cannot be robust: with robustness-enabled set "
                f"{examples(rows=True)} and {typed('dp-combine', 'per-site')}"
            )

    @property
    def effective_aggregation(self) -> str:
        """The aggregation in force: ``robustness-aggregation`` if robustness is enabled."""
        if self.kind.bank:
            return self.kind.bank
        if self.mechanism and self.sums and self.dp_combine == "sum":
            return self.mechanism.bank
        return self.robustness_aggregation if self.robustness_enabled else self.aggregation

    @property
    def votes(self) -> int:
        """Sites that must call a patch normal before the bank does."""
        known = AGGREGATIONS.get(self.effective_aggregation)
        return self.tolerated_sites + 1 if known and known.votes else 1

    @property
    def robust(self) -> bool:
        """Whether the aggregation in force withstands ``tolerated-sites`` faulty sites."""
        known = AGGREGATIONS.get(self.effective_aggregation)
        return known is not None and known.robust

    @property
    def withstood(self) -> int:
        """Faulty sites, f, that no decision of the server may rest on; 0 where none is robust."""
        return self.tolerated_sites if self.robust else 0

    @property
    def scoring(self) -> dict[str, int]:
        """How banks of the run are scored (`fedpatchcore.bank.memory_bank.MemoryBank.scoring`)."""
        scoring = self.own_scoring
        if self.votes > 1:
            return scoring | {"votes": self.votes, "home": 1}
        return scoring | ({"tolerated": self.withstood} if self.withstood else {})

    @property
    def flows(self) -> bool:
        """Whether the model changes as updates come, and no round waits for the others."""
        return self.kind.learned and self.rule.asynchronous

    @property
    def by_folds(self) -> bool:
        """Whether all images teach and thresholds come from folds; else some are held out.

        Folds take rows that can be told apart by site, nothing learnt, and no budget of privacy.
        """
        known = AGGREGATIONS.get(self.effective_aggregation)
        apart = known is not None and not known.merges and not self.kind.learned
        return self.calibration == "folds" and self.dp == "off" and apart

    @property
    def deltas(self) -> bool:
        """Whether the bank travels as what changed since the one that a site holds."""
        return self.num_rounds > 1 and self.dp == "off"

    def table(self) -> dict[str, Any]:
        """The settings under their kebab-case keys, as plain values, in the sheets' order."""
        values = super().table()
        own = [kebab(name) for sheet in SHEETS for name in sheet.__annotations__]
        return {key: values[key] for key in own if key in values}


class SiteOwn(SitePrivacy, Eligibility):
    """A site's own words: what it has, and what it allows."""

    title: ClassVar[str] = "One site (worker.toml, node-config, or the environment)"

    site: str = setting("", "the site's name ($FEDPATCHCORE_SITE); empty: the data folder's")
    data: str = setting("", "folder of its images ($FEDPATCHCORE_DATA)")
    layout: str = setting("", "of that folder, instead of the run's", words=("", AUTO, *LAYOUTS))
    take_part: str = setting(
        "", "products of this site that take part, comma-separated; empty: all a run asks for"
    )
    exclude: str = setting(
        "", "csv of training images to leave out, columns file,reason; their number is told"
    )
    weights: str = setting("", "a weights file at this site, instead of the run's")
    cache: str = setting("", "folder of cached features; empty: below $FEDPATCHCORE_HOME")
    out: str = setting("", "folder of its pictures; empty: below the cache")
    device: str = setting("", "where this site computes, instead of the run's")
    engine: str = setting("", "what runs its network, instead of the run's", words=("", *WORDS))
    group_by: str = setting("", "which of its images belong together, instead of the run's")
    groups: str = setting(
        "", "csv of its groups, columns file,group; files relative to its data or to the csv"
    )
    memory_budget: float = setting(
        0.0, "GB, this site's own instead of the run's; 0: the run's", ge=0
    )

    @model_validator(mode="after")
    def _meant(self) -> Self:
        compiled(self.group_by)
        if self.device:
            check_device("device", self.device)
        return self


class NodeConfig(SiteOwn):
    """What one site says of itself: ``--node-config`` or environment variables.

    With a ``worker`` all but name and ``metered`` are the worker's words, and refused here.
    """

    title: ClassVar[str] = "One site's node (node-config, or the environment)"
    environment: ClassVar[tuple[str, ...]] = ENVIRONMENT

    worker: str = setting(
        "",
        "socket of this site's worker, which then owns images, ledger and all the site's words "
        "($FEDPATCHCORE_WORKER)",
    )
    partition_id: int = setting(-1, "of a virtual site; set by Flower", ge=-1)
    num_partitions: int = setting(0, "virtual sites of a simulation; set by Flower", ge=0)

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        kept = {kebab(name) for name in SiteOwn.model_fields} - {"site", "metered"}
        mine = [key for key, value in self.table().items() if key in kept and value not in ("", 0)]
        if self.worker and mine:
            raise ValueError(
                f"with worker='{self.worker}' the site's words are the worker's: move "
                f"{', '.join(mine)} into its worker.toml"
            )
        return self

    @classmethod
    def from_node(cls, table: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Self:
        """Node-config first, then FEDPATCHCORE_SITE, _DATA, _LAYOUT, _CACHE, _OUT, _DEVICE …"""
        merged = {
            key: environ[f"FEDPATCHCORE_{key.upper()}"]
            for key in cls.environment
            if environ.get(f"FEDPATCHCORE_{key.upper()}")
        }
        merged.update(table)
        return cls.parse(merged, where="node-config")

    @property
    def simulated(self) -> bool:
        """True for a virtual site of Flower's simulation."""
        return self.num_partitions > 0 and not self.data


SITE_SHEETS: tuple[type[Settings], ...] = (SiteOwn, SitePrivacy, Eligibility, NodeConfig)
