"""The control room on a real PostgreSQL: the same tables, the same promises."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from fedpatchcore.control.room import MIGRATIONS, Room
from fedpatchcore.control.tables import Base
from fedpatchcore.errors import ConfigError, ControlError
from fedpatchcore.web import database
from fedpatchcore.web import tables as everywhere
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.database import Database
from tests.support.control import (
    Flower,
    add_run,
    csrf_of,
    logged_in,
    program,
    run_events,
    small_bank,
)

ANNA = Actor("anna")
NUMBER = iter(range(99))


@pytest.fixture
def url(cluster) -> str:
    return cluster.new(f"room{next(NUMBER)}")


@pytest.fixture
def room(url: str, tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "runs").mkdir()
    found = Room.open(tmp_path / "runs", tmp_path / "state", database=url, flower=Flower())
    yield found
    found.close()


def test_the_migrations_make_the_tables_that_the_code_knows(room: Room) -> None:
    with room.database.engine.connect() as connection:
        told = compare_metadata(
            MigrationContext.configure(connection), [Base.metadata, everywhere.Base.metadata]
        )
    assert told == []
    room.database.upgrade()  # nothing more to do


def test_a_migration_that_is_cut_leaves_nothing_and_is_made_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, made, create = Database(url, MIGRATIONS), [], op.create_table

    def cut(name: str, *rest: object, **more: object) -> object:
        if len(made) == 17:  # in the second of the migrations
            raise KeyboardInterrupt
        made.append(name)
        return create(name, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", cut)
        with pytest.raises(KeyboardInterrupt):
            found.upgrade()
    assert inspect(found.engine).get_table_names() == []
    found.upgrade()
    assert {"audit", "schedule"} <= set(inspect(found.engine).get_table_names())
    found.close()


def test_the_whole_way_from_a_run_to_the_auditors_question(room: Room) -> None:
    for at in range(2):
        add_run(room, f"r{at}", run_events(at=1000 * at), bank=small_bank(at))
        room.mirror.look()
    releaser, north = logged_in(room, "rita", "releaser"), program(room, "site", "north")
    form = {"csrf": csrf_of(releaser), "product": "plate"}
    assert releaser.post("/banks/1/release", data=form).status_code == 303
    digest = north.get("/api/products/plate/bank").headers["etag"].strip('"')
    assert north.post("/api/judging", data={"product": "plate", "digest": digest}).is_success
    told = north.post("/api/alarms", data={"kind": "drift", "words": "ü ∑ 漢", "product": "plate"})
    assert told.json() == {"id": 1}
    room.schedules.add(ANNA, "nightly", {"num-rounds": 2}, "0 2 * * *", 0)
    for path in ("/overview", "/runs", "/runs/1", "/banks", "/banks/2", "/history", "/schedules"):
        assert releaser.get(path).status_code == 200, path
    assert releaser.get("/api/history?product=plate&site=north").json()["by"] == 1
    assert program(room, "viewer").get("/metrics").status_code == 200
    assert room.trail.verify()


def test_the_trail_is_append_only_and_chained_by_many_at_once(room: Room) -> None:
    for statement in ("UPDATE audit SET record = ''", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(ControlError, match="append-only"), room.database.write() as session:
            room.trail.add(session, ANNA, "x", "y")
            session.execute(text(statement))
    assert sum(1 for _ in room.trail.lines()) == 0  # with its transaction each was taken back

    def write() -> None:
        for number in range(20):
            with room.database.write() as session:
                room.trail.add(session, ANNA, "thing.done", str(number))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    room.trail.note_head()
    assert room.trail.verify().startswith("120:")


def test_a_lock_is_waited_for_and_then_told(url: str, room: Room, monkeypatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    impatient = Database(url, MIGRATIONS)
    told = pytest.raises(ControlError, match="lock timeout; nothing was changed")
    with room.database.write() as session:
        session.execute(text("SELECT 1"))
        with told, impatient.write() as other:
            other.execute(text("SELECT 1"))
        with impatient.read() as other:
            other.execute(text("SELECT * FROM run")).all()
    impatient.close()


def test_a_server_that_went_away_is_told_and_found_again(room: Room, cluster) -> None:
    caller = program(room, "viewer")
    assert caller.get("/api/runs").status_code == 200
    cluster.stop()
    try:
        answer = caller.get("/api/runs")
        assert answer.status_code == 503 and "\n" not in answer.json()["error"]
        assert "nothing was changed" in answer.json()["error"]
    finally:
        cluster.start()
    assert caller.get("/api/runs").status_code == 200


def test_a_newer_versions_data_base_is_refused(room: Room) -> None:
    with room.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ControlError, match="made by a newer version"):
        room.database.upgrade()


@pytest.mark.parametrize("url", ["", "mysql://x", "no url", "sqlite:///x.db"])
def test_other_data_bases_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Database(url, MIGRATIONS)


def test_a_password_is_not_told() -> None:
    wrong = Database("postgresql://anna:secret@127.0.0.1:1/none", MIGRATIONS)
    with pytest.raises(ControlError) as told, wrong.read() as session:
        session.execute(text("SELECT 1"))
    assert "secret" not in str(told.value) and "anna:***@127.0.0.1" in str(told.value)
