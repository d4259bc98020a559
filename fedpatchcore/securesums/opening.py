"""Secrets from the shares of those who opened, each held against what its owner committed to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.circle import Circle
from fedpatchcore.securesums.shamir import Opener

__all__ = ["Openings"]

TRIES = 2000  # sets of openers that are tried before a secret is given up


class Openings:
    """Opens the secrets of one sum.

    Args:
        shares: by the opener's place its shares, by the owner's name.

    Attributes:
        liars: sites whose shares were found not to belong to what the owner committed to.
    """

    def __init__(self, circle: Circle, shares: Mapping[int, Mapping[str, bytes]]) -> None:
        self._circle, self._shares = circle, shares
        self._trusted = Opener(sorted(shares)[: circle.openers])
        self.liars: list[str] = []

    def secret(self, owner: str, fits: Callable[[bytes], bool]) -> bytes:
        """The owner's secret that ``fits``, whichever openers lie, where enough others are left.

        Raises SecureSumError, naming the owner, if no set of openers that was tried tells it.
        """
        if (found := self._opened(self._trusted, owner, fits)) is not None:
            return found
        sets = combinations(sorted(self._shares), self._circle.openers)
        for _, places in zip(range(TRIES), sets, strict=False):
            opener = Opener(places)
            if (found := self._opened(opener, owner, fits)) is not None:
                self._trusted = opener
                self._name_liars(owner, fits)
                return found
        raise SecureSumError(
            f"shares of site '{owner}' fit nothing that it committed to: it or those who hold "
            "them lied, and the sum stays closed"
        )

    def _opened(self, opener: Opener, owner: str, fits: Callable[[bytes], bool]) -> bytes | None:
        found = opener.secret({place: self._shares[place][owner] for place in opener.places})
        return found if found is not None and fits(found) else None

    def _name_liars(self, owner: str, fits: Callable[[bytes], bool]) -> None:
        """Whoever can't stand in for one of a set that is known to be right."""
        good = self._trusted.places
        for place in sorted(set(self._shares) - set(good)):
            swapped = Opener((place, *good[1:]))
            site = self._circle.sites[place - 1]
            if site not in self.liars and self._opened(swapped, owner, fits) is None:
                self.liars.append(site)
