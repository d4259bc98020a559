"""What a ledger's entries add up to: for each image, and for each release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedpatchcore.privacy.journal import Tail
from fedpatchcore.privacy.load import Load, load_of, most
from fedpatchcore.privacy.records import Charge, Delivery

__all__ = ["Balance"]

NOTHING = Load()


@dataclass
class Balance:
    """The ledger added up, and what one ``run`` has a part in it."""

    run: str = ""
    loads: dict[str, Load] = field(default_factory=dict)  # by image
    alone: dict[str, Load] = field(default_factory=dict)  # the same, if all others collude
    here: dict[str, Load] = field(default_factory=dict)  # the same, of the run alone
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
        load = load_of(entry.multiplier, entry.rate, entry.steps)
        share = load if entry.alone is None else load_of(entry.alone, None, None)
        _raise(self.loads, entry.images, load)
        _raise(self.alone, entry.images, share)
        if entry.run == self.run:
            _raise(self.here, entry.images, load)

    def epsilon(
        self,
        images: Iterable[str],
        delta: float,
        *,
        more: Load = NOTHING,
        here: bool = False,
        alone: bool = False,
    ) -> float:
        """Of the most used of these images, after a release that adds ``more`` to each.

        Args:
            here: what the run alone costs them.
            alone: what all runs cost them if all others collude.
        """
        loads = self.here if here else self.alone if alone else self.loads
        return most((loads.get(image, NOTHING) for image in images), more, delta)


def _raise(loads: dict[str, Load], images: Iterable[str], more: Load) -> None:
    """Add to the load of each image; images that went through the same share one object."""
    after: dict[int, Load] = {}
    for image in images:
        before = loads.get(image, NOTHING)
        found = after.get(id(before))
        if found is None:
            found = after[id(before)] = before.plus(more)
        loads[image] = found
