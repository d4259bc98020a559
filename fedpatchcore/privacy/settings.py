"""Settings of differential privacy."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.privacy.idle import idle
from fedpatchcore.privacy.registry import MECHANISMS, Mechanism, examples
from fedpatchcore.settings import Settings, listed, setting
from fedpatchcore.spelling import nearest, typed

__all__ = ["KINDS", "MASKED", "MOST_REGIONS", "NO_CAP", "TRAINED", "PrivacySettings", "SitePrivacy"]

MOST_REGIONS = 8
MASKED = ("figures", "updates")  # what a site may let leave under masks alone
PER_IMAGE = [one.name for one in MECHANISMS.values() if one.per_image and not one.by_server]
PER_SITE = [one.name for one in MECHANISMS.values() if one.by_server]
PER_ROW = [one.name for one in MECHANISMS.values() if not one.per_image]
# what an audit can plant canaries in: each mechanism, and rows as they are
TRAINED = "sgd"  # whose audit trains
KINDS = (*(one.name for one in MECHANISMS.values() if not one.learned), "raw")
NO_CAP = (
    "dp-required needs the site's own cap, or a run could name any epsilon: set dp-budget-epsilon, "
    "the most that all runs together may cost an image"
)


class PrivacySettings(Settings):
    """What leaves a site, under how much noise."""

    title: ClassVar[str] = "Differential privacy (docs/privacy.md)"

    dp: str = setting(
        "off",
        f"{', '.join(PER_IMAGE)}: (epsilon, delta) per image; {', '.join(PER_SITE)}: per site, by "
        f"a trusted server; {', '.join(PER_ROW)}: per row only",
        words=("off", *MECHANISMS),
    )
    dp_epsilon: float = setting(1.0, "what this run may cost an image, all rounds together", gt=0)
    dp_delta: float = setting(1e-5, "chance that the epsilon does not hold", gt=0, lt=1)
    dp_budget_epsilon: float = setting(
        1.0, "what all runs together may cost an image, by the site's ledger", gt=0
    )
    dp_clip: float = setting(
        1.0,
        "L2 norm that is clipped to: of a row (per-vector), of an image's gradient in a step "
        "(sgd), of a site's update (client)",
        gt=0,
    )
    dp_sample_rate: float = setting(
        1.0,
        "sgd: chance by which a step takes an image; a round has local-epochs / rate steps, and a "
        "step's sum is divided by local-batch",
        gt=0,
        le=1,
    )
    dp_clipping: Literal["fixed", "adaptive"] = setting(
        "fixed", "client: dp-clip throughout, or to begin with: half of the updates are clipped"
    )
    dp_cells: int = setting(128, "cells: cells of the codebook a section", ge=1, le=4096)
    dp_first_share: float = setting(
        0.5,
        "cells: share of the budget that the first of several rounds spends on the mean of all "
        "features, to which the codebook is moved; 0: rounds alike, each cut where the one before "
        "saw patches",
        ge=0,
        lt=1,
    )
    dp_projection: int = setting(
        32, "all but per-vector: dimensions of the public slice of feature space", ge=1, le=4096
    )
    dp_waves: int = setting(2048, "kernel: random waves that stand for the kernel", ge=1, le=65536)
    dp_bandwidth: float = setting(
        1.5, "kernel: in feature distance; filter bank 1.5, networks 0.5", gt=1e-6, lt=1e6
    )
    dp_power: float = setting(
        1.0,
        "moments: power of an image's spread that is added up; below 1 directions in which patches "
        "vary little rise above the noise",
        ge=0.1,
        le=1,
    )
    dp_regions: int = setting(
        1,
        "moments with num-rounds=2: regions (1, 2, 4 or 8) into which the first round cuts the "
        "slice, each with a mean and a spread of its own",
        ge=1,
        le=MOST_REGIONS,
    )
    dp_codebook: str = setting(
        "sample", 'public images to start from: "sample" (built in), a folder, or a codebook file'
    )
    dp_combine: Literal["sum", "per-site"] = setting(
        "sum", "sum: add the sites' sums; per-site: a bank each, which an aggregation compares"
    )
    secure_sums: bool = setting(
        False,
        "noisy sums, or updates of models, add up under masks and open as a whole or not; sites "
        "share one noise",
    )
    secure_figures: bool = setting(
        False,
        "figures of test images add up under masks: the server learns those of all sites together "
        "and no site's; thresholds stay at the sites",
    )
    min_openers: int = setting(
        0, "secure sums: sites that must open one; 0: four fifths of them, and enough", ge=0
    )
    colluding_sites: int = setting(
        1, "secure sums: sites that may be in league with the server", ge=0
    )
    dp_alone_epsilon: float = setting(
        10.0, "secure-sums: what all runs may cost an image if all other sites collude", gt=0
    )
    dp_share_metrics: bool = setting(
        False, "let thresholds, counts and comparisons of private images leave"
    )

    @property
    def mechanism(self) -> Mechanism | None:
        """What ``dp`` stands for; None where it is off."""
        return MECHANISMS.get(self.dp)

    @property
    def sums(self) -> bool:
        """Whether sites answer with noisy sums over a public codebook."""
        return self.mechanism is not None and bool(self.mechanism.sums)

    @property
    def masked_sums(self) -> bool:
        """Whether these noisy sums are asked for under masks."""
        return self.secure_sums and self.sums

    @property
    def sampling(self) -> float:
        """Chance by which a private local step takes an image; 0 where steps are not private."""
        return self.dp_sample_rate if self.dp == TRAINED else 0.0

    @property
    def seen(self) -> bool:
        """Whether the server sees what noise hides from everyone else."""
        return self.mechanism is not None and self.mechanism.by_server and not self.secure_sums

    @model_validator(mode="after")
    def _all_count(self) -> Self:
        if told := idle(self):
            raise ValueError(told)
        return self

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if self.dp_regions & (self.dp_regions - 1):
            raise ValueError(f"dp-regions={self.dp_regions}: cut in halves they are 1, 2, 4 or 8")
        if self.dp == "off":
            return self
        if self.dp_epsilon > self.dp_budget_epsilon:
            raise ValueError(
                f"dp-epsilon ({self.dp_epsilon:g}) is above dp-budget-epsilon "
                f"({self.dp_budget_epsilon:g}): no site could pay for this run"
            )
        added = self.masked_sums and self.dp_combine == "sum"
        if self.secure_sums and not (added or (self.mechanism and self.mechanism.learned)):
            raise ValueError(
                "secure-sums adds up noisy sums of sites that nobody sees one by one: set "
                f"{examples(sums=True)} and {typed('dp-combine', 'sum')}"
            )
        if self.mechanism and self.mechanism.one_row and self.dp_combine != "sum":
            raise ValueError(
                f"dp='{self.dp}' makes one row and a metric, no rows to compare: with "
                f"{typed('dp-combine', 'per-site')} set {examples(rows=True)}"
            )
        return self


class SitePrivacy(Settings):
    """What a site lets leave: its own word."""

    title: ClassVar[str] = "What one site lets leave (worker.toml, or node-config)"

    ledger: str = setting(
        "", "folder of its privacy ledger, which must outlive every run ($FEDPATCHCORE_LEDGER)"
    )
    dp_alone_epsilon: float = setting(
        0.0, "own cap on epsilon an image if all others of a secure sum collude; 0: the run's", ge=0
    )
    roster: str = setting(
        "", "signed list of the sites of secure sums, beside the ca.crt that signed it"
    )
    sums_key: str = setting("", "this site's own key for secure sums (sums.key)")
    masked: str = setting(
        "",
        "what of this site leaves under masks alone, comma-separated: figures, updates; a run that "
        "would see them as they are is refused",
    )
    colluding_sites: int = setting(
        0,
        "secure sums: refuse runs that allow for fewer sites in league with the server; 0: as they "
        "say",
        ge=0,
    )
    dp_required: bool = setting(
        False, "refuse runs without differential privacy; needs dp-budget-epsilon"
    )
    dp_trust_server: bool = setting(
        False, "let a server that adds the noise itself (dp=client) see updates as they are"
    )
    dp_budget_epsilon: float = setting(
        0.0,
        "the site's own cap on epsilon an image over all runs; with one it takes part in private "
        "runs alone; 0: the run's",
        ge=0,
    )

    @model_validator(mode="after")
    def _kept(self) -> Self:
        if self.dp_required and not self.dp_budget_epsilon:
            raise ValueError(NO_CAP)
        if strange := set(listed(self.masked)) - set(MASKED):
            near = nearest(min(strange), MASKED)
            raise ValueError(
                f"masked: {', '.join(MASKED)} leave under masks, no {min(strange)}{near}"
            )
        if bool(self.roster) != bool(self.sums_key):
            raise ValueError("roster and sums-key go together, one of them is missing: name both")
        return self
