"""What a method's half at a site answers, and where it is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fedpatchcore.bank.contribution import Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.features.maps import FeatureMaps
from fedpatchcore.learned.objective import Arrays, ImageWise
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["Asked", "PrivateMethod", "SiteMethod", "site_method"]


@dataclass(frozen=True)
class Asked:
    """What a train message brings.

    Attributes:
        bank: the global bank; None in the first round.
        beside: arrays that the method's half at the server sends beside it, by name.
        run: the run's own name, never used again.
        number: of the round.
    """

    bank: MemoryBank | None = None
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    run: str = ""
    number: int = 1


class SiteMethod(Protocol):
    """A method's half at a site.

    Attributes:
        adds: whether what a site gives of a section that the bank has already adds to what it gave
            before; else it takes its place.
    """

    adds: bool

    def part(
        self, site: Site, section: str, asked: Asked, clock: Stopwatch
    ) -> tuple[Part | None, SectionStats]:
        """What the site gives of a section in this round (None: nothing), with its figures.

        Raises FedPatchCoreError where it can give nothing; the site says so.
        """

    def judged(self, site: Site, bank: MemoryBank, run: str) -> MemoryBank:
        """The bank as this site judges by it."""


class PrivateMethod(SiteMethod, Protocol):
    """One that can train under differential privacy of its images."""

    def model(self, site: Site, section: str, asked: Asked) -> Arrays:
        """The model x that a section's training starts from, nothing private in it."""

    def objective(self, site: Site, section: str, asked: Asked, features: FeatureMaps) -> ImageWise:
        """What private training minimises over images ``features [n, h, w, D]``.

        It takes nothing from the images but the loss of each.
        """


def site_method(name: str) -> SiteMethod:
    """The half of the method ``name`` at a site."""
    return import_module(f"fedpatchcore.site.methods.{name}").half()
