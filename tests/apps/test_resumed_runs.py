"""Runs that end early and are resumed: checkpoints, kept coresets, a full disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import Message

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import ConfigError, RunError
from tests.support.products import write_product


def test_a_run_resumes_after_the_last_complete_round(run, tmp_path: Path) -> None:
    whole, _, _ = run(num_rounds=2)
    expected = (whole / "bank.safetensors").read_bytes()
    (whole).rename(tmp_path / "whole")
    folder, _, _ = run(num_rounds=1)
    again, metrics, _ = run(num_rounds=2, resume=str(folder))
    assert again == folder
    assert [r["round"] for r in metrics["rounds"]] == [1, 2]
    assert (folder / "bank.safetensors").read_bytes() == expected


def test_resume_says_what_is_missing(run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to resume"):
        run(resume=str(tmp_path / "nowhere"))
    folder, _, _ = run()
    with pytest.raises(ConfigError, match="aggregation='federated_coreset'"):
        run(num_rounds=2, resume=str(folder), aggregation="simple_concatenate")


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """The server's disk takes so many coresets and then no more; returns what it was asked."""
    from fedpatchcore.bank import contribution

    real, asked = contribution.write_atomically, []

    def write(path: Path, content, **told) -> None:
        asked.append(path.name)
        if len(asked) > after:
            raise OSError(28, "No space left on device")
        real(path, content, **told)

    monkeypatch.setattr(contribution, "write_atomically", write)
    return asked


def test_a_full_disk_in_the_first_round_ends_the_run_and_says_what_to_do(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, after=1)
    with pytest.raises(
        RunError, match=r"cannot keep the coreset of site 'south' \(.* MB\) .*No space.*resume="
    ):
        run()
    folder = tmp_path / "runs" / "run"
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "failed"
    assert "'south'" in last["reason"]
    assert len(list((folder / "coresets").iterdir())) == 1  # whole files only
    monkeypatch.undo()
    again, metrics, _ = run(resume=str(folder))
    assert set(metrics["rounds"][0]["train"]) == {"north", "south", "west"}
    assert MemoryBank.load(again / "bank.safetensors").round == 1


def test_a_full_disk_later_keeps_the_last_checkpoint(
    run, sites_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new image in round 2 makes a delta that the disk does not take."""
    asked = full_disk(monkeypatch, after=3)

    def grows(node: int, kind: str, reply: Message) -> Message:
        if (node, kind) == (13, "evaluate"):
            write_product(sites_folder / "north" / "plate", train=14, seed=77_000)
        return reply

    with pytest.raises(RunError, match="cannot keep the coreset of site 'north'"):
        run(grows, num_rounds=2)
    folder = tmp_path / "runs" / "run"
    assert len(asked) == 4
    assert [p.name for p in (folder / "rounds").iterdir()] == ["0001"]
    assert MemoryBank.load(folder / "bank.safetensors").round == 1
    monkeypatch.undo()
    _, metrics, _ = run(num_rounds=2, resume=str(folder))
    assert [r["round"] for r in metrics["rounds"]] == [1, 2]
    assert metrics["rounds"][1]["train"]["north"]["kind"] == "delta"


def test_a_checkpoint_writes_no_coreset_a_second_time(run) -> None:
    folder, _, _ = run()
    kept = {p.stat().st_ino for p in (folder / "coresets").iterdir()}
    saved = {p.stat().st_ino for p in (folder / "rounds" / "0001" / "coresets").iterdir()}
    assert kept == saved
    assert len(kept) == 3


def test_a_run_folder_without_kept_coresets_is_resumed_all_the_same(run, tmp_path: Path) -> None:
    """As earlier versions left it, or a disk that knows no links: the checkpoint is enough."""
    whole, _, _ = run(num_rounds=2)
    expected = (whole / "bank.safetensors").read_bytes()
    whole.rename(tmp_path / "whole")
    folder, _, _ = run(num_rounds=1)
    for path in (folder / "coresets").iterdir():
        path.unlink()
    (folder / "coresets").rmdir()
    again, _, _ = run(num_rounds=2, resume=str(folder))
    assert (again / "bank.safetensors").read_bytes() == expected
    assert len(list((again / "coresets").iterdir())) == 3


def test_what_an_interrupted_round_left_is_not_taken_for_a_coreset(run, tmp_path: Path) -> None:
    folder, _, _ = run(num_rounds=1)
    (folder / "coresets" / "stale.safetensors").write_bytes(b"half a file")
    (folder / "coresets" / ".stale.safetensors.77.part").write_bytes(b"half")
    again, metrics, _ = run(num_rounds=2, resume=str(folder))
    assert len(list((again / "coresets").iterdir())) == 3
    assert set(metrics["rounds"][1]["train"]) == {"north", "south", "west"}
