"""The server's side of a round of noisy sums that open as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from fedpatchcore.bank.section import SHARED
from fedpatchcore.errors import CoresetError, QuorumError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.shared_noise import sum_sigma
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.secure_sum import SecureSum
from fedpatchcore.wire.messages import SectionStats, TrainReply, Travelled
from fedpatchcore.wire.sums import Place, SumsReply

__all__ = ["SecureRound"]


class SecureRound(SecureSum):
    """The exchanges of one round's noisy sums."""

    def __init__(self, federation: Federation, run: str, number: int, sites: Sequence[str]) -> None:
        private = federation.private
        layout = tuple(
            Place(name, book.digest, *private.over(book).shape)
            for name, book in ((n, private.codebook(n)) for n in _sections(federation, sites))
        )
        super().__init__(federation, run, number, sites, layout)
        self._teach: dict[str, tuple[str, ...]] = {}
        self._notes: dict[str, LedgerNote] = {}
        self._seconds: dict[str, float] = {}

    def _books(self) -> Mapping[str, Codebook]:
        return self.federation.private.codebooks

    def _check(self, reply: SumsReply, exchange: str) -> None:
        if exchange == "masked" and reply.privacy is None:
            raise CoresetError(f"site '{reply.site}' sent a masked sum without a ledger's word")
        if strange := set(reply.sections) - {place.section for place in self.layout}:
            raise CoresetError(f"site '{reply.site}' would add to {', '.join(sorted(strange))}")

    def _took(self, reply: SumsReply, exchange: str) -> None:
        if exchange == "keys":
            self._teach[reply.site] = reply.sections
        elif exchange == "masked":
            self._notes[reply.site] = reply.privacy
            self._seconds[reply.site] = time.monotonic() - self._began

    def _sent(self) -> Sequence[str]:
        return tuple(self._notes)

    def _finish(self) -> None:
        """Sites are charged once their masked vector left: what their ledgers say counts even if
        the sum stayed closed."""
        self.federation.ledgers |= self._notes
        if not self.closed:
            try:
                self._add()
            except CoresetError as error:
                self.closed = str(error)
        for site in self.half.masked or self._sent():
            if self.closed:
                self.federation.reject(site, f"its masked sums are in a closed sum: {self.closed}")
            else:
                reply = self._reply(site)
                self.federation.accept(reply, seconds=self._seconds[site])
                self.accepted[site] = reply, self._seconds[site]

    def _add(self) -> None:
        total, at, config = self.half.total.view(np.int64), 0, self.federation.config
        openers, colluding = self.half.openers, config.colluding_sites
        found = {}
        for place in self.layout:
            values = total[at : at + place.size].reshape(place.rows, place.columns)
            at += place.size
            if givers := [s for s in self.half.masked if place.section in self._teach[s]]:
                found[place.section] = values, givers
        self.federation.private.accept_total(
            found, lambda sigma: sum_sigma(sigma, len(self.half.masked), openers, colluding)
        )

    def _reply(self, site: str) -> TrainReply:
        stats = tuple(SectionStats(name) for name in self._teach[site])
        note, travelled = self._notes[site], Travelled(self._bytes[site], {}, {})
        return TrainReply(site, "masked", None, stats, privacy=note, travelled=travelled)


def _sections(federation: Federation, sites: Sequence[str]) -> list[str]:
    """All that these sites may add to, in order."""
    if federation.config.sections == "shared":
        return [SHARED]
    named = federation.given.products(sites)
    if not named:
        raise QuorumError("no site of a secure sum has named a product")
    return named
