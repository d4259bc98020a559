"""The server's side of one secure sum: who is asked what, and whose answers it goes on with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fedpatchcore.errors import FedPatchCoreError, QuorumError, SecureSumError
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.securesums.afford import alone_clash
from fedpatchcore.securesums.server_half import ServerHalf
from fedpatchcore.server.federation import Federation
from fedpatchcore.wire.messages import TrainReply
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.sums import (
    Layout,
    SumsQuestion,
    SumsReply,
    pack_question,
    terms_of,
    unpack_sums,
)

__all__ = ["SecureSum"]


class SecureSum:
    """The exchanges of one sum; what it is about is for a subclass to say.

    Args:
        run: identity of the run, as its messages carry it.
        sites: who is asked.

    Attributes:
        accepted: by site its part in the opened sum, where that is a train reply, and seconds
            until it came.
        closed: why the sum did not open; "" while it may, or once it has.
    """

    what, kind = "secure sum", "train.sums"
    phase: ClassVar[str] = "train"
    about: ClassVar[str] = "sums"
    noisy: ClassVar[bool] = True

    def __init__(
        self, federation: Federation, run: str, number: int, sites: Sequence[str], layout: Layout
    ) -> None:
        config = federation.config
        self.federation, self.number, self.layout = federation, number, layout
        terms = terms_of(config, layout, run, number, config.num_rounds, self.about)
        self.half = ServerHalf(terms, tuple(sites))
        self.closed = ""
        self.accepted: dict[str, tuple[TrainReply, float]] = {}
        self._began = time.monotonic()
        self._bytes: dict[str, int] = {}

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
        self.half.without(site, reason)

    def without_all(self, reason: str) -> None:
        """No site's answer is of use any more."""
        for site in self.half.asked:
            self.half.without(site, reason)
            self.federation.reject(site, reason)

    def question(self, site: str) -> Packet:
        """What a site is sent."""
        letter = self.half.question(site)
        books = self._books() if letter.exchange == "masked" else {}
        return pack_question(SumsQuestion(letter, self.layout, books, self.about))

    def take(self, packet: Packet, site: str) -> None:
        """Take a site's answer in. Raises a typed error, and goes on without that site."""
        try:
            reply = unpack_sums(packet)
            if reply.site != site:
                raise QuorumError(f"the node of site '{site}' now calls itself '{reply.site}'")
            exchange = self.half.exchange
            self._check(reply, exchange)
            self.half.take(site, reply.letter)
        except FedPatchCoreError as error:
            self.half.without(site, str(error))
            raise
        self._bytes[site] = self._bytes.get(site, 0) + reply.nbytes
        self._took(reply, exchange)

    def close(self) -> None:
        """End the exchange in hand; `closed` says why the sum ended with it, if it did."""
        first = self.half.exchange == "keys"
        try:
            self.half.close()
        except (QuorumError, SecureSumError) as error:
            self.closed = str(error)
        if first and not self.closed and self.noisy:
            self.closed = alone_clash(self.federation.config, len(self.half.asked))
            if self.closed:  # each of them would refuse, one exchange later
                self.without_all(self.closed)

    def finish(self) -> dict[str, Any]:
        """What came of it goes into the federation's round; returns the facts of an event."""
        self._finish()
        half, circle = self.half, self.half.circle
        told = {
            "about": self.about,
            "asked": sorted({*(circle.sites if circle else ()), *half.left, *half.asked}),
            "masked": list(half.masked or self._sent()),
            "opened": [] if self.closed else list(half.opened),
            "openers": half.openers,
            "colluding": half.terms.colluding,
            "left": dict(half.left),
            "bytes": sum(self._bytes.values()),
            "seconds": time.monotonic() - self._began,
            "closed": self.closed,
        }
        self.federation.story.summed(told)
        return told | self._more()

    # -- what a sum is about -----------------------------------------------------------

    def _books(self) -> Mapping[str, Codebook]:
        """Codebooks that go with the exchange "masked"."""
        return {}

    def _check(self, reply: SumsReply, exchange: str) -> None:
        """Raise CoresetError for an answer that brings what nobody asked for."""

    def _took(self, reply: SumsReply, exchange: str) -> None:
        """An answer was taken in."""

    def _sent(self) -> Sequence[str]:
        """Sites whose masked vectors left though the exchange was never closed."""
        return ()

    def _more(self) -> dict[str, Any]:
        """Further facts of the event."""
        return {}

    def _finish(self) -> None:
        """The opened total (`half.total`), or why there is none, goes where it belongs."""
        raise NotImplementedError
