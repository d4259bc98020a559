"""Work done in this process and asked for over a socket: the same answers, bit for bit."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.warm import Warm
from fedpatchcore.privacy import noise
from fedpatchcore.privacy.codebook import ANY, public_codebook
from fedpatchcore.service.request import Request
from fedpatchcore.service.site_service import SiteService
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.delta import Broadcast
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker.jobs import Job
from tests.support.private import charges
from tests.support.products import picture
from tests.support.workers import SETTINGS, asked, bank_of, body, deterministic, listening

pytestmark = pytest.mark.usefixtures("one_thread")

Answer = Callable[[Request], Packet]


@pytest.fixture
def service(data: Path, tmp_path: Path) -> Callable[..., SiteService]:
    """A service of the site, with folders of its own."""

    def make(folder: str, *, warm: Warm | None = None, **words: object) -> SiteService:
        own = {name: str(tmp_path / folder / name) for name in ("cache", "out", "ledger")}
        node = NodeConfig(site="plant-a", data=str(data), **own, **words)
        return SiteService(node, name="x", log=logging.getLogger("test"), warm=warm)

    return make


@pytest.fixture
def both(service, place: Path):
    """The work done here, and behind a socket by a process that keeps things in memory."""
    behind = service("worker", warm=Warm(10**8))

    def do(job: Job) -> tuple[bytes, bool]:
        packet = behind.answer(job.request, job.watch)
        return body(packet), "failure" not in packet.texts

    with listening(place / "w.sock", do) as socket:
        yield service("direct").answer, socket.link().answer


def run(answer: Answer, data: Path, wire: str) -> list[dict]:
    """Two rounds with a new image between them; all that the site answered."""
    told, broadcast = [], Broadcast(wire)

    def ask(verb: str, packet: Packet, round: int) -> Packet:
        packet = answer(asked(verb, packet, round=round, wire=wire))
        told.append(deterministic(packet))
        return packet

    ask("facts", Packet(), 1)
    trained = ask("train", Packet(), 1)
    bank = broadcast.publish(bank_of(trained, wire=wire))
    first = ask("evaluate", broadcast.packet(bank), 1)
    new = data / "plate" / "train" / "good" / "new.png"
    picture(77_000, defect=True).save(new)
    second = ask("train", broadcast.packet(bank, holds=first.texts["holds"]), 2)
    assert second.texts["kind"] == "delta"
    ask("evaluate", broadcast.packet(bank, holds=second.texts["holds"]), 2)
    new.unlink()
    return told


@pytest.mark.parametrize("wire", ["float32", "int8"])
def test_facts_train_and_evaluate_over_two_rounds(both, data: Path, wire: str) -> None:
    here, there = (run(answer, data, wire) for answer in both)
    for verb, one, other in zip(
        ("facts", "train", "evaluate", "train again", "evaluate again"), here, there, strict=True
    ):
        assert one == other, verb
    assert here[1]["arrays"].keys() == {"plate", "ring"}


def test_a_failure_is_the_same_failure(both) -> None:
    for request in (
        asked("facts", products="nothing-of-the-kind"),
        asked("train", no_such_setting=1),
        asked("evaluate", Packet({}, {}, {"bank": "{}"})),
        asked("evaluate", Packet({}, {}, {"bank": "{}", "wire": '{"base": "x"}'})),
    ):
        here, there = (answer(request) for answer in both)
        assert here.texts["failure"]
        assert here == there


def test_a_private_release(both, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With noise of a seed in the place of the system's: values, figures and charge are equal."""
    config = RunConfig.parse(SETTINGS, where="test")
    backbone = build_backbone(config)
    public = tmp_path / "public.png"
    picture(40_000).save(public)
    features, _, _ = Extractor(backbone).all([public])
    features = features.dense()
    rows = features.reshape(-1, features.shape[-1])
    book = public_codebook(rows, 8, 4, seed=0, source="pictures")
    private = {"dp": "cells", "dp_epsilon": 1.0, "num_rounds": 1}
    request = asked("train", pack_codebooks({ANY: book}), **private)
    drawn = noise.rounded_gaussian

    def told(answer: Answer) -> dict:
        seeded = random.Random(5)
        monkeypatch.setattr(
            "fedpatchcore.privacy.sums.rounded_gaussian",
            lambda sigma, size, **_: drawn(sigma, size, randbytes=seeded.randbytes),
        )
        found = deterministic(answer(request))
        note = json.loads(found["texts"].pop("privacy"))
        note.pop("begun")
        return {**found, "note": note}

    here, there = (told(answer) for answer in both)
    assert here == there
    assert here["note"]["again"] is False
    for folder in ("direct", "worker"):
        paid = charges(tmp_path / folder / "ledger")
        assert [(charge.section, charge.mechanism) for charge in paid] == [
            ("plate", "cells"),
            ("ring", "cells"),
        ]
