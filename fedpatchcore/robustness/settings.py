"""Settings of the defence against faulty or hostile sites, and of rehearsed attacks."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.settings import Settings, setting

__all__ = ["AttackSettings", "RobustnessSettings"]


class RobustnessSettings(Settings):
    """How sites are compared and what is done about those that stand out."""

    title: ClassVar[str] = "Robustness (docs/robustness.md)"

    robustness_enabled: bool = setting(
        False, "compare sites, and aggregate by robustness-aggregation"
    )
    zscore_threshold: float = setting(
        3.5, "of a site's modified z-score (median absolute deviations)", gt=0
    )
    on_outlier: Literal["warn", "exclude"] = setting("warn", "what happens to sites beyond it")
    density_filter: float = setting(
        0.0, "share of its loneliest patches that a site drops before selection", ge=0, lt=1
    )


ATTACK_NAMES = (  # of robustness/attacks.py, which is not loaded for its words
    "scaling",
    "noise",
    "sign_flip",
    "smuggling",
    "duplicates",
    "nan",
    "inf",
    "huge_counts",
    "centroid_drag",
    "mimic",
)


class AttackSettings(Settings):
    """Rehearsals of attacks."""

    title: ClassVar[str] = "Attacks, for experiments: refused outside simulation"

    attack: str = setting(
        "", "what the malicious sites do; empty: nothing", words=("", *ATTACK_NAMES)
    )
    attack_strength: float = setting(1.0, "how far the attackers go", gt=0)
    malicious_fraction: float = setting(0.0, "share of the virtual sites that attack", ge=0, lt=1)

    @model_validator(mode="after")
    def _somebody_attacks(self) -> Self:
        if self.attack and not self.malicious_fraction:
            raise ValueError("attack needs malicious-fraction above 0")
        return self
