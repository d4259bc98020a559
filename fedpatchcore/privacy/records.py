"""What a ledger holds: frozen records of what was asked, charged, delivered and returned."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.registry import MECHANISMS

__all__ = ["Charge", "Delivery", "Digest", "Entry", "Released", "Request", "entry_adapter"]

KNOWN = (*MECHANISMS, "none")


def _known(name: str) -> str:
    if name not in KNOWN:
        raise ValueError(f"mechanism '{name}' is none of {', '.join(KNOWN)}")
    return name


Mechanism = Annotated[str, AfterValidator(_known)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    sequence: int = Field(ge=1)  # the line in the ledger's file
    time: str  # UTC, ISO 8601
    id: str
    previous: Digest  # SHA-256 of the line before; zeros for the first


class Charge(_Entry):
    """A release was paid for; written before its noise is drawn.

    Assumes add-or-remove of one image and Gaussian noise whose multiplier is σ over the L2
    sensitivity to one whole image: only the multiplier enters the composition. ``epsilon`` is
    that of this release alone at ``delta``. A multiplier of 0 is no protection.

    ``alone`` is the multiplier if all others collude, for releases that are opened as a sum alone.

    With ``rate`` and ``steps`` the release is so many steps, each with noise of that multiplier,
    and each takes an image with that probability alone (`fedpatchcore.privacy.load`).
    """

    kind: Literal["charge"] = "charge"
    run: str
    site: str
    section: str
    mechanism: Mechanism
    epsilon: float = Field(ge=0)
    delta: float = Field(ge=0, lt=1)
    multiplier: float = Field(ge=0, allow_inf_nan=False)
    # of the site's own share of a sum's noise, where that is all that protects it
    alone: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    rate: float | None = Field(default=None, gt=0, lt=1)
    steps: int | None = Field(default=None, ge=1)
    images: tuple[str, ...]  # content hashes, sorted
    label: str  # one sentence: what is protected


class Delivery(_Entry):
    """The payload of a charge reached the disk; from here on it may have left the site."""

    kind: Literal["delivery"] = "delivery"
    payload: Digest  # SHA-256 of the payload file


Entry = Annotated[Charge | Delivery, Field(discriminator="kind")]
entry_adapter: TypeAdapter[Charge | Delivery] = TypeAdapter(Entry)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One release a site wants to make.

    Args:
        key: Hexadecimal digest of all that determines the release; a retry has the same key.
        epsilon: Of this release alone for a whole image, at ``delta``; infinite if unprotected.
        multiplier: σ over the L2 sensitivity to one whole image.
        images: Content hashes of every image that went in.
        label: One plain sentence: what is protected, and what is not.
        run_epsilon: The most that all releases of ``run`` together may cost an image.
        alone: ``multiplier`` if all others collude, of a share of a sum; at most ``multiplier``.
        alone_budget: The most that all releases may cost an image then.
        rate: Probability by which a step takes an image; None: a release takes all, at once.
        steps: So many of them, each with noise of ``multiplier``.

    Raises:
        PrivacyError: a field could not be accounted for.
    """

    key: str
    run: str
    site: str
    section: str
    mechanism: Mechanism
    epsilon: float
    delta: float
    multiplier: float
    images: Iterable[str]
    label: str
    run_epsilon: float = math.inf
    alone: float | None = None
    alone_budget: float = math.inf
    rate: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(sorted(set(self.images))))
        if not re.fullmatch(r"[0-9a-f]{8,128}", self.key):
            raise PrivacyError(f"a release needs a hexadecimal key, got {self.key!r}")
        if self.mechanism not in KNOWN:
            raise PrivacyError(f"unknown privacy mechanism {self.mechanism!r}")
        if not (self.multiplier >= 0 and math.isfinite(self.multiplier)):
            raise PrivacyError(f"a noise multiplier must be 0 or more, got {self.multiplier}")
        if self.alone is not None and not 0 <= self.alone <= self.multiplier * (1 + 1e-9):
            raise PrivacyError(f"a share's noise multiplier of {self.alone}, above the whole one")
        if self.mechanism == "none" and self.multiplier:
            raise PrivacyError(f'mechanism "none" has no noise, got a multiplier {self.multiplier}')
        if (self.rate is None) != (self.steps is None) or not 0 < (self.rate or 0.5) < 1:
            raise PrivacyError(f"{self.steps} steps by rate {self.rate} cannot be accounted for")
        if not (self.epsilon >= 0 and 0 <= self.delta < 1):
            raise PrivacyError(f"not a privacy statement: ε={self.epsilon}, δ={self.delta}")
        if not self.images or not all(self.images):
            raise PrivacyError(
                f"a release of {self.site} for {self.section} must name the images it used"
            )

    def charge(self, sequence: int, time: str, previous: str) -> Charge:
        """The record of having paid for it."""
        return Charge(
            sequence=sequence,
            time=time,
            id=self.key,
            previous=previous,
            run=self.run,
            site=self.site,
            section=self.section,
            mechanism=self.mechanism,
            epsilon=self.epsilon,
            delta=self.delta,
            multiplier=self.multiplier,
            alone=self.alone,
            rate=self.rate,
            steps=self.steps,
            images=self.images,
            label=self.label,
        )

    def matches(self, charge: Charge) -> bool:
        """Is this the release that was charged? Wording and images may differ.

        Images may come and go between a release and its retry; what was drawn stays what it was.
        """
        return all(
            getattr(self, name) == getattr(charge, name)
            for name in ("site", "section", "mechanism", "multiplier", "alone", "rate", "steps")
        )


@dataclass(frozen=True, kw_only=True)
class Released:
    """What may leave the site: exactly what the payload file holds.

    Args:
        spent: ε that stands against the most used of the images, this release included.
        alone: the same, if all others collude.
        again: A retry: nothing was drawn and nothing charged.
    """

    arrays: Mapping[str, np.ndarray]
    charge: Charge
    spent: float
    again: bool
    alone: float = math.inf
