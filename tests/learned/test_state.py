"""What a site keeps between rounds: it survives a restart, and goes when it no longer fits."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.state import ClientState, Kept
from tests.support.places import ROOT

LIKE = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}


def arrays(value: float) -> dict[str, np.ndarray]:
    return {k: np.full_like(v, value) for k, v in LIKE.items()}


def same(one: dict | None, other: dict | None) -> bool:
    if one is None or other is None:
        return one is other
    return set(one) == set(other) and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def state(tmp_path: Path, lines: list[str]) -> ClientState:
    return ClientState(tmp_path / "state", "run-1", lines.append)


def names(state: ClientState) -> list[str]:
    return sorted(p.name for p in state.folder.iterdir())


def test_the_first_round_has_nothing_and_says_nothing(state, lines) -> None:
    assert state.load(0, LIKE) == Kept()
    assert lines == []


@pytest.mark.parametrize("memory", [None, arrays(0.25)])
@pytest.mark.parametrize("control", [None, arrays(-2.0)])
def test_what_was_kept_is_found_again(state, lines, control, memory) -> None:
    state.save(Kept(3, control, memory), LIKE)
    found = state.load(3, LIKE)
    assert found.round == 3 and lines == []
    assert same(found.control, control) and same(found.memory, memory)
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700


def test_what_was_kept_is_there_after_a_restart(state, lines) -> None:
    """A process that is killed right after it saved; another reads."""
    code = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from fedpatchcore.learned.state import ClientState, Kept\n"
        "like = {'w': np.zeros((2, 3), np.float32), 'b': np.zeros(3, np.float32)}\n"
        "full = lambda v: {k: np.full_like(o, v) for k, o in like.items()}\n"
        f"state = ClientState(Path({str(state.folder)!r}), 'run-1', print)\n"
        "state.save(Kept(3, full(-2.0), full(0.25)), like)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    found = state.load(3, LIKE)
    assert found.round == 3 and lines == []
    assert same(found.control, arrays(-2.0)) and same(found.memory, arrays(0.25))


def test_an_answer_that_the_server_never_took_is_undone(state, lines) -> None:
    state.save(Kept(1, arrays(1.0)), LIKE)
    assert same(state.load(1, LIKE).control, arrays(1.0))
    state.save(Kept(2, arrays(2.0)), LIKE)  # its answer is lost on its way
    assert names(state) == ["round-1.safetensors", "round-2.safetensors"]
    assert same(state.load(1, LIKE).control, arrays(1.0))
    assert lines == [
        "dropped the training state round-2.safetensors: of the site's answers the server last "
        "took that of round 1"
    ]
    assert names(state) == ["round-1.safetensors"]


def test_what_is_superseded_goes_without_a_word(state, lines) -> None:
    for round in (1, 2):
        state.save(Kept(round, arrays(round)), LIKE)
    assert same(state.load(2, LIKE).control, arrays(2.0))
    assert lines == [] and names(state) == ["round-2.safetensors"]


def test_a_server_that_took_none_of_this_sites_answers_is_believed(state, lines) -> None:
    state.save(Kept(4, arrays(1.0)), LIKE)
    assert state.load(0, LIKE) == Kept()
    assert "last took none" in lines[0] and names(state) == []


def test_a_state_that_is_gone_is_told(state, lines) -> None:
    assert state.load(5, LIKE) == Kept()
    assert lines == ["nothing is kept of round 5: control variate and error memory start anew"]


def test_another_runs_state_is_dropped(state, lines) -> None:
    state.save(Kept(2, arrays(1.0)), LIKE)
    other = ClientState(state.folder, "run-2", lines.append)
    assert other.load(2, LIKE) == Kept()
    assert "it belongs to run run-1, this is run-2" in lines[0] and names(state) == []


def test_another_models_state_is_dropped(state, lines) -> None:
    state.save(Kept(2, arrays(1.0)), LIKE)
    wider = {**LIKE, "b": np.zeros(4, np.float32)}
    assert state.load(2, wider) == Kept()
    assert "model of other parameters" in lines[0]


@pytest.mark.parametrize("spoil", [lambda b: b[:-5], lambda b: b[:-1] + b"\x7f", lambda b: b""])
def test_a_damaged_state_is_dropped(state, lines, spoil) -> None:
    state.save(Kept(2, arrays(1.0)), LIKE)
    path = state.folder / "round-2.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    assert state.load(2, LIKE) == Kept()
    assert "damaged" in lines[0] and "start anew" in lines[1] and names(state) == []


def test_a_disk_that_takes_nothing_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = ClientState(tmp_path / "file" / "state", "run-1", print)
    with pytest.raises(TrainingError, match=r"cannot keep the state of round 1 .* make room"):
        state.save(Kept(1, arrays(1.0)), LIKE)


def test_a_run_that_is_over_leaves_nothing(state) -> None:
    state.save(Kept(1, arrays(1.0)), LIKE)
    state.clear()
    assert names(state) == []
