"""The server's side of updates that add up: the mean of a round, and no site's update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedpatchcore.errors import CoresetError
from fedpatchcore.learned.masked import step_of
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.updates import layout_of
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.shared_noise import sum_sigma
from fedpatchcore.privacy.training_noise import update_multiplier
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.secure_sum import SecureSum
from fedpatchcore.wire.basis import basis_of, over
from fedpatchcore.wire.sums import Place, SumsReply

__all__ = ["SecureUpdates"]


class SecureUpdates(SecureSum):
    """The exchanges of one round's updates.

    Args:
        models: by section the model that sites started from, and the sites that trained it.
    """

    what = "secure sum of updates"
    about = "updates"

    def __init__(
        self,
        federation: Federation,
        run: str,
        number: int,
        models: Mapping[str, tuple[Arrays, Sequence[str]]],
    ) -> None:
        given = federation.method.beside()
        basis = basis_of(federation.config, federation.bank, given)
        layout = tuple(
            Place(name, over(layout_of(x), basis), 1, sum(one.size for one in x.values()))
            for name, (x, _) in sorted(models.items())
        )
        sites = sorted({site for _, own in models.values() for site in own})
        super().__init__(federation, run, number, sites, layout)
        self._models = models
        self._notes: dict[str, LedgerNote] = {}

    def _check(self, reply: SumsReply, exchange: str) -> None:
        wanted = exchange == "masked" and self.federation.config.dp != "off"
        if wanted and reply.privacy is None:
            raise CoresetError(f"site '{reply.site}' sent a masked update without a ledger's word")

    def _took(self, reply: SumsReply, exchange: str) -> None:
        if exchange == "masked" and reply.privacy is not None:
            self._notes[reply.site] = reply.privacy

    def _sent(self) -> Sequence[str]:
        return tuple(self._notes)

    def _finish(self) -> None:
        federation, config = self.federation, self.federation.config
        federation.ledgers |= self._notes
        if self.closed:
            return
        numbers, at = self.half.total.view(np.int64), 0
        step, there = step_of(config, config.num_rounds), self.half.masked
        for place in self.layout:
            total = numbers[at : at + place.size].astype(np.float64) * step
            at += place.size
            if givers := [s for s in there if self._gave(s, place.section)]:
                facts = {"noise": self._noise(len(there)) / len(givers)} if self._notes else {}
                mean = total / len(givers)
                federation.method.models.summed(place.section, mean, givers, facts)

    def _gave(self, site: str, section: str) -> bool:
        at = [place.section for place in self.layout].index(section)
        claim = np.frombuffer(self.half.circle.claim(site), np.uint8)
        return bool(np.unpackbits(claim)[at])

    def _noise(self, sites: int) -> float:
        """Standard deviation of a coordinate of the sum."""
        config = self.federation.config
        sigma = update_multiplier(config, config.num_rounds) * config.dp_clip
        return sum_sigma(sigma, sites, self.half.openers, config.colluding_sites)
