"""What a ledger's entries add up to: for each image, and for each release."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedpatchcore.privacy.accounting import gaussian_epsilon, mu_squared
from fedpatchcore.privacy.journal import Tail
from fedpatchcore.privacy.records import Charge, Delivery

__all__ = ["Balance"]


@dataclass
class Balance:
    """The ledger added up, and what one ``run`` has a part in it."""

    run: str = ""
    loads: dict[str, float] = field(default_factory=dict)  # image: Σ 1/multiplier²
    alone: dict[str, float] = field(default_factory=dict)  # the same, if all others collude
    here: dict[str, float] = field(default_factory=dict)  # the same, of the run alone
    charged: dict[str, str] = field(default_factory=dict)  # key: mechanism
    delivered: dict[str, str] = field(default_factory=dict)  # key: SHA-256 of the payload file
    labels: dict[str, str] = field(default_factory=dict)  # mechanism: its latest label
    begun: str | None = None
    tail: Tail = field(default_factory=Tail)

    def add(self, entry: Charge | Delivery) -> None:
        """Count one more entry of the ledger."""
        self.begun = self.begun or entry.time
        if isinstance(entry, Delivery):
            self.delivered[entry.id] = entry.payload
            return
        self.charged[entry.id] = entry.mechanism
        self.labels[entry.mechanism] = entry.label
        load = mu_squared(entry.multiplier)
        share = load if entry.alone is None else mu_squared(entry.alone)
        for image in entry.images:
            self.loads[image] = self.loads.get(image, 0.0) + load
            self.alone[image] = self.alone.get(image, 0.0) + share
            if entry.run == self.run:
                self.here[image] = self.here.get(image, 0.0) + load

    def epsilon(
        self,
        images: Iterable[str],
        delta: float,
        *,
        more: float = 0.0,
        here: bool = False,
        alone: bool = False,
    ) -> float:
        """Of the most used of these images, after a release that adds ``more`` to each.

        Args:
            here: what the run alone costs them.
            alone: what all runs cost them if all others collude.
        """
        loads = self.here if here else self.alone if alone else self.loads
        load = max((loads.get(image, 0.0) for image in images), default=0.0) + more
        return gaussian_epsilon(1 / math.sqrt(load), delta) if load else 0.0
