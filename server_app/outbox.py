"""What goes to each node: the bank, or what a node lacks of it, encoded once for equal needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import RecordDict

from client_app.records import to_records
from fedpatchcore.config import RunConfig
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.wire.beside import with_beside
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.packet import Packet

__all__ = ["Outbox"]

DIGEST_LENGTH = 64


class Outbox:
    """Messages of one run.

    Args:
        folder: of the run; it and the run's identity are in every message.

    Attributes:
        codebooks: goes to every node in place of the bank while it is set.
        down: bytes sent in this round, by phase and site.
    """

    def __init__(self, config: RunConfig, federation: Federation, folder: RunFolder) -> None:
        self.codebooks: Packet | None = None
        self.down: dict[str, dict[str, int]] = {}
        self._federation = federation
        self._folder, self._run = str(folder.path.resolve()), folder.identity
        self._wire = config.wire
        self._broadcast = Broadcast(self._wire, seed=config.seed, deltas=config.deltas)
        if federation.bank is not None:
            self._broadcast.adopt(federation.bank)
        self._holds: dict[int, str] = {}  # digest of the bank that each node says it has
        self._records: dict[int, tuple[Packet, RecordDict]] = {}  # of a phase, by packet
        self._resent: set[int] = set()
        self._phase: dict[str, int] = {}
        self._kind, self._round = "", 0

    def heard(self, node: int, packet: Packet) -> None:
        """Note which bank a node says it holds."""
        if "holds" in packet.texts:  # a site that failed says nothing of it
            self._holds[node] = str(packet.texts["holds"])[:DIGEST_LENGTH]

    def publish(self) -> None:
        """The bank that was merged becomes the one that sites will see."""
        self._federation.bank = self._broadcast.publish(self._federation.bank)

    def begin(self, kind: str, number: int) -> None:
        """A phase begins, the train phase of a round with counts from 0."""
        if kind == "train":
            self.down = {}
        self._phase = self.down.setdefault(kind, {})
        self._records, self._resent, self._kind, self._round = {}, set(), kind, number

    def once_more(self, node: int) -> None:
        """A node is sent a further message of the phase, with what is beside the bank by now."""
        self._records = {}
        self._resent.discard(node)

    def end(self) -> None:
        """All answers are in: let go of what was encoded for the phase."""
        self._records = {}

    def records(self, node: int, site: str) -> RecordDict:
        """What ``node`` is sent now."""
        packet = self._packet(node)
        more = self._beside()
        if id(packet) not in self._records:
            self._records[id(packet)] = packet, self._with_run(with_beside(packet, more))
        sent = packet.nbytes + sum(one.nbytes for one in more.values())
        self._phase[site] = self._phase.get(site, 0) + sent
        return self._records[id(packet)][1]

    def stamped(self, packet: Packet, site: str) -> RecordDict:
        """A packet for one site alone, with what the run is."""
        self._phase[site] = self._phase.get(site, 0) + packet.nbytes
        return self._with_run(packet)

    def _with_run(self, packet: Packet) -> RecordDict:
        records = to_records(packet)
        records["texts"]["run-folder"] = self._folder
        records["texts"]["run"] = self._run
        records["texts"]["round"] = self._round
        return records

    def full(self, node: int, site: str) -> RecordDict | None:
        """The whole bank for a node that lacks what its message built on; None the second time."""
        if node in self._resent or self.codebooks is not None:
            return None
        self._resent.add(node)
        self._holds[node] = ""
        return self.records(node, site)

    def sent_to(self, site: str) -> int:
        """Bytes sent to a site in this phase."""
        return self._phase.get(site, 0)

    def facts(self) -> dict[str, object]:
        """What the round's record shows."""
        return {"kind": self._wire, "errors": dict(self._broadcast.errors), "down": self.down}

    def _beside(self) -> Mapping[str, np.ndarray]:
        """What the method sends beside the bank to be trained from."""
        trains = self._kind == "train" and self.codebooks is None
        return self._federation.method.beside() if trains else {}

    def _packet(self, node: int) -> Packet:
        if self.codebooks is not None:
            return self.codebooks
        bank = self._federation.bank
        if bank is None:
            return Packet()
        return self._broadcast.packet(bank, holds=self._holds.get(node, ""))
