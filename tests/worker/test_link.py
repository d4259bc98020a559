"""Where a worker listens, and a node that finds none there, or one that goes away."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedpatchcore.errors import ConfigError, WorkerAway, WorkerError
from fedpatchcore.service import link
from fedpatchcore.service.bodies import pack_body
from fedpatchcore.service.frames import HEAD, Kind, read_frame, write_frame
from fedpatchcore.service.link import Link
from fedpatchcore.wire.packet import Packet
from fedpatchcore.worker.jobs import Job
from tests.support.callers import ASKED, echo, honest, in_thread
from tests.support.field import until
from tests.support.workers import listening

# -- the place -------------------------------------------------------------------------------------


def test_a_second_worker_at_one_socket_is_refused_and_the_first_goes_on(path: Path) -> None:
    with listening(path, echo) as served:
        words = f"another worker listens at {path}: end it"
        with pytest.raises(ConfigError, match=words), listening(path, echo):
            pass
        honest(served)
    with listening(path, echo) as served:  # its place is free when it has ended
        honest(served)


def test_a_socket_that_a_worker_left_behind_is_taken_over(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert path.is_socket()
    with listening(path, echo) as served:
        honest(served)


def test_a_file_that_is_no_socket_stays_as_it_is(path: Path) -> None:
    path.write_text("an image")
    words = f"cannot listen at {path}: a file that is no socket"
    with pytest.raises(ConfigError, match=words), listening(path, echo):
        pass
    assert path.read_text() == "an image"


@pytest.mark.parametrize("name", ["folder", "file/below"])
def test_a_place_that_cannot_be_used_names_another(place: Path, name: str) -> None:
    (place / "folder").mkdir()
    (place / "file").write_text("")
    words = "cannot listen at .*name another place with socket="
    with pytest.raises(ConfigError, match=words), listening(place / name, echo):
        pass


def test_no_worker_is_said_with_the_way_to_start_one(path: Path) -> None:
    words = (
        r"worker is away \(.*w.sock: no socket there\): start it there \(fedpatchcore worker run"
    )
    with pytest.raises(WorkerAway, match=words):
        Link(path).answer(ASKED)
    with pytest.raises(WorkerAway, match="no socket there"):
        Link(path).health()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(WorkerAway, match="Connection refused"):
        Link(path).answer(ASKED)


def test_a_node_waits_for_a_worker_that_comes(path: Path, quick) -> None:
    lines: list[str] = []
    thread, got = in_thread(Link(path, patience=30, say=lines.append))
    until(lambda: bool(lines), 10, "nothing was said")
    assert "no socket there), waiting up to 30 s for it" in lines[0]
    with listening(path, echo):
        thread.join(10)
    assert got == [Packet(texts={"run": "7"})]


# -- a worker that goes away -------------------------------------------------------------------


class Script:
    """A worker that does what a test says with each connection: frames to send, then it closes."""

    def __init__(self, path: Path, *scripts: list[tuple[Kind, dict]]) -> None:
        self.taken = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(4)
        self._thread = threading.Thread(target=self._run, args=(scripts,), daemon=True)
        self._thread.start()

    def _run(self, scripts: tuple) -> None:
        for script in scripts:
            connection, _ = self._socket.accept()
            with connection:
                self.taken += 1
                write_frame(connection, Kind.HELLO, {"site": "plant-a"})
                if script:
                    read_frame(connection)
                for kind, told in script:
                    if kind == Kind.ANSWER:
                        write_frame(connection, kind, body=pack_body(told, {}))
                    else:
                        write_frame(connection, kind, told)
        self._socket.close()


ANSWER = (Kind.ANSWER, {"numbers": {}, "texts": {"run": "7"}})
WORKING = (Kind.PROGRESS, {"state": "working", "phase": "extract"})


def test_each_break_after_a_word_begins_the_patience_anew(path: Path, quick) -> None:
    """A worker that works and dies again and again is waited for each time; the answer comes."""
    lines: list[str] = []
    script = Script(path, [WORKING], [WORKING], [WORKING], [ANSWER])
    link = Link(path, patience=1.0, say=lines.append)
    assert link.answer(ASKED) == Packet(texts={"run": "7"})
    assert script.taken == 4
    assert any("closed it), waiting up to 1 s" in line for line in lines)


def test_a_worker_that_dies_before_a_word_uses_up_the_patience(path: Path, quick) -> None:
    Script(path, *[[] for _ in range(100)])
    with pytest.raises(WorkerAway, match="worker is away"):
        Link(path, patience=0.3).answer(ASKED)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([(Kind.HELLO, {})], "said hello in place of progress"),
        ([(Kind.REFUSED, {"reason": "no\n  way", "again": False})], "^no way$"),
        ([(Kind.REFUSED, {"reason": "x" * 9999})], "^x{500}$"),
        ([(Kind.REFUSED, {})], "^$"),
        ([(Kind.ANSWER, {"numbers": {}})], "no table 'texts'"),
        ([(Kind.ANSWER, {"numbers": {"a": 1}, "texts": {}})], "no list of numbers"),
    ],
)
def test_what_a_worker_says_is_checked_too(path: Path, script: list, words: str) -> None:
    Script(path, script)
    with pytest.raises(WorkerError, match=words) as told:
        Link(path, patience=60).answer(ASKED)
    assert not isinstance(told.value, WorkerAway)  # waiting mends nothing


def test_an_answer_beyond_what_the_worker_says_is_refused_by_its_head(path: Path) -> None:
    """Before any memory is taken for it."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                write_frame(connection, Kind.HELLO, {"site": "plant-a", "largest": 1000})
                read_frame(connection, largest=1 << 20)
                connection.sendall(HEAD.pack(b"FPCW", 1, Kind.ANSWER, 0, 1001))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(WorkerError, match=r"a message of 1,001 bytes; 1,000 is the most"):
            Link(path, patience=600).answer(ASKED)
        thread.join()


def test_a_busy_worker_is_asked_less_and_less_often(path: Path, monkeypatch) -> None:
    """What waits for long fills no log, and does not send its packet each second."""
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(link, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    refused = [(Kind.REFUSED, {"reason": "its queue=0 is full", "again": True})]
    script = Script(path, *[refused] * 20, [])
    lines: list[str] = []
    with pytest.raises(
        WorkerAway, match=r"worker is busy \(its queue=0 is full\): ask again later"
    ):
        Link(path, patience=60, say=lines.append).answer(ASKED)
    assert pauses == [2.0, *[4.0], *[8.0] * 6, 6.0]
    assert script.taken == len(pauses) + 1
    assert lines == ["worker busy (its queue=0 is full), waiting up to 60 s for it"]


def test_a_worker_of_another_protocol_is_said_and_not_waited_for(path: Path) -> None:
    """As after an upgrade of one side alone."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def hello() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(HEAD.pack(b"FPCW", 2, Kind.HELLO, 0, 2) + b"{}")

        thread = threading.Thread(target=hello)
        thread.start()
        with pytest.raises(WorkerError, match="install one version of fedpatchcore for both"):
            Link(path, patience=600).answer(ASKED)
        thread.join()


def test_a_worker_that_ends_asks_its_caller_to_come_again(path: Path, quick) -> None:
    """Work given up because the worker ends is no answer: the next worker does it."""
    lines: list[str] = []
    ended = threading.Event()

    def ends(job: Job) -> tuple[bytes, bool]:
        ended.set()
        return b"", False

    with listening(path, ends):
        thread, got = in_thread(Link(path, patience=30, say=lines.append))
        assert ended.wait(10)
        until(lambda: any("the worker ends" in line for line in lines), 10, "not told")
    with listening(path, echo):
        thread.join(10)
    assert got == [Packet(texts={"run": "7"})]
