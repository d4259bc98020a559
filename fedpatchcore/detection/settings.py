"""Settings of scores and thresholds, and all that a detector on one machine needs."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.bank.settings import BankSettings
from fedpatchcore.coreset.settings import CoresetSettings
from fedpatchcore.data.group_by import compiled
from fedpatchcore.detection.share import share_of
from fedpatchcore.features.settings import FeatureSettings
from fedpatchcore.settings import Settings, setting

__all__ = ["DetectionSettings", "DetectorSettings"]


class DetectionSettings(Settings):
    """How a patch is scored and where the threshold lies."""

    title: ClassVar[str] = "Scores and thresholds"

    neighbours: int = setting(1, "nearest bank rows averaged for a patch score", ge=1, le=100)
    reweight: int = setting(
        0, "neighbours of PatchCore's re-weighting (paper, eq. 7); 0: off", ge=0, le=100
    )
    image_score: str = setting(
        "max",
        "max: the picture's highest patch; 1%: the mean of its highest ones, so much of the grid",
    )
    search: Literal["exact", "approximate"] = setting(
        "exact",
        "approximate: banks of 100,000 rows and more by an index; image scores stay exact, maps "
        "may be too high here and there",
    )
    calibration: Literal["folds", "holdout"] = setting(
        "folds",
        "folds: each training image is scored by a bank without it, and all teach; holdout: some "
        "are set aside, as always with dp and for banks whose rows have no origin",
    )
    folds: int = setting(
        5,
        "parts that training images are divided into; up to 12 groups of images (an image by "
        "itself is one) are left out one by one",
        ge=2,
        le=10_000,
    )
    holdout: float = setting(
        0.1, "share of training images set aside, where calibration is by holdout", ge=0, lt=1
    )
    target_fpr: float = setting(
        0.05, "share of normal images that may exceed the threshold", gt=0, lt=1
    )
    group_by: str = setting(
        "",
        "images that are set aside together; empty or auto: near-identical ones; none; folder: "
        "sub-folders of train/good; else a regular expression on the file name, ^(exp[0-9]+)",
    )

    @model_validator(mode="after")
    def _pattern(self) -> Self:
        compiled(self.group_by)
        if share_of(self.image_score) and self.reweight:
            raise ValueError(
                f"image-score='{self.image_score}' takes reweight=0, which weighs the highest patch"
            )
        return self

    @property
    def own_scoring(self) -> dict[str, int]:
        """How a bank of one site is scored (`fedpatchcore.bank.memory_bank.MemoryBank.scoring`)."""
        top = share_of(self.image_score)
        found = {"neighbours": self.neighbours, "reweight": self.reweight}
        return found | {"top": top} if top else found


class DetectorSettings(FeatureSettings, CoresetSettings, BankSettings, DetectionSettings):
    """What `fedpatchcore.PatchCore` needs; a run's settings hold these and more."""
