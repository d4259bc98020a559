"""Nothing that was written in the trail is changed without being found."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from fedpatchcore.control.room import Room
from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor, verified
from fedpatchcore.web.tables import Audit
from tests.support.control import logged_in, program

ANNA = Actor("anna\x1b[2J", "10.0.0.1")


@pytest.fixture
def trail(room: Room):
    for number in range(5):
        with room.database.write() as session:
            room.trail.add(session, ANNA, "thing.done", f"on {number}", before=number, after="x")
        room.trail.note_head()
    return room.trail


def execute(room: Room, *statements: str) -> None:
    """As whoever has the file."""
    with room.database.write() as session:
        for one in ("DROP TRIGGER audit_update", "DROP TRIGGER audit_delete", *statements):
            session.execute(text(one))


def test_it_tells_who_did_what_on_what_from_where_before_and_after(room: Room, trail) -> None:
    head = trail.verify()
    assert head.startswith("5:") and trail.verify(head) == head
    told = json.loads(next(iter(trail.lines())))
    assert (told["who"], told["from"]) == ("anna\\x1b[2J", "10.0.0.1")
    assert (told["what"], told["on"], told["before"], told["after"]) == (
        "thing.done",
        "on 0",
        0,
        "x",
    )


def test_the_data_base_itself_refuses_to_change_it(room: Room, trail) -> None:
    for statement in ("UPDATE audit SET record = ''", "DELETE FROM audit"):
        with pytest.raises(ControlError, match="append-only"), room.database.write() as session:
            session.execute(text(statement))
    trail.verify()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit SET record = replace(record, 'on 2', 'on 9') WHERE number = 3", "record 3"),
        ("UPDATE audit SET digest = replace(digest, substr(digest, 1, 1), 'x')", "record 1"),
        ("DELETE FROM audit WHERE number = 3", "record 3: it says it is record 4"),
        ("DELETE FROM audit WHERE number = 5", "record 5: the head counts 5"),
        ("DELETE FROM audit", "the head counts 5"),
    ],
)
def test_whatever_is_changed_is_found(room: Room, trail, statement: str, words: str) -> None:
    execute(room, statement)
    with pytest.raises(ControlError, match=words):
        trail.verify()


def test_a_forged_tail_is_found_by_the_head_beside_it_or_kept_elsewhere(room: Room, trail) -> None:
    kept = trail.verify()
    execute(room, "DELETE FROM audit WHERE number = 5")
    with room.database.write() as session:  # rightly chained
        trail.add(session, ANNA, "thing.done", "another story")
    with pytest.raises(ControlError, match="record 5: it is not the record that the head names"):
        trail.verify()
    trail.note_head()
    assert trail.verify() != kept
    with pytest.raises(ControlError, match="it is not the record that the head names"):
        trail.verify(kept)


def test_a_death_before_the_head_was_written_is_no_damage(room: Room, trail) -> None:
    with room.database.write() as session:
        trail.add(session, ANNA, "thing.done", "the last")
    assert trail.verify().startswith("6:")
    trail.head_file.unlink()
    with pytest.raises(ControlError, match="is gone"):
        trail.verify()


def test_what_failed_leaves_neither_the_deed_nor_the_record(room: Room, trail) -> None:
    with pytest.raises(ZeroDivisionError), room.database.write() as session:
        trail.add(session, ANNA, "thing.done", "half")
        raise ZeroDivisionError
    assert trail.verify().startswith("5:")


def test_the_export_is_verified_without_the_data_base(room: Room, trail) -> None:
    answer = program(room, "admin").get("/trail/export")
    lines = answer.text.splitlines()
    assert verified(lines, [trail.head_file.read_text().strip()]).startswith("6:")  # and the key
    for changed in (lines[:2] + lines[3:], [lines[1], lines[0], *lines[2:]], ["{}"], ["x" * 99]):
        with pytest.raises(ControlError, match="damaged"):
            verified(changed)
    for head in ("x", "1:short", "9" * 20 + ":" + "0" * 64):
        with pytest.raises(ControlError, match="no head of a trail"):
            verified(lines, [head])


def test_the_page_says_so_when_it_was_changed(room: Room, trail) -> None:
    found = logged_in(room)
    assert "as it was written" in found.get("/trail").text
    execute(room, "UPDATE audit SET record = replace(record, 'on 2', 'on 9') WHERE number = 3")
    assert "damaged at record 3" in found.get("/trail").text


def test_numbers_are_given_once(room: Room, trail) -> None:
    with room.database.read() as session:
        assert list(session.scalars(select(Audit.number))) == [1, 2, 3, 4, 5]
    with pytest.raises((ControlError, DBAPIError)), room.database.write() as session:
        session.add(Audit(number=5, record="{}", digest="0" * 64))
