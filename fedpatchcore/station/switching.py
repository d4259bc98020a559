"""Which bank judges: a newer file, a person's way back to the bank before, and forth again.

Whatever takes over is read, checked and warmed up beside the one in use, which goes on meanwhile,
and after all where the other one cannot be used. A way back holds until the same person, or
another, takes the newer bank again, or a bank arrives that is neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from fedpatchcore.errors import FedPatchCoreError, StationError
from fedpatchcore.station.banks import SYSTEM, Banks
from fedpatchcore.station.benches import Bench
from fedpatchcore.station.working import Worker
from fedpatchcore.texts import one_line
from fedpatchcore.web.audit import Actor

__all__ = ["Switch"]


class Switch:
    """Changes the bank that one worker judges by.

    Args:
        version: how the control room numbers the bank of this content; "" if it does not.

    Attributes:
        refused: why a newer bank is not in use; empty: none was refused.
    """

    def __init__(
        self, banks: Banks, worker: Worker, version: Callable[[str], str] = lambda digest: ""
    ) -> None:
        self.banks, self.worker, self._version = banks, worker, version
        self.refused = ""
        self._stamp = ""
        self._lock = threading.Lock()

    def begin(self) -> None:
        """The bank to begin with. Raises FedPatchCoreError if there is none."""
        with self._lock:
            self._stamp = self.banks.stamp()
            bench, own, self.refused = self.banks.first()
            self._use(bench, own)

    def renew(self, bench: Bench) -> bool:
        """Another bank lies where the settings say → it is in use from the next image on.

        One that cannot be used is told in ``refused``, and the one in use goes on.
        """
        with self._lock:
            stamp = self.banks.stamp()
            if not stamp or stamp == self._stamp:
                return False
            self._stamp = stamp
            try:
                digest, own = self.banks.sources()
                held = self.banks.held()
                if held is not None and (digest, own) == (held.left_digest, held.left_own):
                    self.refused = ""
                    return False  # the same again: the person's word stands
                made = self.banks.bench(digest, own, bench)
                self._use(made, own)
            except FedPatchCoreError as error:
                self.refused = one_line(error, 300)
                self.banks.place.changed()
                return False
            self.refused = ""
            return True

    def go_back(self, actor: Actor, why: str) -> None:
        """Judge by the bank before, from the next image on.

        Raises:
            StationError: there is none that is kept, or no reason is told.
            FedPatchCoreError: it cannot be used; the one in use goes on.
        """
        if not why:
            raise StationError("say why the bank before is better")
        with self._lock:
            before = self.banks.before()
            if before is None:
                raise StationError("no bank before this one is kept here")
            made = self.banks.bench(before.digest, before.own, self.worker.bench)
            self._use(made, before.own, actor, back=why)

    def take_newer(self, actor: Actor) -> None:
        """Judge by the bank again that a person went back from.

        Raises:
            StationError: nobody went back.
            FedPatchCoreError: it cannot be used; the one in use goes on.
        """
        with self._lock:
            held = self.banks.held()
            if held is None:
                raise StationError("nobody went back to the bank before")
            made = self.banks.bench(held.left_digest, held.left_own, self.worker.bench)
            self._use(made, held.left_own, actor)

    def _use(self, made: Bench, own: str, actor: Actor = SYSTEM, back: str = "") -> None:
        self.banks.note(made, own, actor, self._version(made.digest), back=back)
        self.worker.use(made)
