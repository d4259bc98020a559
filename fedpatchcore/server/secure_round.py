"""The server's side of a secure sum within a round: who is asked what, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedpatchcore.bank.section import SHARED
from fedpatchcore.errors import CoresetError, FedPatchCoreError, QuorumError, SecureSumError
from fedpatchcore.privacy.releases import LedgerNote
from fedpatchcore.privacy.round_noise import sums_over
from fedpatchcore.privacy.shared_noise import sum_sigma
from fedpatchcore.securesums.server_half import ServerHalf
from fedpatchcore.server.federation import Federation
from fedpatchcore.wire.messages import SectionStats, TrainReply, Travelled
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.sums import Place, SumsQuestion, pack_question, terms_of, unpack_sums

__all__ = ["SecureRound"]


class SecureRound:
    """The exchanges of one round's sum.

    Args:
        run: identity of the run, as its messages carry it.
        sites: who is asked.

    Attributes:
        accepted: by site its part in the opened sum, and seconds until that came.
        closed: why the sum did not open; "" while it may, or once it has.
    """

    what, kind = "secure sum", "train.sums"

    def __init__(self, federation: Federation, run: str, number: int, sites: Sequence[str]) -> None:
        config = federation.config
        self.federation, self.number = federation, number
        private = federation.private
        self.layout = tuple(
            Place(name, book.digest, *sums_over(config, book, config.num_rounds).shape)
            for name, book in ((n, private.codebook(n)) for n in self._sections(sites))
        )
        terms = terms_of(config, self.layout, run, number, config.num_rounds)
        self.half = ServerHalf(terms, tuple(sites))
        self.closed = ""
        self.accepted: dict[str, tuple[TrainReply, float]] = {}
        self._began = time.monotonic()
        self._teach: dict[str, tuple[str, ...]] = {}
        self._notes: dict[str, LedgerNote] = {}
        self._bytes: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def _sections(self, sites: Sequence[str]) -> list[str]:
        """All that these sites may add to, in order."""
        if self.federation.config.sections == "shared":
            return [SHARED]
        named = self.federation.given.products(sites)
        if not named:
            raise QuorumError("no site of a secure sum has named a product")
        return named

    @property
    def exchange(self) -> str:
        """The exchange in hand; "" once the sum is open or is known to stay closed."""
        return "" if self.closed else self.half.exchange

    @property
    def asked(self) -> tuple[str, ...]:
        """Sites that it asks."""
        return self.half.asked

    def without(self, site: str, reason: str) -> None:
        """A site whose answer is no use is left out."""
        self.half.left.setdefault(site, reason)

    def question(self, site: str) -> Packet:
        """What a site is sent."""
        letter = self.half.question(site)
        books = self.federation.private.codebooks if letter.exchange == "masked" else {}
        return pack_question(SumsQuestion(letter, self.layout, books))

    def take(self, packet: Packet, site: str) -> None:
        """Take a site's answer in. Raises a typed error, and goes on without that site."""
        try:
            reply = unpack_sums(packet)
            if reply.site != site:
                raise QuorumError(f"the node of site '{site}' now calls itself '{reply.site}'")
            exchange = self.half.exchange
            if exchange == "masked" and reply.privacy is None:
                raise CoresetError(f"site '{site}' sent a masked sum without a ledger's word")
            if strange := set(reply.sections) - {place.section for place in self.layout}:
                raise CoresetError(f"site '{site}' would add to {', '.join(sorted(strange))}")
            self.half.take(site, reply.letter)
        except FedPatchCoreError as error:
            self.half.left.setdefault(site, str(error))
            raise
        self._bytes[site] = self._bytes.get(site, 0) + reply.nbytes
        if exchange == "keys":
            self._teach[site] = reply.sections
        elif exchange == "masked":
            self._notes[site] = reply.privacy
            self._seconds[site] = time.monotonic() - self._began

    def close(self) -> None:
        """End the exchange in hand; `closed` says why the sum ended with it, if it did."""
        try:
            self.half.close()
        except (QuorumError, SecureSumError) as error:
            self.closed = str(error)

    def finish(self) -> dict[str, Any]:
        """The sum, or why there is none, goes into the federation's round; returns its facts.

        Sites are charged once their masked vector left, so what their ledgers say counts even if
        the sum stayed closed.
        """
        self.federation.ledgers |= self._notes
        if not self.closed:
            try:
                self._add()
            except CoresetError as error:
                self.closed = str(error)
        there = self.half.masked or tuple(self._notes)
        for site in there:
            if self.closed:
                self.federation.reject(site, f"its masked sums are in a closed sum: {self.closed}")
            else:
                reply = self._reply(site)
                self.federation.accept(reply, seconds=self._seconds[site])
                self.accepted[site] = reply, self._seconds[site]
        return self._told()

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

    def _told(self) -> dict[str, Any]:
        half, circle = self.half, self.half.circle
        return {
            "asked": sorted({*(circle.sites if circle else ()), *half.left, *half.asked}),
            "masked": list(half.masked or self._notes),
            "opened": [] if self.closed else list(half.opened),
            "openers": half.openers,
            "colluding": half.terms.colluding,
            "left": dict(half.left),
            "bytes": sum(self._bytes.values()),
            "seconds": time.monotonic() - self._began,
            "closed": self.closed,
        }
