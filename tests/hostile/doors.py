"""The doors: every place where bytes or values enter that another machine or a disk has made.

A door has honest samples and a function that takes one in. Whatever is fed to it, it may take
it, or refuse with an error of ours, in one line; what it takes must hold together afterwards.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import Section
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import RunError
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.journal import head_path
from fedpatchcore.privacy.ledger import Ledger
from fedpatchcore.runs.events import from_line, to_line
from fedpatchcore.runs.telling import tell
from fedpatchcore.runs.watch import RunView
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.service.bodies import pack_body, unpack_body
from fedpatchcore.service.request import Request, packet_from
from fedpatchcore.wire.banks import pack_bank
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.evaluate import unpack_evaluate
from fedpatchcore.wire.facts import unpack_facts
from fedpatchcore.wire.held import HeldBank
from fedpatchcore.wire.messages import (
    EvaluateReply,
    ProductResult,
    SectionStats,
    SiteFacts,
    TrainReply,
)
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train
from fedpatchcore.worker.settings import read_worker_config, worker_file
from tests.hostile.mutation import mutated, mutated_json, mutated_packet
from tests.hostile.secure_doors import SECURE
from tests.support.codebooks import BOOK
from tests.support.fingerprints import FINGERPRINT
from tests.support.ledgers import DELTA, put

__all__ = ["DOORS", "Door"]


@dataclass(frozen=True)
class Door:
    """One place where foreign bytes enter.

    Attributes:
        samples: honest ones.
        change: makes another of a sample.
        take: takes one in; raises FedPatchCoreError to refuse.
        total: it refuses nothing, and takes what it can.
        close: ends what it opened.
        few: tries of a moment's look; less where a refusal takes a second.
    """

    samples: list[Any]
    change: Callable[[Any, random.Random], Any]
    take: Callable[[Any], object]
    total: bool = False
    close: Callable[[], None] = lambda: None
    few: int = 60


def rows(count: int, seed: int = 0) -> np.ndarray:
    made = np.abs(np.random.default_rng(seed).standard_normal((count, 6))).astype(np.float32)
    half = made.reshape(count, 2, 3)  # the rows of FINGERPRINT: each layer of norm 1
    return (half / np.linalg.norm(half, axis=2, keepdims=True)).reshape(count, 6)


def bank(number: int = 1) -> MemoryBank:
    part = Section(rows(8, number), np.zeros(8, np.int32), 0.5, 0.5, {"a": 4})
    return MemoryBank(FINGERPRINT, {"plate": part}, ("a",), number)


def given() -> Contribution:
    return Contribution("a", FINGERPRINT, {"plate": Part(rows(5), 3, 60, 0.4)})


def file_door(tmp: Path, write: Callable[[Path], object], read: Callable[[Path], object]) -> Door:
    """A file on disk, damaged."""
    path = tmp / "sample"
    write(path)

    def take(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return Door([path.read_bytes()], mutated, take)


def ledger_door(tmp: Path, which: Callable[[Path], Path]) -> Door:
    ledger = Ledger(tmp)
    put(ledger, "a")
    ledger.note_unprotected(run="r", site="s", section="t", images=["i1"], label="none")
    path = which(ledger.path)
    whole = path.read_bytes()

    def take(data: bytes) -> None:
        path.write_bytes(data)
        try:
            assert ledger.spent(DELTA) == float("inf"), "a charge was forgotten"
        finally:
            path.write_bytes(whole)

    return Door([whole], mutated, take)


def packets(made: list[Packet], read: Callable[[Packet], object]) -> Door:
    return Door(made, mutated_packet, read)


def held_door(tmp: Path) -> Door:
    """A bank at a site: whole, and as what changed since the one that it holds."""
    broadcast = Broadcast("float32")
    first = broadcast.publish(bank(1))
    whole = broadcast.packet(first)
    second = broadcast.publish(bank(2))
    held = HeldBank(SiteCache(tmp, 0.01), "a")
    held.receive(whole)
    delta = broadcast.packet(second, holds=held.digest)

    def take(packet: Packet) -> None:
        found = HeldBank(SiteCache(tmp, 0.01), "a")
        before = found.digest
        got = found.receive(packet)
        if got is None:
            assert found.digest == before
        else:
            got.save(tmp / "again.safetensors")
            MemoryBank.load(tmp / "again.safetensors")

    return packets([pack_bank(bank()), whole, delta], take)


def frame_door() -> Door:
    request = Request("train", {"backbone": "filterbank"}, pack_bank(bank()), "7")
    body = pack_body(request.told(), request.packet.arrays)

    def take(data: bytes) -> None:
        told, arrays = unpack_body(data)
        packet_from(told, arrays)
        Request.from_told(told, arrays).digest  # noqa: B018

    return Door([body], mutated, take)


def follow(line: str) -> None:
    view = RunView(expected=2)
    event = from_line(line)
    if event is not None:
        view.take(event)
        tell(event)
    view.headline()
    view.notes()


def event_lines() -> list[str]:
    events = [
        {"time": "2026-01-01T00:00:00.000+00:00", "event": what, "site": "a", "number": 1, **more}
        for what, more in {
            "started": {"run": "1", "resumed_after": 0},
            "round": {"sites": ["a"]},
            "trained": {"images": 3, "patches": 9, "rows": 2, "seconds": 1.5, "bytes": 100},
            "evaluated": {"image_auroc": {"plate": 0.5}, "defects_found": {"plate": [1, 2]}},
            "lost": {"reason": "gone"},
            "finished": {"rows": [], "bank": "b", "report": "r", "seconds": 1.0},
        }.items()
    ]
    return [to_line(event) for event in events]


def changed_line(line: str, chance: random.Random) -> str:
    start = line.find("{")
    if chance.random() < 0.5:
        return line[:start] + json.dumps(mutated_json(json.loads(line[start:]), chance))
    return mutated(line.encode(), chance).decode(errors="replace")


def replies() -> tuple[Packet, Packet, Packet]:
    eyes = {"seen": (0.4,), "seconds": 0.2, "features": 9, "held": 4}
    facts = SiteFacts("a", ("plate",), (3,), (2,), "cpu", FINGERPRINT.to_json(), "0.3.0", **eyes)
    stats = SectionStats("plate", 3, 3, 0, 0, 3, 0, 60, 5, 0.4)
    train = TrainReply("a", "full", given(), (stats,), 1.0, 1.0)
    result = ProductResult("plate", coverage=(3,))
    return pack(facts), pack(train), pack(EvaluateReply("a", (result,), 1.0, ("a note",)))


def settings_door(kind: type[RunConfig | NodeConfig]) -> Door:
    take = lambda table: kind.parse(table, where="settings")  # noqa: E731
    table = {k: v for k, v in kind().table().items() if v not in ("", -1)}

    def change(sample: dict, chance: random.Random) -> dict:
        key = chance.choice(list(sample))
        return {**sample, key: mutated_json(sample[key], chance)}

    return Door([table], change, take)


def worker_file_door(tmp: Path) -> Door:
    text = worker_file({"site": "a", "data": "/data"}, tmp / "worker.toml")
    short = 'site = "a"\ndata = "/data"\nqueue = 3\ndp-required = true\ndp-budget-epsilon = 2.0\n'
    file = tmp / "worker.toml"

    def take(data: bytes) -> object:
        file.write_bytes(data)
        return read_worker_config(file).node()

    return Door([text.encode(), short.encode()], mutated, take)


def cache_door(tmp: Path) -> Door:
    cache = SiteCache(tmp, 0.01)
    key = "ab" * 32
    cache.put(key, {"features": rows(4)}, {"digest": "x"})
    path = tmp / key[:2] / f"{key}.safetensors"
    whole = path.read_bytes()

    def take(data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        entry = SiteCache(tmp, 0.01).get(key)
        assert entry is None or np.array_equal(entry[1]["features"], rows(4))

    return Door([whole], mutated, take, total=True)


def _history(path: Path) -> object:
    return read_sealed(path, error=RunError)


DOORS: dict[str, Callable[[Path], Door]] = {
    "facts": lambda tmp: packets([replies()[0]], unpack_facts),
    "train reply": lambda tmp: packets([replies()[1]], unpack_train),
    "evaluate reply": lambda tmp: packets([replies()[2]], unpack_evaluate),
    "bank at a site": held_door,
    "worker's frame": lambda tmp: frame_door(),
    "worker's file": worker_file_door,
    "ledger": lambda tmp: ledger_door(tmp, lambda path: path),
    "ledger's head": lambda tmp: ledger_door(tmp, head_path),
    "history": lambda tmp: file_door(
        tmp, lambda p: p.write_bytes(sealed({"rounds": [{"round": 1}]})), _history
    ),
    "event log": lambda tmp: Door(event_lines(), changed_line, follow, total=True),
    "run settings": lambda tmp: settings_door(RunConfig),
    "node settings": lambda tmp: settings_door(NodeConfig),
    "bank file": lambda tmp: file_door(tmp, lambda p: bank().save(p), MemoryBank.load),
    "coreset file": lambda tmp: file_door(tmp, lambda p: given().save(p), Contribution.load),
    "codebook file": lambda tmp: file_door(tmp, lambda p: BOOK.save(p, FINGERPRINT), Codebook.load),
    "cache entry": cache_door,
    **{name: lambda tmp, make=make: Door(*make(tmp)) for name, make in SECURE.items()},
}
