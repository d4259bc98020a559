"""A form starts what the command line would, refuses what it would, and loses nothing."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from fedpatchcore.config import SHEETS, RunConfig
from fedpatchcore.control.fields import groups
from fedpatchcore.control.room import Room
from fedpatchcore.control.starting import OURS, Nowhere
from fedpatchcore.control.tables import Run
from fedpatchcore.errors import ConfigError, RunError
from fedpatchcore.settings import describe
from tests.support.control import Flower, add_run, append, csrf_of, logged_in, program, run_events
from tests.support.events import event


@pytest.fixture
def operator(room: Room):
    found = logged_in(room, "olga", "operator")
    found.csrf = csrf_of(found)
    return found


def run(room: Room, number: int = 1) -> Run:
    with room.database.read() as session:
        return session.scalars(select(Run).where(Run.id == number)).one()


def fields(text: str) -> dict[str, str]:
    """What a browser would send of the form as it stands."""
    told = dict(re.findall(r'<input name="([^"]+)" value="([^"]*)"', text))
    for name, options in re.findall(r'<select name="([^"]+)">(.*?)</select>', text, re.S):
        told[name] = re.search(r'value="([^"]*)" selected', options)[1]
    return told


def test_the_form_has_every_setting_with_help_and_range(operator) -> None:
    page = operator.get("/start").text
    listed = [one for sheet in SHEETS for one in describe(sheet)]
    told = fields(page)
    assert {one.key for one in listed} - set(OURS) == set(told) - {"csrf", "run-name"}
    for one in listed:
        if one.key not in OURS:
            assert one.help.split("'")[0].split('"')[0].split("<")[0][:40] in page, one.key
    assert RunConfig.parse({}, where="t").table() == RunConfig().table()
    assert sum(len(g.fields) for g in groups({})) == len(listed) - len(OURS)


def test_the_form_as_it_stands_is_the_defaults(room: Room, operator, flower: Flower) -> None:
    told = fields(operator.get("/start").text) | {"csrf": operator.csrf, "run-name": "plain"}
    answer = operator.post("/start", data=told)
    assert answer.headers["location"] == "/runs/1"
    assert flower.taken == [{"out-dir": str(room.root), "run-name": "plain"}]
    assert (run(room).state, run(room).origin, run(room).flower) == ("submitted", "olga", "701")


def test_what_is_changed_is_handed_over_and_shown_beside_the_default(
    room: Room, operator, flower: Flower
) -> None:
    told = {
        "csrf": operator.csrf,
        "num-rounds": "3",
        "backbone": "filterbank",
        "target-fpr": "1e-2",
    }
    told |= {"compare-local": "false", "run-name": "r"}
    assert operator.post("/start", data=told).status_code == 303
    (taken,) = flower.taken
    assert (taken["num-rounds"], taken["target-fpr"], taken["compare-local"]) == (3, 0.01, False)
    page = operator.get("/start?like=1").text
    assert fields(page)["num-rounds"] == "3" and "default: <code>1</code>" in page
    assert page.count("1 changed") >= 2


@pytest.mark.parametrize(
    "told",
    [
        {"num-rounds": "0"},
        {"num-rounds": "many"},
        {"num-rounds": "1.5"},
        {"num-rounds": "1\nx = 2"},
        {"num-rounds": "[1]"},
        {"seed": ""},
        {"compare-local": "perhaps"},
        {"backbone": "filterbnk"},
        {"no-such-key": "1"},
        {"target-fpr": "nan"},
        {"aggregation": "coordinate_median", "min-sites": "2"},
        {"run-name": "../elsewhere"},
        {"run-name": ".hidden"},
        {"out-dir": "/tmp"},
        {"resume": "/etc"},
    ],
)
def test_what_the_command_line_refuses_is_refused_in_its_words(
    room: Room, operator, flower: Flower, told: dict
) -> None:
    answer = operator.post("/start", data={"csrf": operator.csrf, **told})
    assert answer.status_code == 400
    (line,) = re.findall(r'role="alert">([^<]+)<', answer.text)
    if "num-rounds" in told and told["num-rounds"] == "0":
        with pytest.raises(ConfigError) as caught:
            RunConfig.parse({"num-rounds": 0}, where="settings")
        assert line.replace("&#39;", "'") == str(caught.value)
    if "backbone" in told:
        assert "did you mean &#39;filterbank&#39;?" in line and 'value="filterbnk"' in answer.text
    assert flower.taken == []
    with room.database.read() as session:
        assert session.scalars(select(Run)).all() == []


def test_a_name_is_taken_once(room: Room, operator) -> None:
    add_run(room, "there")
    for name, status in (("new", 303), ("new", 400), ("there", 400)):
        told = {"csrf": operator.csrf, "run-name": name}
        assert operator.post("/start", data=told).status_code == status


def test_a_run_started_here_is_one_row_from_submission_to_results(room: Room, operator) -> None:
    operator.post("/start", data={"csrf": operator.csrf, "run-name": "r", "coreset-size": "9"})
    folder = room.root / "r"
    folder.mkdir()
    (folder / ".identity").write_text("r-1")
    append(folder, run_events())
    room.mirror.look()
    with room.database.read() as session:
        (found,) = session.scalars(select(Run)).all()
    assert (found.state, found.origin, found.identity) == ("finished", "olga", "r-1")
    told = [line for line in room.trail.lines() if '"run.' in line]
    assert len(told) == 1 and '"run.started"' in told[0] and '"coreset-size": 9' in told[0]


def test_what_flower_refuses_is_told_and_noted(room: Room, operator, flower: Flower) -> None:
    flower.wrong = RunError("cannot reach the SuperLink")
    answer = operator.post("/start", data={"csrf": operator.csrf, "run-name": "r"})
    assert answer.status_code == 400 and "cannot reach the SuperLink" in answer.text
    assert (run(room).state, run(room).headline) == (
        "failed",
        "not started: cannot reach the SuperLink",
    )


def test_a_run_is_stopped_and_gone_on_with(room: Room, operator, flower: Flower) -> None:
    folder = add_run(room, "r", run_events(over=False), num_rounds=2)
    room.mirror.look()
    told = {"csrf": operator.csrf}
    assert operator.post("/runs/1/resume", data=told).status_code == 400
    assert operator.post("/runs/1/stop", data=told).status_code == 303
    assert flower.stopped == ["7"] and run(room).headline == "stopped by olga"
    append(folder, [event("waiting", 60, online=1, wanted=2)])  # last words
    room.mirror.look()
    assert run(room).state == "stopped"
    assert operator.post("/runs/1/stop", data=told).status_code == 400
    assert operator.post("/runs/1/resume", data=told).status_code == 303
    assert flower.taken == [{"num-rounds": 2, "resume": str(folder)}]
    append(folder, [event("started", 90, run="8", resumed_after=1)])
    room.mirror.look()
    assert (run(room).state, run(room).flower) == ("running", "8")
    told = [line for line in room.trail.lines() if "olga" in line]
    assert sum('"run.stopped"' in line or '"run.resumed"' in line for line in told) == 2


def test_a_run_without_a_connection_is_not_started(room: Room, operator) -> None:
    room.starter.flower = Nowhere()
    answer = operator.post("/start", data={"csrf": operator.csrf})
    assert answer.status_code == 400 and "--connection or --simulate" in answer.text


def test_settings_are_kept_under_a_name(room: Room, operator, flower: Flower) -> None:
    told = {"csrf": operator.csrf, "num-rounds": "4", "keep": "yes"}
    assert operator.post("/start", data=told | {"preset": ""}).status_code == 400
    assert operator.post("/start", data=told | {"preset": "four"}).status_code == 303
    assert flower.taken == []
    assert fields(operator.get("/start?preset=four").text)["num-rounds"] == "4"
    assert ">four</a>" in operator.get("/start").text


def test_a_program_starts_a_run(room: Room, flower: Flower) -> None:
    told = {"num-rounds": 2, "compare-local": False, "run-name": "r"}
    answer = program(room, "operator").post("/api/runs", json=told)
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    assert flower.taken[0]["num-rounds"] == 2 and run(room).origin == "key operator key"
