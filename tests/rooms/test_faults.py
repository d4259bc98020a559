"""Killed, starved, cut in the middle, many at once: nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import inspect

from fedpatchcore.control.room import CONSOLE, MIGRATIONS, Room
from fedpatchcore.control.starting import SuperLink
from fedpatchcore.errors import RunError
from fedpatchcore.runs.launch import free_port
from fedpatchcore.web.database import Database
from tests.control.test_process import served
from tests.support.control import add_run, logged_in, open_room, program, run_events, small_bank
from tests.support.places import ROOT


def trail(folder: Path) -> list[dict]:
    """All records, verified."""
    room = Room.open(folder / "runs", folder / "state")
    room.trail.verify()
    told = [json.loads(line) for line in room.trail.lines()]
    room.close()
    return told


def test_killed_again_and_again_no_answered_act_is_lost(tmp_path: Path) -> None:
    room = open_room(tmp_path)
    add_run(room, "one", bank=small_bank())
    room.mirror.look()
    key = room.people.make_token(CONSOLE, "k", "admin", "", 1)
    room.close()
    headers, port, answered = {"authorization": f"Bearer {key}"}, free_port(), []
    for attempt in range(4):
        with served(tmp_path, port) as (process, _):
            base = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=base, headers=headers, timeout=30) as caller:
                killed_at = time.monotonic() + 0.5 + 0.3 * attempt
                try:
                    for number in range(10_000):
                        note = f"note {attempt} {number}"
                        assert caller.post("/banks/1/note", data={"text": note}).status_code == 303
                        answered.append(note)
                        if time.monotonic() > killed_at:
                            process.send_signal(signal.SIGKILL)
                except httpx.HTTPError:
                    pass
            process.wait()
        told = [one["after"] for one in trail(tmp_path) if one["what"] == "bank.note"]
        assert set(answered) <= set(told) and len(told) == len(set(told))
        assert len(told) <= len(answered) + attempt + 1  # at most the one under way each time
    assert len(answered) > 50


CUT = """
import os, signal
from pathlib import Path
from alembic import op
from fedpatchcore.control.room import MIGRATIONS
from fedpatchcore.web.database import Database
made, create = [], op.create_table
def cut(name, *rest, **more):
    if len(made) == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    made.append(name)
    return create(name, *rest, **more)
op.create_table = cut
Database({place}, MIGRATIONS).upgrade()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_in_a_migration_nothing_of_it_is_there(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    place: Path | str = tmp_path / "control.db"
    if kind == "postgresql":
        place = request.getfixturevalue("cluster").new("cut")
    shown = repr(place) if isinstance(place, str) else f"Path({str(place)!r})"
    done = subprocess.run([sys.executable, "-c", CUT.format(place=shown)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    found = Database(place, MIGRATIONS)
    assert inspect(found.engine).get_table_names() == []
    found.upgrade()
    assert "schedule" in inspect(found.engine).get_table_names()
    found.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("a small disk takes root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_and_nothing_is_half_done(small_disk: Path) -> None:
    room = open_room(small_disk)
    caller, viewer = program(room, "admin"), logged_in(room, "vera", "viewer")
    done, told = 0, ""
    for number in range(4000):
        answer = caller.post("/people/invite", data={"name": f"n{number}", "role": "viewer"})
        if answer.status_code != 200:
            told = answer.json()["error"]
            break
        done += 1
    assert answer.status_code == 503 and "\n" not in told, told
    assert "nothing was changed" in told or told.startswith("it is done, but the trail's head")
    assert done > 50
    assert viewer.get("/overview").status_code == 200  # whoever reads still may
    records = sum(1 for _ in room.trail.lines())
    invited = sum("person.invited" in line for line in room.trail.lines())
    assert invited in (done + 1, done + 2) and records >= invited
    room.trail.verify()
    room.close()


def test_a_superlink_that_is_gone_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "x"\n[superlink.x]\naddress = "127.0.0.1:{free_port()}"\n'
        "insecure = true\n"
    )
    monkeypatch.setenv("FLWR_HOME", str(home))
    room = open_room(tmp_path, SuperLink("x"))
    with pytest.raises(RunError) as told:
        room.starter.flower.online()
    assert "\n" not in str(told.value)
    answer = program(room, "operator").post("/api/runs", data={"run-name": "r"})
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]
    page = logged_in(room, "vera", "viewer").get("/overview").text
    assert "run r: not started: " in page
    room.close()


@pytest.mark.parametrize("browsers", [50])
def test_fifty_pages_follow_and_all_are_told(tmp_path: Path, browsers: int) -> None:
    room = open_room(tmp_path)
    add_run(room, "one", run_events(over=False))
    room.mirror.look()
    keys = [room.people.make_token(CONSOLE, f"k{n}", "viewer", "", 1) for n in range(browsers)]
    room.close()
    port = free_port()

    async def follow(key: str, all_there: asyncio.Barrier) -> float:
        headers = {"authorization": f"Bearer {key}"}
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as page:
            async with page.stream("GET", "/live") as stream:
                async for line in stream.aiter_lines():
                    if line == "event: hello":
                        await all_there.wait()
                    if line == "event: changed":
                        break
            begun = time.monotonic()
            assert (await page.get("/overview")).status_code == 200
            return time.monotonic() - begun

    async def all_of_them() -> list[float]:
        all_there = asyncio.Barrier(browsers + 1)
        tasks = [asyncio.create_task(follow(key, all_there)) for key in keys]
        await all_there.wait()
        with (tmp_path / "runs" / "one" / "events.jsonl").open("a") as file:
            file.writelines(json.dumps(one) + "\n" for one in run_events()[5:])
        return await asyncio.gather(*tasks)

    with served(tmp_path, port) as (_, said):
        assert not re.search("Traceback", said)
        waited = asyncio.run(asyncio.wait_for(all_of_them(), 90))
    assert len(waited) == browsers
    print(f"{browsers} pages: the slowest overview after {max(waited):.1f} s")
