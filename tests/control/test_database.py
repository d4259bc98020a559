"""The data base's tables are those of the migrations; what cuts or blocks it loses nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from fedpatchcore.control.room import CONSOLE, MIGRATIONS, Room
from fedpatchcore.control.tables import Base
from fedpatchcore.errors import ControlError
from fedpatchcore.web import database
from fedpatchcore.web import tables as everywhere
from fedpatchcore.web.database import Database
from tests.support.control import browser, program


def names(path: Path) -> set[str]:
    with sqlite3.connect(path) as file:
        found = {row[0] for row in file.execute("SELECT name FROM sqlite_master")}
    file.close()
    return found


def test_the_migrations_make_the_tables_that_the_code_knows(room: Room) -> None:
    with room.database.engine.connect() as connection:
        told = compare_metadata(
            MigrationContext.configure(connection), [Base.metadata, everywhere.Base.metadata]
        )
    assert told == []


def test_a_migration_that_is_cut_leaves_nothing_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, made, create = Database(tmp_path / "control.db", MIGRATIONS), [], op.create_table

    def cut(name: str, *rest: object, **more: object) -> object:
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(name)
        return create(name, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_table", cut)
        with pytest.raises(KeyboardInterrupt):
            found.upgrade()
    assert len(made) == 5 and names(found.path) == set()
    found.upgrade()
    assert "audit" in names(found.path)
    found.upgrade()  # nothing more to do
    found.close()


def test_a_newer_versions_data_base_is_refused(room: Room) -> None:
    with room.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ControlError, match="made by a newer version"):
        room.database.upgrade()


def test_the_file_is_its_owners_alone(room: Room) -> None:
    assert room.database.path.stat().st_mode & 0o077 == 0
    assert room.database.path.parent.stat().st_mode & 0o077 == 0
    with room.database.read() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"


def test_a_lock_is_waited_for_and_then_told(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    impatient = Database(room.database.path, MIGRATIONS)
    other = sqlite3.connect(room.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    told = pytest.raises(ControlError, match="database is locked; nothing was changed")
    with told, impatient.write() as session:
        session.execute(text("SELECT 1"))
    with impatient.read() as session:  # whoever reads waits for nobody
        session.execute(text("SELECT * FROM run")).all()
    other.execute("ROLLBACK")
    other.close()
    impatient.close()


def test_a_full_disk_is_told_and_nothing_is_half_done(room: Room) -> None:
    caller = program(room, "admin")
    count = sum(1 for _ in room.trail.lines())
    with room.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    room.database.engine.dispose()
    from sqlalchemy import event

    event.listen(
        room.database.engine,
        "connect",
        lambda c, _: c.execute(f"PRAGMA max_page_count={pages}"),
    )
    answers = [
        caller.post("/people/invite", data={"name": f"n{n}", "role": "viewer"}) for n in range(99)
    ]
    assert answers[-1].status_code == 503
    assert "database or disk is full; nothing was changed" in answers[-1].json()["error"]
    done = sum(one.status_code == 200 for one in answers)
    assert sum(1 for _ in room.trail.lines()) == count + done
    assert room.trail.verify().startswith(f"{count + done}:")
    assert caller.get("/api/runs").status_code == 200


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "control.db").write_bytes(b"no data base at all" * 99)
    with pytest.raises(ControlError, match="file is not a database"):
        Room.open(tmp_path, tmp_path / "state")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ControlError, match="cannot write"):
        Room.open(tmp_path, tmp_path / "state")


def test_health_says_whether_the_data_base_answers(room: Room) -> None:
    assert browser(room).get("/health").text == "ok\n"
    room.people.invite(CONSOLE, "x", "viewer")
    with room.database.write() as session:
        session.execute(text("DROP TABLE login"))
    assert browser(room, cookie="fedpatchcore=x").get("/health").status_code == 503
