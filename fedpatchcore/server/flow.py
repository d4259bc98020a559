"""A run without rounds: whom to ask, when the model has moved, and when it is enough.

Each site trains from the model that was in force when it was asked, and answers when it is done; a
slow one holds nobody up. Its update counts by its staleness (`fedpatchcore.learned.arrivals`). When
a model has moved a bank is made of it and of the rows that all have given; ``num-rounds`` counts
these. Who drives this (``server_app/flowing.py`` over a network, `fedpatchcore.inprocess` with a
clock of its own) asks those that are `due`, says who `answered`, and makes a bank when told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import CoresetError, QuorumError
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.methods.arriving import Sent
from fedpatchcore.server.methods.gradients import Models
from fedpatchcore.site.methods.gradients import version_of
from fedpatchcore.wire.messages import TrainReply

__all__ = ["CHANCES", "Flow"]

CHANCES = 3  # a site whose answers cannot be used is asked so often for one model, if need be


class Flow:
    """Sites in a queue, some of them at work.

    Args:
        federation: of a method that trains, with an optimiser that has no rounds.

    Attributes:
        busy: sites at work, and what each was sent.
        heard: answers that came so far, usable or not.
    """

    def __init__(self, federation: Federation) -> None:
        self.federation, self.config = federation, federation.config
        self.busy: dict[str, Sent] = {}
        self.heard = 0
        self._since: float | None = None  # somebody was at work, or could be asked
        self._queue: list[str] = []
        self._failed: dict[str, int] = {}  # the model that a site failed with
        self._chances: Counter[tuple[str, int]] = Counter()

    @property
    def version(self) -> int:
        """Of the bank in force; 0: there is none yet."""
        return version_of(self.federation.bank)

    @property
    def over(self) -> str:
        """Why nobody is asked any more; "" while the run goes on."""
        if self.version >= self.config.num_rounds:
            return f"the model has moved num-rounds={self.config.num_rounds} times"
        return self.federation.method.enough

    @property
    def waiting(self) -> list[str]:
        """Sites that are not at work."""
        return list(self._queue)

    @property
    def usable(self) -> list[str]:
        """Sites at work, or waiting for it."""
        return sorted({*self.busy, *(site for site in self._queue if self._fit(site))})

    @property
    def enough_sites(self) -> bool:
        """Whether there are ``min-sites`` of them."""
        return len(self.usable) >= self.config.min_sites

    def joined(self, sites: Iterable[str]) -> None:
        """These may be asked, those that are new after all others, in the order of their names."""
        known = {*self._queue, *self.busy}
        self._queue += sorted(set(sites) - known)

    def left(self, site: str) -> None:
        """A site went away; what it was to answer will not come."""
        self.busy.pop(site, None)
        self._queue = [one for one in self._queue if one != site]

    def due(self) -> list[str]:
        """Whom to ask now, who has waited longest first. Nobody while there are too few sites.

        A site whose answer could not be used is asked again for the next model; for the same one
        only where too few others are left, and `CHANCES` times at most.
        """
        if self.over:
            return []
        if not self.enough_sites:
            for site in self._queue:
                if not self._fit(site) and self._chances[site, self.version] < CHANCES:
                    del self._failed[site]
        if not self.enough_sites:
            return []
        most = self.config.concurrency or len(self.busy) + len(self._queue)
        ready = [site for site in self._queue if self._fit(site)]
        return ready[: max(0, most - len(self.busy))]

    def ask(self, site: str) -> Sent:
        """A site is sent the bank of now; what that is."""
        self._queue = [one for one in self._queue if one != site]
        self.busy[site] = self._models.ask(site, self.version)
        return self.busy[site]

    def answered(self, reply: TrainReply, *, seconds: float = 0.0) -> bool:
        """Take a site's answer in; whether a bank is due.

        Raises:
            CoresetError, FingerprintError: it cannot be used, or nobody asked for it; `failed` is
                to be told so.
            RunError: it could not be kept on disk.
        """
        site = reply.site
        if site not in self.busy:
            raise CoresetError(f"site '{site}' answers what it was not asked")
        self.federation.accept(reply, seconds=seconds)
        due = self._models.arrived(reply)
        self._back(site)
        return due

    def failed(self, site: str) -> None:
        """A site's answer could not be used, or did not come in time."""
        if site in self.busy:
            at = self._failed[site] = self.busy[site].version
            self._chances[site, at] += 1
            self._back(site)

    def check(self, now: float) -> None:
        """Raise QuorumError once nobody has been at work, or could be asked, for ``wait-seconds``.

        Args:
            now: seconds by any clock.
        """
        if self._since is None or self.busy or self.due():
            self._since = now
        elif now >= self._since + self.config.wait_seconds:
            told = self.federation.story.quorum(self.config.min_sites)
            raise QuorumError(f"the run stands still: {told}; it can be resumed")

    def made(self) -> MemoryBank:
        """The bank that is due. Raises as `Federation.merge` does."""
        number = self.version + 1
        bank = self.federation.merge(number)
        self._models.made(number)
        return bank

    @property
    def _models(self) -> Models:
        return self.federation.method.models

    def _back(self, site: str) -> None:
        self.heard += 1
        del self.busy[site]
        self._queue.append(site)

    def _fit(self, site: str) -> bool:
        return self._failed.get(site, -1) < self.version
