"""What each method is, by run-config name; its halves are loaded when they are first used.

A method is a line here and two modules of its name, ``fedpatchcore/site/methods`` and
``fedpatchcore/server/methods``. Waiting for nodes, roll call, refusals, lost sites, checkpoints,
resume, events, thresholds, report and bank file serve all of them and name none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """One way to a shared notion of normal.

    Attributes:
        label: for a person.
        learned: something is trained on the sites' images over several rounds. Thresholds then
            come from held-out images: what was trained has seen all the others.
        bank: what a bank of it says in the place of the aggregation; empty: the aggregation.
        rate: learning rate of local steps where none is set.
        averages: its rows are averages of patches, which no network gives as they are.
        compared: whether a site has rows enough to be compared with the others'.
        lens: whether its banks say how distances are measured (`Section.metric`).
    """

    name: str
    label: str
    learned: bool = False
    bank: str = ""
    rate: float = 0.01
    averages: bool = False
    compared: bool = True
    lens: bool = False


METHODS: Mapping[str, Method] = {
    one.name: one
    for one in (
        Method("patchcore", "PatchCore (Roth et al., 2022)"),
        Method(
            "feddymem",
            "FedDyMem (Chen et al., 2025)",
            learned=True,
            bank="feddymem",
            rate=1.0,
            averages=True,
            lens=True,
        ),
        Method(
            "student",
            "a student of the backbone's layers",
            learned=True,
            bank="student",
            rate=0.3,
            averages=True,
            compared=False,
            lens=True,
        ),
        Method(
            "generator", "PatchCore's bank by a learnt metric", learned=True, rate=1.0, lens=True
        ),
    )
}
