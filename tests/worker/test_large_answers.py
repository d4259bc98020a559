"""An answer is bounded as a request is: by the site's own word."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from fedpatchcore.service.bodies import unpack_body
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker.jobs import Job
from fedpatchcore.worker.running import _Worker
from fedpatchcore.worker.settings import WorkerConfig
from tests.support.callers import ASKED
from tests.support.workers import asked, body


def done(packet: Packet, most: int) -> tuple[dict, bool]:
    """What a worker with this bound on a message, in bytes, says where its work gives a packet."""
    told = {"site": "plant-a", "data": "/d", "largest-message": most / 1e9}
    worker = _Worker(WorkerConfig.parse(told, where="test"))
    worker._service = SimpleNamespace(answer=lambda request, *watchers: packet)
    answer, keep = worker._do(Job(asked("train"), float("inf")))
    return unpack_body(answer)[0]["texts"], keep


def test_an_answer_larger_than_the_site_says_does_not_leave(caplog) -> None:
    packet = Packet({"rows": np.ones((100, 51), np.float32)}, texts={"site": "plant-a"})
    size = len(body(packet))
    assert done(packet, size) == ({"site": "plant-a"}, True)
    assert not caplog.text
    caplog.set_level(logging.ERROR)
    texts, keep = done(packet, size - 1)
    words = f"answers with {size - 1:,} bytes at most, this answer has {size:,}"
    for told in (texts["failure"], caplog.text):
        assert words in told and "largest-message" in told
    assert "\n" not in texts["failure"]
    assert (texts["site"], keep) == ("plant-a", False)  # a refusal is not kept


@pytest.mark.parametrize("error", [ValueError("/data/images/1.png"), MemoryError()])
def test_what_breaks_is_told_by_its_kind_alone(error: Exception, caplog) -> None:
    def breaks(*_: object) -> Packet:
        raise error

    worker = _Worker(WorkerConfig.parse({"site": "plant-a", "data": "/d"}, where="test"))
    worker._service = SimpleNamespace(answer=breaks)
    answer, keep = worker._do(Job(ASKED, float("inf")))
    told = unpack_body(answer)[0]["texts"]["failure"]
    assert told == f"{type(error).__name__}: the log of the site's worker has it"
    assert not keep
    assert str(error) in caplog.text
