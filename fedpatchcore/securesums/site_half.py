"""A site's half of a secure sum: five answers, each given once, to questions in their order.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning" (CCS 2017),
figure 4, the variant against an active server: keys, shares of the masks' secrets, the masked
vector, a signature on who is left, and the shares that take those masks off. The server learns the
sum over the survivors or nothing.

All secrets of a sum grow from one root, fresh random bytes a sum. So a question that is asked again
in the same words gets the same answer, whatever was lost on the way, and in other words none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.circle import Circle, agreed_parts, signed_keys
from fedpatchcore.securesums.letters import EXCHANGES, Letter, packed_rows
from fedpatchcore.securesums.masks import (
    KEY_BYTES,
    agreed,
    commitment,
    derived,
    expanded,
    opened,
    pair_mask,
    public_of,
    sealed,
    sealed_bytes,
    stream,
)
from fedpatchcore.securesums.roster import SIGNATURE_BYTES, Identity, Roster
from fedpatchcore.securesums.shamir import COIN_BYTES, SHARE_BYTES, share_at, split
from fedpatchcore.securesums.terms import Terms

__all__ = ["SEALED_BYTES", "SERVER", "Add", "Fits", "SiteHalf"]

SERVER = "the server"
SEALED_BYTES = sealed_bytes(2 * SHARE_BYTES)
Add = Callable[[np.ndarray, int], np.ndarray]  # mask, openers → masked vector
Fits = Callable[[Mapping[str, bytes]], str]  # claims by site → why such a sum is refused, or ""


class SiteHalf:
    """One site in one sum.

    Args:
        site: its name on the roster.
        root: 32 secret bytes of this sum alone; by default from the system's generator.
        claim: what it says it adds to, `Terms.claim` bytes.
        fits: asked of the claims of all sites, and again of those that are left.

    Raises:
        SecureSumError: the roster does not hold this site's key.
    """

    def __init__(
        self,
        terms: Terms,
        site: str,
        identity: Identity,
        roster: Roster,
        *,
        root: bytes = b"",
        claim: bytes = b"",
        fits: Fits | None = None,
    ) -> None:
        if roster.keys.get(site) != identity.public:
            raise SecureSumError(
                f"the roster does not hold the key of site '{site}' that is used here: have it "
                "signed anew with this site's public key"
            )
        self.terms, self.site = terms, site
        self._identity, self._roster = identity, roster
        self._root = root or os.urandom(KEY_BYTES)
        self._claim, self._fits = claim, fits
        self._heard: list[Letter] = []
        self._sent = b""  # digest of the masked vector that left
        self._opening: Letter | None = None  # the last answer; the root is forgotten then

    # -- what outlives the process ------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it, secrets included, as plain values; to be kept before an answer leaves."""
        return {
            "session": self.terms.session.hex(),
            "root": self._root.hex(),
            "claim": self._claim.hex(),
            "sent": self._sent.hex(),
            "heard": [one.told() for one in self._heard],
            "opening": self._opening.told() if self._opening else None,
        }

    @classmethod
    def resumed(
        cls,
        terms: Terms,
        site: str,
        identity: Identity,
        roster: Roster,
        state: Mapping[str, Any],
        *,
        fits: Fits | None = None,
    ) -> SiteHalf:
        """Inverse of `state`. Raises SecureSumError for one of other terms, or none."""
        try:
            if state["session"] != terms.session.hex():
                raise SecureSumError(
                    f"site '{site}' has answered round {terms.number} of this run on other terms"
                )
            claim = bytes.fromhex(state.get("claim", ""))
            half = cls(terms, site, identity, roster, claim=claim, fits=fits)
            half._root, half._sent = bytes.fromhex(state["root"]), bytes.fromhex(state["sent"])
            half._heard = [Letter.from_told(one) for one in state["heard"]]
            half._opening = Letter.from_told(state["opening"]) if state["opening"] else None
            if [one.exchange for one in half._heard] != list(EXCHANGES[: len(half._heard)]):
                raise ValueError("exchanges that are out of order")
            if len(half._root) != (0 if half._opening else KEY_BYTES):
                raise ValueError("a root of another length")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise SecureSumError(f"a kept half of a sum that cannot be read ({error!r})") from None
        return half

    @property
    def finished(self) -> bool:
        """Whether it has opened: its secrets are forgotten."""
        return self._opening is not None

    # -- the exchanges -----------------------------------------------------------------

    def answer(self, question: Letter, add: Add | None = None) -> Letter:
        """The answer to the server's next question, or again to an earlier one in the same words.

        Args:
            add: for the exchange "masked": from the mask ``[length]`` and the number of openers
                the masked vector, which is the site's vector plus the mask; the same each time.

        Raises:
            SecureSumError: the question is out of turn, another than before, or says what no
                honest server says. Nothing of the half has changed then.
        """
        if question.exchange not in EXCHANGES:
            raise SecureSumError(f"{SERVER} asks for no exchange of a secure sum")
        turn = EXCHANGES.index(question.exchange)
        if turn > len(self._heard):
            raise SecureSumError(
                f"{SERVER} asks site '{self.site}' for '{question.exchange}' out of turn, "
                f"'{EXCHANGES[len(self._heard)]}' is next"
            )
        if turn < len(self._heard) and self._heard[turn].digest != question.digest:
            raise SecureSumError(
                f"{SERVER} asks site '{self.site}' for '{question.exchange}' again and in other "
                "words: it is answered once"
            )
        if self._opening is not None:
            if question.exchange != "open":
                raise SecureSumError(f"the sum is over for site '{self.site}'")
            return self._opening
        reply = self._reply(question, add)
        if turn == len(self._heard):
            self._heard.append(question)
        return reply

    def _reply(self, question: Letter, add: Add | None) -> Letter:
        if question.exchange == "keys":
            words = (self._identity, self.terms.session, self.site, self._public)
            return signed_keys(*words, self._claim)
        if question.exchange == "shares":
            return self._shares(question)
        if question.exchange == "masked":
            return self._masked(question, add)
        if question.exchange == "agree":
            signed = self._identity.signed(*self._agreed(question))
            rows = packed_rows([signed], SIGNATURE_BYTES)
            return Letter("agree", (self.site,), {"signatures": rows})
        self._opening = self._opened(question)
        self._root = b""
        return self._opening

    def _secret(self, what: str) -> bytes:
        return derived(self._root, self.terms.session, what)

    @property
    def _public(self) -> bytes:
        return public_of(self._secret("sealing")) + public_of(self._secret("masking"))

    def _dealt(self, circle: Circle, what: str) -> list[bytes]:
        """Shares of a secret, one a site of the circle."""
        secret, coins = self._secret(what), self._coins(circle, what)
        return split(secret, len(circle.sites), circle.openers, coins)

    def _coins(self, circle: Circle, what: str) -> bytes:
        return stream(self._secret(f"coins of {what}"), COIN_BYTES * (circle.openers - 1))

    def _shares(self, question: Letter) -> Letter:
        circle = Circle.read(self.terms, question, by=SERVER)
        circle.check(self._roster)
        self._fit(circle, circle.sites)
        if self.site not in circle.sites:
            raise SecureSumError(f"{SERVER} leaves site '{self.site}' out and asks it all the same")
        if circle.keys[circle.place(self.site) - 1] != self._public:
            raise SecureSumError(f"{SERVER} shows keys of site '{self.site}' that are not its own")
        salt, sealing = circle.salt, self._secret("sealing")
        rows = []
        pairs = zip(self._dealt(circle, "self"), self._dealt(circle, "masking"), strict=True)
        for site, shares in zip(circle.sites, pairs, strict=True):
            if site == self.site:
                rows.append(bytes(SEALED_BYTES))
                continue
            shared = agreed(sealing, circle.sealing(site), site=site)
            rows.append(sealed(shared, salt, self.site, site, b"".join(shares)))
        promise = commitment(self._secret("self"), salt, self.site)
        arrays = {
            "sealed": packed_rows(rows, SEALED_BYTES),
            "commitment": packed_rows([promise], KEY_BYTES),
        }
        return Letter("shares", circle.sites, arrays)

    def _held(self, circle: Circle, question: Letter) -> dict[str, tuple[bytes, bytes]]:
        """By sharer what this site holds: a share of its self mask and of its key for masks."""
        sharers = circle.subset(question, circle.sites, by=SERVER, what="sharers", me=self.site)
        rows = question.rows("sealed", len(sharers), SEALED_BYTES, by=SERVER)
        held, sealing, here = {}, self._secret("sealing"), circle.place(self.site)
        for site, row in zip(sharers, rows, strict=True):
            if site == self.site:
                plain = b"".join(
                    share_at(self._secret(what), here, self._coins(circle, what))
                    for what in ("self", "masking")
                )
            else:
                shared = agreed(sealing, circle.sealing(site), site=site)
                plain = opened(shared, circle.salt, site, self.site, row)
            held[site] = plain[:SHARE_BYTES], plain[SHARE_BYTES:]
        return held

    def _masked(self, question: Letter, add: Add | None) -> Letter:
        circle = self._circle()
        sharers = tuple(self._held(circle, question))
        terms, private = self.terms, self._secret("masking")
        mask = expanded(self._secret("self"), terms.length, terms.dtype)
        for site in sharers:
            if site != self.site:
                mask += pair_mask(
                    private,
                    circle.masking(site),
                    circle.salt,
                    self.site,
                    site,
                    terms.length,
                    terms.dtype,
                )
        if add is None:
            raise SecureSumError(f"site '{self.site}' has no vector to add")
        values = add(mask, circle.openers)
        if reason := terms.wrong_vector(values):
            raise SecureSumError(f"site '{self.site}' would send {reason}")
        reply = Letter("masked", (self.site,), {"values": values})
        if self._sent and self._sent != reply.digest:
            raise SecureSumError(
                f"site '{self.site}' has sent another masked vector in this sum: both together "
                "would tell their difference"
            )
        self._sent = reply.digest
        return reply

    def _circle(self) -> Circle:
        return Circle.read(self.terms, self._heard[1], by=SERVER)

    def _agreed(self, question: Letter) -> tuple[bytes | str | int, ...]:
        """What is signed of the question who is left. Raises SecureSumError."""
        circle, sharers = self._circle(), self._heard[2].names(by=SERVER)
        survivors = circle.subset(question, sharers, by=SERVER, what="survivors", me=self.site)
        self._fit(circle, survivors)
        return agreed_parts(self.terms.session, circle.salt, sharers, survivors)

    def _fit(self, circle: Circle, sites: tuple[str, ...]) -> None:
        """Raise SecureSumError where the sum of these sites is none to add to."""
        if self._fits and (why := self._fits({site: circle.claim(site) for site in sites})):
            raise SecureSumError(why)

    def _opened(self, question: Letter) -> Letter:
        circle, survivors = self._circle(), set(self._heard[3].names(by=SERVER))
        signers = circle.subset(question, tuple(survivors), by=SERVER, what="signers")
        rows = question.rows("signatures", len(signers), SIGNATURE_BYTES, by=SERVER)
        parts = self._agreed(self._heard[3])
        for site, signature in zip(signers, rows, strict=True):
            self._roster.check(site, signature, *parts, what="the survivors")
        held = self._held(circle, self._heard[2])
        shares = [own if site in survivors else mask for site, (own, mask) in held.items()]
        return Letter("open", tuple(held), {"shares": packed_rows(shares, SHARE_BYTES)})
