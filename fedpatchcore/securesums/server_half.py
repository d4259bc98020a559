"""The server's half of a secure sum: five questions, and the sum of those who are left.

It collects, passes on and adds up. Whatever a site says that does not belong there is refused with
the site's name, and the sum goes on without it while enough are left; shares that do not fit what
a site committed to are found, so that the sum that comes out is the right one or none.
"""

from __future__ import annotations

import numpy as np

from fedpatchcore.errors import QuorumError, SecureSumError
from fedpatchcore.securesums.circle import Circle, agreed_parts
from fedpatchcore.securesums.letters import EXCHANGES, Letter, packed_rows
from fedpatchcore.securesums.masks import (
    KEY_BYTES,
    commitment,
    expanded,
    pair_mask,
    public_of,
)
from fedpatchcore.securesums.opening import Openings
from fedpatchcore.securesums.roster import SIGNATURE_BYTES, Roster
from fedpatchcore.securesums.shamir import SHARE_BYTES
from fedpatchcore.securesums.site_half import SEALED_BYTES
from fedpatchcore.securesums.terms import Terms

__all__ = ["ServerHalf"]


class ServerHalf:
    """One sum. For each exchange: send `question` to all of `asked`, `take` answers, `close` it.

    Args:
        sites: who is asked for keys.
        roster: turns away keys that no site would take; None leaves that to the sites.

    Attributes:
        asked: sites that the exchange in hand asks.
        exchange: the one in hand; "" when the sum is open.
        left: by site the reason why the sum goes on without it.
        masked: sites whose masked vectors came, once that exchange is closed: those of the sum.
        opened: sites whose shares opened it.
    """

    def __init__(self, terms: Terms, sites: tuple[str, ...], roster: Roster | None = None) -> None:
        self.terms, self._roster = terms, roster
        self.asked: tuple[str, ...] = tuple(sorted(sites))
        self.exchange = EXCHANGES[0]
        self.left: dict[str, str] = {}
        self.sharers: tuple[str, ...] = ()
        self.masked: tuple[str, ...] = ()
        self.opened: tuple[str, ...] = ()
        self.total: np.ndarray | None = None
        self._answers: dict[str, Letter] = {}
        self._circle: Circle | None = None
        self._sealed: dict[str, dict[str, bytes]] = {}
        self._promises: dict[str, bytes] = {}
        self._sum: np.ndarray | None = None
        self._came: set[str] = set()
        self._question: Letter | None = Letter("keys")

    @property
    def circle(self) -> Circle | None:
        """Sites that gave keys; None before that is known."""
        return self._circle

    @property
    def openers(self) -> int:
        """How many must open; 0 until it is known who gave keys."""
        return self._circle.openers if self._circle else 0

    def question(self, site: str) -> Letter:
        """What ``site`` is asked now."""
        if self._question is not None:
            return self._question
        rows = [
            bytes(SEALED_BYTES) if one == site else self._sealed[one][site] for one in self.sharers
        ]
        return Letter("masked", self.sharers, {"sealed": packed_rows(rows, SEALED_BYTES)})

    def take(self, site: str, answer: Letter) -> None:
        """Take an answer in. Raises SecureSumError, naming the site; the sum goes on without it.

        A second answer is refused and the first stands.
        """
        by = f"the answer of site '{site}'"
        answer.expect(self.exchange, by=by)
        if site not in self.asked:
            raise SecureSumError(f"site '{site}' answers and was not asked in '{self.exchange}'")
        if site in self._came:
            raise SecureSumError(f"site '{site}' answers '{self.exchange}' twice")
        try:
            getattr(self, f"_take_{self.exchange}")(site, answer, by)
        except SecureSumError as error:
            self.left[site] = str(error)
            raise
        self._came.add(site)

    def without(self, site: str, reason: str) -> None:
        """The sum goes on without a site, unless its answer to the exchange in hand is in."""
        if site not in self._came:
            self.left.setdefault(site, reason)

    def close(self) -> None:
        """End the exchange with the answers that came; the next one's `asked` are those sites.

        Raises:
            QuorumError: fewer answered than must open. The sum is over.
            SecureSumError: (last exchange) shares fit nothing that a site committed to.
        """
        came = tuple(site for site in self.asked if site in self._came)
        for site in self.asked:
            if site not in self._came:
                self.left.setdefault(site, f"no answer in '{self.exchange}'")
        done, self._came = self.exchange, set()
        getattr(self, f"_close_{done}")(came)
        self.asked = came
        turn = EXCHANGES.index(done) + 1
        self.exchange = EXCHANGES[turn] if turn < len(EXCHANGES) else ""

    def _enough(self, came: tuple[str, ...]) -> None:
        if len(came) < self.openers:
            raise QuorumError(
                f"{len(came)} of {len(self._circle.sites)} sites are left in the exchange "
                f"'{self.exchange}' of a secure sum, {self.openers} must open it: it stays closed"
            )

    # -- keys ---------------------------------------------------------------------------

    def _take_keys(self, site: str, answer: Letter, by: str) -> None:
        one = Circle.read(self.terms, answer, by=by)
        if one.sites != (site,):
            raise SecureSumError(f"{by} brings keys of other sites")
        if self._roster is not None:
            one.check(self._roster)
        self._answers[site] = answer

    def _close_keys(self, came: tuple[str, ...]) -> None:
        if not came:
            raise QuorumError("no site gave keys for a secure sum")
        read = [Circle.read(self.terms, self._answers.pop(site), by=site) for site in came]
        circle = Circle(
            self.terms,
            came,
            tuple(c.keys[0] for c in read),
            tuple(c.signatures[0] for c in read),
            tuple(claim for c in read for claim in c.claims),
        )
        try:
            circle.openers  # noqa: B018
        except SecureSumError as error:
            raise QuorumError(str(error)) from None
        self._circle, self._question = circle, circle.letter()

    # -- shares -------------------------------------------------------------------------

    def _take_shares(self, site: str, answer: Letter, by: str) -> None:
        sites = self._circle.sites
        if answer.names(by=by) != sites:
            raise SecureSumError(f"{by} brings shares for other sites than were named")
        rows = answer.rows("sealed", len(sites), SEALED_BYTES, by=by)
        (self._promises[site],) = answer.rows("commitment", 1, KEY_BYTES, by=by)
        self._sealed[site] = dict(zip(sites, rows, strict=True))

    def _close_shares(self, came: tuple[str, ...]) -> None:
        self._enough(came)
        self.sharers, self._question = came, None

    # -- masked vectors -----------------------------------------------------------------

    def _take_masked(self, site: str, answer: Letter, by: str) -> None:
        values = answer.arrays.get("values")
        if reason := self.terms.wrong_vector(values):
            raise SecureSumError(f"{by} is {reason}")
        if self._sum is None:
            self._sum = np.zeros(self.terms.length, self.terms.dtype)
        self._sum += values

    def _close_masked(self, came: tuple[str, ...]) -> None:
        self._enough(came)
        self.masked, self._sealed, self._question = came, {}, Letter("agree", came)

    # -- who is left --------------------------------------------------------------------

    def _take_agree(self, site: str, answer: Letter, by: str) -> None:
        (signature,) = answer.rows("signatures", 1, SIGNATURE_BYTES, by=by)
        if self._roster is not None:
            parts = agreed_parts(self.terms.session, self._circle.salt, self.sharers, self.masked)
            self._roster.check(site, signature, *parts, what="the survivors")
        self._answers[site] = answer

    def _close_agree(self, came: tuple[str, ...]) -> None:
        self._enough(came)
        rows = [self._answers.pop(s).arrays["signatures"][0].tobytes() for s in came]
        self._question = Letter("open", came, {"signatures": packed_rows(rows, SIGNATURE_BYTES)})

    # -- opening ------------------------------------------------------------------------

    def _take_open(self, site: str, answer: Letter, by: str) -> None:
        if answer.names(by=by) != self.sharers:
            raise SecureSumError(f"{by} opens for other sites than gave shares")
        answer.rows("shares", len(self.sharers), SHARE_BYTES, by=by)
        self._answers[site] = answer

    def _close_open(self, came: tuple[str, ...]) -> None:
        self._enough(came)
        circle, terms = self._circle, self.terms
        shares = {
            circle.place(site): dict(
                zip(
                    self.sharers,
                    self._answers[site].rows("shares", len(self.sharers), SHARE_BYTES, by=site),
                    strict=True,
                )
            )
            for site in came
        }
        openings = Openings(circle, shares)
        total = self._sum.copy()
        for site in self.sharers:
            if site in self.masked:
                seed = openings.secret(
                    site, lambda s, of=site: commitment(s, circle.salt, of) == self._promises[of]
                )
                total -= expanded(seed, terms.length, terms.dtype)
                continue
            private = openings.secret(site, lambda s, of=site: public_of(s) == circle.masking(of))
            for other in self.masked:  # what they added for the one that dropped
                total += pair_mask(
                    private,
                    circle.masking(other),
                    circle.salt,
                    site,
                    other,
                    terms.length,
                    terms.dtype,
                )
        for site in openings.liars:
            self.left[site] = f"shares of site '{site}' fit nothing that was committed to"
        self.opened = tuple(site for site in came if site not in openings.liars)
        self.total = total
        self._answers = {}
