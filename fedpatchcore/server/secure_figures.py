"""The server's side of figures that add up: those of all sites together, and no site's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedpatchcore.errors import DataError
from fedpatchcore.metrics.totals import Totals, length
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.secure_round import SecureRound
from fedpatchcore.server.secure_sum import SecureSum
from fedpatchcore.server.secure_updates import SecureUpdates
from fedpatchcore.wire.basis import basis_of, over
from fedpatchcore.wire.sums import FIGURES, Place, least_makers

__all__ = ["SecureFigures", "secure_sums"]


class SecureFigures(SecureSum):
    """The exchanges of one round's figures.

    Args:
        judged: by site the products that it has judged test images of.
        products: those that are added up.
    """

    what = "secure sum of figures"
    phase, about, noisy = "evaluate", "figures", False

    def __init__(
        self, federation: Federation, run: str, number: int, products: Sequence[str]
    ) -> None:
        size = length(len(CELLS))
        made = over(FIGURES, basis_of(federation.config, federation.bank))
        layout = tuple(Place(name, made, 1, size) for name in products)
        judged = judged_products(federation)
        sites = sorted(site for site, own in judged.items() if own & set(products))
        super().__init__(federation, run, number, sites, layout)

    def _finish(self) -> None:
        totals: dict[str, Totals] = {}
        if not self.closed:
            numbers, at = self.half.total.view(np.int64), 0
            try:
                for place in self.layout:
                    part = numbers[at : at + place.size]
                    totals[place.section] = Totals.of_sum(part, cells=len(CELLS))
                    at += place.size
            except DataError as error:
                self.closed = f"a site added what no evaluation gives ({error})"
        if self.closed:
            totals = {}
        self._totals = totals
        self.federation.story.totals(totals, () if self.closed else self.half.masked)

    def _more(self) -> dict[str, Any]:
        """As a site's evaluated event tells them, of all sites."""
        found = {name: [one.found.count, one.found.of] for name, one in self._totals.items()}
        stopped = {n: [one.stopped.count, one.stopped.of] for n, one in self._totals.items()}
        auroc = {name: one.means["image_auroc"][0] for name, one in self._totals.items()}
        return {"defects_found": found, "good_stopped": stopped, "image_auroc": auroc}


def judged_products(federation: Federation) -> dict[str, set[str]]:
    """By site that answered the evaluation, the products that it says it judged."""
    told = federation.story.evaluated.items()
    return {site: set(one.get("judged") or ()) for site, one in told}


def secure_sums(
    federation: Federation, run: str, number: int, phase: str, sites: Sequence[str] = ()
) -> list[SecureSum]:
    """The sums of a phase of a round, once its ordinary answers are in.

    Args:
        phase: "train" or "evaluate".
        sites: that train in this round.
    """
    config = federation.config
    if phase == "train" and config.secure_sums and federation.private is not None:
        return [SecureRound(federation, run, number, sites)]
    least = least_makers(config.colluding_sites)
    if phase == "train" and config.secure_sums:
        models = federation.method.models.trained(federation.story.present)
        few = sorted(name for name, (_, own) in models.items() if len(own) < least)
        federation.story.alone(few, least, "updates", "trained")
        models = {name: one for name, one in models.items() if name not in few}
        return [SecureUpdates(federation, run, number, models)] if models else []
    if phase == "evaluate" and config.secure_figures:
        makers: dict[str, int] = {}
        for own in judged_products(federation).values():
            for name in own:
                makers[name] = makers.get(name, 0) + 1
        few = sorted(name for name, n in makers.items() if n < least)
        federation.story.alone(few, least, "figures", "judged")
        if products := sorted(set(makers) - set(few)):
            return [SecureFigures(federation, run, number, products)]
    return []
