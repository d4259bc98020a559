"""Doors of choosing settings: questions, answers, planted counts, the state and settings files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedpatchcore.cli.common import settings
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.tuning.candidates import Candidate
from fedpatchcore.tuning.state import State
from fedpatchcore.tuning.trial import Scores, Trial
from fedpatchcore.tuning.written import write_settings
from fedpatchcore.wire.evaluate import unpack_evaluate
from fedpatchcore.wire.messages import EvaluateReply, ProductResult
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.tuning import (
    TriedOut,
    TuneQuestion,
    TuneReply,
    pack_tune_question,
    unpack_tune,
    unpack_tune_question,
)
from tests.hostile.doors import Door, file_door, packets

__all__ = ["TUNING_DOORS"]

QUESTION = TuneQuestion(({}, {"image-size": 448, "geometry": "full"}), 24)


def answer() -> Packet:
    line = TriedOut("plate", 0, 24, 70, 0.8, 0.7, 0.9, 0.05, 10**9)
    return pack(TuneReply("a", (line,), {1: "no weights here"}, 2.5))


def planted_counts() -> Packet:
    told = {"calibrated": 9, "groups": 9, "folds": 3, "threshold": 1.5, "coverage": (3,)}
    found, of = (1,) * len(CELLS), (2,) * len(CELLS)
    told |= {"planted_found": found, "planted_of": of, "planted_pictures": 8, "planted_stopped": 1}
    return pack(EvaluateReply("a", (ProductResult("plate", **told),), 1.0))


def write_state(path: Path) -> None:
    scores = Scores((0.1, 0.2), (0.3,), (0,), (0,), (0, 1))
    State(path, "q").add("as told", 2, Trial({"plate": scores}, 2, 0.1, 9, 1.0))


def settings_file(tmp: Path) -> Door:
    path = tmp / "sample.toml"
    write_settings(path, {"backbone": "filterbank", "image-size": 448}, ["why"])
    door = file_door(tmp, lambda p: p.write_bytes(path.read_bytes()), lambda p: _taken(p))
    return door


def _taken(path: Path) -> object:
    named = path.with_suffix(".toml")
    named.write_bytes(path.read_bytes())
    return settings([str(named)])


def asked(packet: Packet) -> None:
    for changes in unpack_tune_question(packet).candidates:
        assert Candidate(dict(changes)).name


TUNING_DOORS: dict[str, Callable[[Path], Door]] = {
    "candidates at a site": lambda tmp: packets([pack_tune_question(QUESTION)], asked),
    "answer to candidates": lambda tmp: packets([answer()], lambda p: unpack_tune(p, QUESTION)),
    "planted counts": lambda tmp: packets([planted_counts()], unpack_evaluate),
    "state of a tune": lambda tmp: file_door(tmp, write_state, lambda p: State.open(p, "q")),
    "settings file": settings_file,
}
