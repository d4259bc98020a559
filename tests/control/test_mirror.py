"""The results folder is the truth: what stands there is seen, once, whoever started the run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sqlalchemy import func, select

from fedpatchcore.control import following, looked
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import Run, RunDetail, Site
from fedpatchcore.errors import ControlError
from fedpatchcore.web.tables import Audit
from tests.support.control import SITES, Flower, add_run, append, open_room, run_events
from tests.support.events import asked, event, trained


def runs(room: Room) -> list[Run]:
    with room.database.read() as session:
        return list(session.scalars(select(Run).order_by(Run.id)))


def detail(room: Room, run_id: int = 1) -> RunDetail:
    with room.database.read() as session:
        return session.get(RunDetail, run_id)


def test_a_run_of_the_command_line_appears_with_sites_figures_and_settings(room: Room) -> None:
    add_run(room, "one", num_rounds=1, coreset_size=9)
    assert room.mirror.look() == 1
    (run,) = runs(room)
    assert (run.folder, run.state, run.flower, run.origin) == ("one", "finished", "7", "")
    assert (run.round, run.rounds, run.sites, run.wrong) == (1, 1, 2, 0)
    assert run.found == [18, 20] and run.stopped == [2, 20]
    assert run.auroc == pytest.approx(0.9) and run.megabytes == pytest.approx(4.0)
    told = detail(room)
    assert told.settings["coreset-size"] == 9
    assert [row["site"] for row in told.table] == list(SITES)
    assert [row["federated"] for row in told.results] == [0.9, 0.9]
    with room.database.read() as session:
        north = session.get(Site, "north")
    assert (north.images, north.products, north.device) == (40, ["plate"], "cpu")
    assert room.mirror.look() == 0


def test_a_run_is_followed_event_by_event_and_a_line_in_the_making_waits(room: Room) -> None:
    folder = add_run(room, "one", run_events(over=False)[:4])
    room.mirror.look()
    assert runs(room)[0].state == "running"
    assert "0 of 2 sites answered" in runs(room)[0].headline
    before, line = room.mirror.version, json.dumps(trained("north"))
    with (folder / "events.jsonl").open("a") as file:
        file.write(line[:40])
    room.mirror.look()
    assert "0 of 2" in runs(room)[0].headline
    with (folder / "events.jsonl").open("a") as file:
        file.write(line[40:] + "\n")
    room.mirror.look()
    assert "1 of 2 sites answered" in runs(room)[0].headline
    assert room.mirror.version > before


def test_a_restart_in_mid_run_loses_nothing(tmp_path: Path) -> None:
    first = open_room(tmp_path)
    events = run_events()
    folder = add_run(first, "one", events[:5])
    first.mirror.look()
    first.close()
    append(folder, events[5:8])  # nobody looks
    again = open_room(tmp_path)
    again.mirror.look()
    append(folder, events[8:])
    again.mirror.look()
    seen = runs(again)[0]
    again.close()
    whole = open_room(make(tmp_path / "other"))
    add_run(whole, "one", events)
    whole.mirror.look()
    expected = runs(whole)[0]
    whole.close()
    same = [c.name for c in Run.__table__.columns if c.name != "stamp"]
    assert {k: getattr(seen, k) for k in same} == {k: getattr(expected, k) for k in same}


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_lost_data_base_is_made_again_from_the_files(tmp_path: Path) -> None:
    for at in range(2):
        room = open_room(tmp_path)
        if not at:
            add_run(room, "one")
        room.mirror.look()
        assert [run.state for run in runs(room)] == ["finished"]
        room.close()
        for file in (tmp_path / "state").glob("control.db*"):
            file.unlink()
        (tmp_path / "state" / "audit.head").unlink()


def test_a_run_that_failed_and_is_resumed_runs_again(room: Room) -> None:
    folder = add_run(room, "one", [*run_events(over=False), event("failed", 9, reason="full")])
    room.mirror.look()
    assert (runs(room)[0].state, runs(room)[0].headline) == ("failed", "FAILED: full")
    append(folder, [event("started", 20, run="8", resumed_after=1), asked(2, *SITES)])
    room.mirror.look()
    (run,) = runs(room)
    assert (run.state, run.flower) == ("running", "8")
    assert run.headline.startswith("round 2 of 2: 0 of 2")


def test_a_folders_name_that_is_used_anew_is_another_run(room: Room) -> None:
    folder = add_run(room, "one")
    room.mirror.look()
    (folder / ".identity").write_text("one-2")
    append(folder, run_events(over=False, at=100))
    room.mirror.look()
    assert [(run.folder, run.state) for run in runs(room)] == [
        ("one", "finished"),
        ("one", "running"),
    ]
    assert runs(room)[1].begun_at - runs(room)[0].begun_at == 100_000


def test_an_earlier_run_read_later_takes_no_sites_word_back(room: Room) -> None:
    add_run(room, "b", run_events(at=1000))
    room.mirror.look()
    older = [one | {"images": 1} if one["event"] == "site" else one for one in run_events()]
    add_run(room, "a", older)
    room.mirror.look()
    with room.database.read() as session:
        assert session.get(Site, "north").images == 40


def test_what_is_no_run_is_left_aside_and_what_is_damaged_is_told(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    append(secret, run_events())
    root = room.root
    (root / "link").symlink_to(secret)  # a folder elsewhere
    for name in ("empty", "through", "pipe", "junk", "large", ".hidden"):
        (root / name).mkdir()
    (root / "through" / "events.jsonl").symlink_to(secret / "events.jsonl")
    os.mkfifo(root / "pipe" / "events.jsonl")
    (root / "junk" / "events.jsonl").write_bytes(b"\x00\xff{]\n" * 50 + b'{"event": 7}\n[[[[\n')
    (root / "junk" / "config.json").write_text("[" * 100_000)
    append(root / ".hidden", run_events())
    append(root / "large", run_events())
    monkeypatch.setattr(following, "MOST", 1500)
    add_run(room, "good", run_events()[:3])
    room.mirror.look()
    told = {run.folder: run for run in runs(room)}
    assert set(told) == {"through", "pipe", "junk", "large", "good"}
    assert {n: told[n].state for n in ("through", "pipe", "large")} == dict.fromkeys(
        ("through", "pipe", "large"), "unreadable"
    )
    assert "no plain file" in told["pipe"].headline and "larger than" in told["large"].headline
    assert told["junk"].state == told["good"].state == "running"
    assert all("\n" not in run.headline for run in told.values())


def test_a_folder_that_nobody_foresaw_keeps_no_other_from_being_seen(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, told = following.Following.table, []

    def broken(follow: following.Following) -> list:
        if follow.folder == "b":
            raise OverflowError("too far")
        return table(follow)

    monkeypatch.setattr(following.Following, "table", broken)
    room.mirror.say = told.append
    for name in ("a", "b", "c"):
        add_run(room, name)
    room.mirror.look()
    assert [(run.folder, run.state) for run in runs(room)] == [
        ("a", "finished"),
        ("b", "unreadable"),
        ("c", "finished"),
    ]
    assert runs(room)[1].headline == "OverflowError: too far"
    assert told == ["! run b: OverflowError: too far"] and room.mirror.look() == 0


def test_what_the_data_base_refused_is_taken_in_once_it_can(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(room, "one")
    with monkeypatch.context() as patch:
        patch.setattr(room.database, "write", lambda: _refused())
        with pytest.raises(ControlError, match="locked"):
            room.mirror.look()
    assert runs(room) == []
    room.mirror.look()
    (run,) = runs(room)
    assert (run.state, run.sites) == ("finished", 2)


def _refused():
    raise ControlError("locked")


def test_only_so_many_folders_are_looked_at(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(looked, "FOLDERS", 3)
    for at in range(5):
        (tmp_path / str(at)).mkdir()
    assert len(looked.folders(tmp_path)) == 3
    assert looked.folders(tmp_path / "not there") == []


def test_the_trail_says_what_the_command_line_did(room: Room, flower: Flower) -> None:
    add_run(room, "one")
    room.mirror.look()
    room.mirror.look()
    with room.database.read() as session:
        told = [json.loads(one) for one in session.scalars(select(Audit.record))]
    (found,) = [one for one in told if one["what"] == "run.found"]
    assert (found["who"], found["on"]) == ("command line", "one")


def test_many_runs_are_looked_at_with_so_many_queries_a_run(room: Room) -> None:
    for at in range(6):
        add_run(room, f"run{at}", run_events(names=[f"s{n}" for n in range(40)]))
    before = room.database.queries
    room.mirror.look()
    each = (room.database.queries - before) / 6
    assert each <= 20  # whatever the number of sites
    with room.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Site)) == 40
    before = room.database.queries
    room.mirror.look()
    assert room.database.queries == before
