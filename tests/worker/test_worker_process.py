"""``fedpatchcore worker run`` in a process of its own: asked, killed in its work, started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from fedpatchcore.config import RunConfig
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.codebook import ANY, public_codebook
from fedpatchcore.privacy.ledger import Ledger
from fedpatchcore.service.frames import HEAD, Kind, read_frame, write_frame
from fedpatchcore.service.link import Link
from fedpatchcore.service.request import Request
from fedpatchcore.wire.codebooks import pack_codebooks
from fedpatchcore.wire.packing import pack
from tests.support.callers import as_another, connected, in_thread, request_body
from tests.support.field import until
from tests.support.private import charges
from tests.support.products import picture, write_product
from tests.support.workers import SETTINGS, Worker, asked, bank_of, deterministic

pytestmark = pytest.mark.slow

EXTRACT = "fedpatchcore.features.extraction:Extractor._begun"
DELIVER = "fedpatchcore.privacy.ledger:Ledger._deliver"
WRITE = "fedpatchcore.files:write_atomically"
FOUND = ("extracted", "cached")  # in the cache, by whoever was killed


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with a site's images, short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="fpc-") as folder:
        Path(folder).chmod(0o755)
        write_product(Path(folder) / "data" / "plate")
        write_product(Path(folder) / "data" / "ring", seed=900, train=4, good=2, bad=2)
        write_product(Path(folder) / "data" / "secret", seed=990, train=1, good=1, bad=1)
        yield Path(folder)


@pytest.fixture(scope="module")
def plain(root: Path) -> Iterator[Worker]:
    """A worker that nothing is done to; it soon gives its memory back."""
    with Worker(root / "plain", root / "data", users="4321", idle_seconds=1.0) as found:
        yield found.start()


@pytest.fixture(scope="module")
def faulty(root: Path) -> Iterator[Worker]:
    """A worker that faults can be put into."""
    with Worker(root / "faulty", root / "data", ledger=str(root / "faulty" / "ledger")) as found:
        yield found.start_with()


@pytest.fixture(scope="module")
def strict(root: Path) -> Iterator[Worker]:
    """A worker with words of its own, not yet started."""
    words = {"dp_required": True, "dp_budget_epsilon": 50.0, "evaluate": "none"}
    words |= {"most_rows": 25, "requests_an_hour": 9}
    words |= {"take_part": "plate, ring", "ledger": str(root / "strict" / "ledger")}
    with Worker(root / "strict", root / "data", **words) as found:
        yield found


def trained_and_evaluated(link: Link, **told: object) -> list[dict]:
    """What one round of a site gives."""
    train = link.answer(asked("train", **told))
    evaluate = link.answer(asked("evaluate", pack(bank_of(train)), **told))
    return [deterministic(one) for one in (train, evaluate)]


def but_for(answer: dict, *numbers: str) -> dict:
    kept = {key: value for key, value in answer["numbers"].items() if key not in numbers}
    return {**answer, "numbers": kept}


def private(*, run: str = "r", **changed: object) -> Request:
    """A train message of a private run."""
    config = RunConfig.parse(SETTINGS, where="test")
    public = Path(os.environ["FEDPATCHCORE_HOME"]) / "public.png"
    picture(40_000).save(public)
    features, _, _ = Extractor(build_backbone(config)).all([public])
    features = features.dense()
    rows = features.reshape(-1, features.shape[-1])
    book = public_codebook(rows, 8, 4, seed=0, source="pictures")
    told = {"dp": "cells", "dp_epsilon": 1.0, "num_rounds": 1, **changed}
    return asked("train", pack_codebooks({ANY: book}), run=run, **told)


@pytest.mark.long
def test_a_worker_killed_in_its_work_and_started_again_answers_the_same(plain, root) -> None:
    """SIGKILL in training and in evaluation: the node waits, and gets what it would have got."""
    undisturbed = trained_and_evaluated(Link(plain.socket))

    with Worker(root / "killed", root / "data") as one:
        one.start_with(where=EXTRACT, do="hang", after=1)
        lines: list[str] = []
        link = Link(one.socket, patience=120, say=lines.append)
        thread, found = in_thread(link, asked("train"))
        one.reach()
        one.kill()
        until(lambda: any("waiting up to 120 s" in line for line in lines), 30, "nothing was said")
        one.start_with()
        thread.join(120)
        assert "worker: extract" in lines
        train = deterministic(found[0])
        assert but_for(train, *FOUND) == but_for(undisturbed[0], *FOUND)
        assert sum(found[0].numbers["cached"]) == 2  # the first batch of two was on disk

        one.prepare(where=EXTRACT, do="hang")  # of test images: those of training are cached
        thread, again = in_thread(link, asked("evaluate", pack(bank_of(found[0]))))
        one.reach()
        one.kill()
        one.start()
        thread.join(120)
        assert deterministic(again[0]) == undisturbed[1]


def test_what_a_worker_worked_for_a_node_that_died_it_does_not_do_again(plain) -> None:
    request, before = asked("train", run="died"), plain.health()
    with connected(plain.socket) as dying:
        write_frame(dying, Kind.REQUEST, body=request_body(request))
        assert read_frame(dying).kind == Kind.PROGRESS
    until(lambda: plain.health()["kept"] == before["kept"] + 1, 60, "the work was lost")
    frames = []
    for _ in range(2):
        with connected(plain.socket) as caller:
            write_frame(caller, Kind.REQUEST, body=request_body(request))
            frames.append(read_frame(caller, largest=1 << 30))
    assert [frame.kind for frame in frames] == [Kind.ANSWER] * 2
    told = [(f.told, {k: a.tobytes() for k, a in f.arrays.items()}) for f in frames]
    assert repr(told[0]) == repr(told[1])  # the seconds it took, too
    assert plain.health()["handled"] == before["handled"] + 1


def test_memory_is_given_back_and_taken_again(plain) -> None:
    link = Link(plain.socket)
    first = trained_and_evaluated(link)
    until(lambda: "memory given back" in plain.log, 30, "nothing was given back")
    assert plain.health()["warm-mb"] == 0
    again = trained_and_evaluated(link, run="after a rest")  # its answers were not kept
    assert plain.health()["warm-mb"] > 0
    assert again[0]["arrays"] == first[0]["arrays"]
    assert again[1] == first[1]


@pytest.mark.long
def test_a_private_run_is_paid_once_however_often_the_worker_ends(strict: Worker) -> None:
    """Told to end while it extracts (an upgrade does so), then killed with two releases drawn and
    one of them noted as delivered: no refusal reaches the server, and its answer is what was drawn.
    """
    strict.start_with(where=EXTRACT, do="hang", after=1, seconds=3)
    lines: list[str] = []
    link = Link(strict.socket, patience=120, say=lines.append)
    thread, got = in_thread(link, private(coreset_size=20))
    strict.reach()
    assert strict.kill(signal.SIGTERM) == 0
    assert not strict.socket.exists()
    assert "worker ended" in strict.log
    strict.start_with(where=DELIVER, do="hang", after=1)
    strict.reach()
    assert any(line.startswith("worker away") for line in lines)
    strict.kill()
    strict.start()
    thread.join(120)
    deterministic(got[0])
    ledger = strict.root / "ledger"
    assert [charge.section for charge in charges(ledger)] == ["plate", "ring"]
    assert json.loads(got[0].texts["privacy"])["again"] is True  # drawn before it died
    drawn = [load_file(file)["values"] for file in Ledger(ledger).releases.glob("*.safetensors")]
    answered = got[0].arrays.values()
    assert sorted(a.tobytes() for a in drawn) == sorted(a.tobytes() for a in answered)


def test_its_own_words_bind_and_the_log_names_each_refusal(strict: Worker) -> None:
    if strict.process is None:
        strict.start()
    link = Link(strict.socket)

    def refusal(verb: str, **told: object) -> str:
        return link.answer(asked(verb, **told)).texts["failure"]

    cells = {"dp": "cells", "num_rounds": 1, "coreset_size": 20}
    refusals = {
        "dp-required": refusal("facts", coreset_size=20),
        "most-rows": refusal("train", **{**cells, "coreset_size": 26}),
        "evaluate='none'": refusal("evaluate", **cells),
        "opens no file": refusal("facts", **cells, weights="/etc/passwd"),
    }
    facts = link.answer(asked("facts", **cells))
    assert facts.texts["products"] == ["plate", "ring"]  # of three
    given = 0
    while "failure" not in (last := link.answer(asked("facts", **cells)).texts):
        assert (given := given + 1) < 9  # in an hour, with those that others asked for
    refusals["answers 9 requests an hour"] = last["failure"]
    for word, said in refusals.items():
        assert word in said
        assert "site 'plant-a'" in said
        assert said in strict.log


def test_work_given_up_leaves_cache_and_ledger_sound(faulty) -> None:
    request = private()
    faulty.prepare(where=EXTRACT, do="hang", after=1, seconds=3)
    with connected(faulty.socket) as caller:
        write_frame(caller, Kind.REQUEST, body=request_body(request))
        faulty.reach()
        write_frame(caller, Kind.CANCEL)
    until(lambda: faulty.health()["state"] == "idle", 30, "it goes on")
    assert "took the request back" in faulty.log
    ledger = faulty.root / "ledger"
    assert not (ledger / "ledger.jsonl").exists()  # nothing was drawn or charged
    answer = Link(faulty.socket).answer(request)
    assert json.loads(answer.texts["privacy"])["again"] is False
    assert len(charges(ledger)) == 3


def test_a_disk_that_is_full_is_said_and_the_next_request_answered(faulty) -> None:
    """Nothing leaves that the ledger on the disk does not know of, with noise or without."""
    faulty.prepare(where=WRITE, do="full", times=1000)
    link, request = Link(faulty.socket), private(run="full", dp_budget_epsilon=50.0)
    refused = link.answer(request).texts["failure"]
    assert "No space left on device" in refused
    assert "nothing was released" in refused
    faulty.prepare()  # somebody made room
    assert deterministic(link.answer(request))["texts"]["kind"] == "sums"
    paid = [charge.section for charge in charges(faulty.root / "ledger") if charge.run == "full"]
    assert paid == ["plate", "ring", "secret"]  # each once
    faulty.prepare(where=WRITE, do="full", times=1000)
    refused = link.answer(asked("train", image_size=96)).texts["failure"]
    assert "nothing was released" in refused  # the images would leave unprotected, and unnoted
    faulty.prepare()
    assert deterministic(link.answer(asked("train", image_size=96)))["texts"]["kind"] == "full"


def test_a_second_worker_at_one_socket_is_refused(plain, root: Path) -> None:
    with Worker(root / "second", root / "data", socket=str(plain.socket)) as second:
        assert second.start(ready=False).process.wait(60) == 2
        assert f"another worker listens at {plain.socket}: end it" in " ".join(second.log.split())
    assert plain.health()["state"] == "idle"


@pytest.mark.skipif(os.getuid() != 0, reason="another user takes root")
def test_a_worker_serves_the_users_it_names(plain) -> None:
    assert "does not serve user" in as_another(plain.socket, 65534)
    assert "failure" in as_another(plain.socket, 4321)  # an empty run-config, but it was asked
    assert "refused user " in plain.log
    assert "from user 4321, process " in plain.log


def test_a_body_that_is_announced_and_never_comes_takes_no_memory(plain) -> None:
    status = Path(f"/proc/{plain.process.pid}/status")

    def resident() -> int:
        (line,) = [x for x in status.read_text().splitlines() if x.startswith("VmRSS")]
        return int(line.split()[1]) // 1024

    before = resident()
    with contextlib.ExitStack() as open_:
        for _ in range(4):
            caller = open_.enter_context(connected(plain.socket))
            caller.sendall(HEAD.pack(b"FPCW", 1, Kind.REQUEST, 0, 8 * 10**9 - 1) + b"x" * 1000)
        time.sleep(0.3)
        assert resident() - before < 64
        assert plain.health()["state"] == "idle"
    assert Link(plain.socket).answer(asked("facts")).texts["site"] == "plant-a"
