"""The aggregations there are, by run-config name; a module is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpatchcore.aggregation.common import Donor, Merged, MergeSettings

__all__ = ["AGGREGATIONS", "Aggregation"]


@dataclass(frozen=True)
class Aggregation:
    """The function ``name`` of the module ``name`` in this folder.

    Attributes:
        robust: withstands ``tolerated-sites`` faulty sites, and needs 2·f + 1 sites for it.
        votes: its banks are scored by vote: ``tolerated-sites`` + 1 must call a patch normal.
        merges: its rows are made of several sites' and have no origin.
    """

    name: str
    robust: bool = False
    votes: bool = False
    merges: bool = False

    def __call__(self, donors: Sequence[Donor], settings: MergeSettings) -> Merged:
        """Rows of one section out of the sites' (`fedpatchcore.aggregation.common`)."""
        module = import_module(f"fedpatchcore.aggregation.{self.name}")
        return getattr(module, self.name)(donors, settings)


AGGREGATIONS: Mapping[str, Aggregation] = {
    one.name: one
    for one in (
        Aggregation("federated_coreset"),
        Aggregation("simple_concatenate"),
        Aggregation("diversity_preserving"),
        Aggregation("coordinate_median", robust=True, merges=True),
        Aggregation("geometric_median", robust=True, merges=True),
        Aggregation("site_vote", robust=True, votes=True),
    )
}
