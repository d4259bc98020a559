"""The doors of methods that train: updates at the server, what comes beside a bank, kept states."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.answers import Update
from fedpatchcore.learned.carried import Losses, carried
from fedpatchcore.learned.generator import WEIGHT, orthogonal
from fedpatchcore.learned.state import ClientState, Kept
from fedpatchcore.learned.student import student_start
from fedpatchcore.learned.updates import encode
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.methods.gradients import Models
from fedpatchcore.wire.beside import with_beside, without_beside
from fedpatchcore.wire.messages import SectionStats, TrainReply
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train
from server_app.optimisers import rule_of
from tests.hostile.doors import Door, packets, rows
from tests.hostile.mutation import mutated, mutated_packet
from tests.support.fingerprints import FINGERPRINT

__all__ = ["TRAINED_DOORS"]

METHODS = ("feddymem", "generator", "student")
IMAGES, PATCHES = 3, 60


def configured(method: str, **told) -> RunConfig:
    base = {"method": method, "min_sites": 1, "num_rounds": 3, "student_width": 4}
    return RunConfig(**{**base, "coreset_size": 30, "global_bank_size": 20, **told})


def model(method: str) -> dict[str, np.ndarray]:
    return {WEIGHT: orthogonal(6, 3, 0)} if method != "student" else student_start(2, 6, width=4)


def update(config: RunConfig) -> dict[str, np.ndarray]:
    x = model(config.method)
    change = {name: np.full_like(one, 0.01) for name, one in x.items()}
    plan = config.plan(1, config.num_rounds)
    steps = plan.steps(IMAGES)
    control = change if config.rule.control else None
    made = Update("a", 0, change, IMAGES, steps, plan.weight(steps), control, fresh=True)
    sent = encode(change, config.update_wire, seed=0, share=0.5)
    whole = encode(control, "float32", seed=0) if control else None
    return carried(made, sent, whole, Losses(0.5, 0.6))


def reply(config: RunConfig) -> TrainReply:
    count = 1 if config.method == "student" else 5
    beside = update(config)
    if config.method == "feddymem":
        beside["weights"] = np.full((count, 1), PATCHES / count, np.float32)
    part = Part(rows(count), IMAGES, PATCHES, 0.4, beside)
    stats = SectionStats("plate", IMAGES, IMAGES, 0, 0, 3, 0, PATCHES, count, 0.4)
    return TrainReply("a", "full", Contribution("a", FINGERPRINT, {"plate": part}), (stats,))


def update_door(tmp: Path, method: str, **told) -> Door:
    """A reply, taken in and made a bank of, which can be loaded again."""
    config = configured(method, **told)

    def take(packet: Packet) -> None:
        federation = Federation(config, rules=rule_of)
        federation.accept(unpack_train(packet))
        made = federation.merge(1)
        made.save(tmp / "bank.safetensors")
        MemoryBank.load(tmp / "bank.safetensors")

    return packets([pack(reply(config), wire=config.wire)], take)


def beside_door(tmp: Path) -> Door:
    sent = {"accepted/a": np.ones(1, np.float32), f"control/plate/{WEIGHT}": orthogonal(6, 3, 1)}
    whole = with_beside(Packet(), sent)

    def take(packet: Packet) -> None:
        rest, more = without_beside(packet)
        assert all(np.isfinite(one).all() for one in more.values())
        assert "beside" not in rest.texts

    return Door([whole], mutated_packet, take)


def state_door(tmp: Path) -> Door:
    """A site's kept state: damaged, it is dropped with a line and training starts anew."""
    x, told = model("generator"), []
    state = ClientState(tmp, "run", told.append)
    state.save(Kept(2, x, x), x)
    path = tmp / "round-2.safetensors"

    def take(data: bytes) -> None:
        path.write_bytes(data)
        told.clear()
        found = state.load(2, x)
        if found.round == 0:
            raise TrainingError(told[0])
        assert all(np.array_equal(found.control[n], x[n]) for n in x)

    return Door([path.read_bytes()], mutated, take)


def models_door(tmp: Path) -> Door:
    """A checkpoint's states of optimisers."""
    config = configured("generator", optimiser="fedavgm")
    federation = Federation(config, rules=rule_of)
    federation.accept(reply(config))
    federation.merge(1)
    federation.method.save(tmp / "method")
    path = tmp / "method" / "models.json"
    assert json.loads(path.read_text())

    def take(data: bytes) -> None:
        path.write_bytes(data)
        Models(config, rule_of).load(tmp / "method")

    return Door([path.read_bytes()], mutated, take)


TRAINED_DOORS = {
    **{
        f"update, {method}": lambda tmp, method=method: update_door(tmp, method)
        for method in METHODS
    },
    "update, scaffold": lambda tmp: update_door(tmp, "generator", optimiser="scaffold"),
    "update, int8": lambda tmp: update_door(tmp, "generator", update_wire="int8"),
    "update, topk": lambda tmp: update_door(tmp, "generator", update_wire="topk"),
    "beside a bank": beside_door,
    "training state": state_door,
    "optimisers of a checkpoint": models_door,
}
