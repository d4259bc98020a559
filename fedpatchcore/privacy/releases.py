"""What a private site sends: noisy sums by section, and what its ledger says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fedpatchcore.errors import CoresetError

__all__ = ["LedgerNote", "Release", "ledgers_told", "together", "together_alone"]

LARGEST = 2**48  # lattice steps; far beyond any sum of images, far below what int64 holds


class LedgerNote(BaseModel):
    """A site's ledger as the federation may know it: no image, and no count of images.

    Attributes:
        spent: ε of the most used image over all releases, this run's included.
        asked: ε of this run's releases alone.
        protected: what is protected, in one sentence.
        alone: ``spent`` if all others collude; None where no release was a share of a sum.
        begun: when the ledger was begun; what left before that is not in it.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    mechanism: str
    spent: float = Field(ge=0)
    left: float = Field(ge=0)
    budget: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)
    asked: float = Field(ge=0)
    releases: int = Field(ge=0)
    unprotected: int = Field(ge=0)
    protected: str
    begun: str = ""
    again: bool = False
    alone: float | None = Field(default=None, ge=0)

    @field_validator("spent", "asked", mode="before")
    @classmethod
    def _endless(cls, value: object) -> object:
        """Files of a run write an infinite ε as null."""
        return math.inf if value is None else value


@dataclass(frozen=True)
class Release:
    """Noisy sums of one section.

    Attributes:
        values: int64 in lattice steps, of the mechanism's shape, see `ImageSums.release`.
        sigma: standard deviation of its noise, in units of the sensitivity.
        codebook: digest of the codebook it was made over.
    """

    values: np.ndarray
    sigma: float
    codebook: str

    def check(self, shape: tuple[int, int], digest: str, sigma: float, *, where: str) -> None:
        """Raise CoresetError unless this is a release over that codebook with that noise."""
        if self.codebook != digest:
            raise CoresetError(f"{where} was made over another codebook than the one sent")
        if self.values.dtype != np.int64 or self.values.shape != shape:
            raise CoresetError(
                f"{where} holds {self.values.dtype} {self.values.shape}, expected int64 {shape}"
            )
        if not abs(self.sigma - sigma) <= 1e-9 * sigma:
            raise CoresetError(f"{where} says its noise is {self.sigma}, asked was {sigma}")
        if self.values.min() < -LARGEST or self.values.max() > LARGEST:
            raise CoresetError(f"{where} holds sums that no images can give")


def ledgers_told(history: Iterable[Mapping[str, Any]]) -> dict[str, LedgerNote]:
    """What each private site's ledger said last, from the records of a run's rounds."""
    told = (one for record in history for one in record["train"].items())
    notes = {site: one["privacy"] for site, one in told if one.get("privacy")}
    return {site: LedgerNote.model_validate(note) for site, note in notes.items()}


def together_alone(notes: Mapping[str, LedgerNote]) -> float:
    """The same if all other sites collude; their shares of the noise count for nothing then."""
    told = (n.spent if n.alone is None else n.alone for n in notes.values())
    return max(told, default=0.0)


def together(notes: Mapping[str, LedgerNote]) -> float:
    """ε of the federation: sites hold different images, so the largest, never the sum."""
    return max((note.spent for note in notes.values()), default=0.0)
