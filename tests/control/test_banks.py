"""From a run's bank to the plant that judges by it, and back through the years."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fedpatchcore.control import judging, registry
from fedpatchcore.control.gates import GateSettings, gates, passed
from fedpatchcore.control.room import CONSOLE, Room
from fedpatchcore.control.tables import Alias, BankVersion
from fedpatchcore.errors import ControlError
from fedpatchcore.web.audit import Actor
from fedpatchcore.web.moments import now
from tests.support.control import (
    add_run,
    browser,
    csrf_of,
    logged_in,
    program,
    result,
    run_events,
    small_bank,
)

ANNA = Actor("anna", "10.0.0.1")
DAY = 86_400_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    at = [now()]
    for module in (registry, judging):
        monkeypatch.setattr(module, "now", lambda: at[0])
    return at


@pytest.fixture
def two(room: Room) -> Room:
    """Two runs with a bank each; the second is better at north and worse at south."""
    add_run(room, "one", run_events(auroc=0.90), bank=small_bank(1))
    room.mirror.look()
    events = run_events(at=1000)
    events[-1]["rows"] = [result("north", 0.95), result("south", 0.80)]
    add_run(room, "two", events, bank=small_bank(2))
    room.mirror.look()
    return room


def alias(room: Room, which: str) -> int | None:
    with room.database.read() as session:
        found = session.get(Alias, ("plate", which))
    return found.version_id if found else None


def test_a_bank_is_kept_with_where_it_comes_from(room: Room) -> None:
    folder = add_run(room, "one", bank=small_bank(1))
    data = (folder / "bank.safetensors").read_bytes()
    room.mirror.look()
    with room.database.read() as session:
        bank = session.get(BankVersion, 1)
    assert bank.digest == hashlib.sha256(data).hexdigest() and bank.size == len(data)
    assert (bank.run_id, bank.round, bank.mechanism) == (1, 1, "off")
    assert bank.sections["plate"]["rows"] == 8
    (folder / "bank.safetensors").write_bytes(b"another run's")
    assert room.registry.file(bank.digest).read_bytes() == data
    assert room.registry.file(bank.digest).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("change", ["cut", "flipped", "foreign", "link", "none"])
def test_a_damaged_bank_becomes_no_version(room: Room, tmp_path: Path, change: str) -> None:
    folder = add_run(room, "one", bank=small_bank(1))
    file = folder / "bank.safetensors"
    data = file.read_bytes()
    file.unlink()
    if change == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    elif change != "none":
        changed = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        file.write_bytes({"cut": data[:-5], "flipped": changed, "foreign": b"PK"}[change])
    room.mirror.look()
    assert alias(room, "candidate") is None
    assert list(room.registry.banks.iterdir()) == []
    told = [line for line in room.trail.lines() if '"bank.refused"' in line]
    assert len(told) == (change not in ("none", "link"))


def test_an_older_runs_bank_read_later_is_no_candidate(two: Room) -> None:
    add_run(two, "old", run_events(at=-1000), bank=small_bank(3))
    two.mirror.look()
    assert alias(two, "candidate") == 2


def test_gates_are_passed_by_what_got_no_worse_than_stated() -> None:
    limits = GateSettings(auroc_loss=0.05, found_loss=0.1, stopped_gain=0.1)
    before = [result("a", 0.90), result("b", 0.90), result("c", None), result("gone", 0.9)]
    after = [
        result("a", 0.85, found=[8, 10], stopped=[2, 10]),
        result("b", 0.849, found=[7, 10], stopped=[3, 10]),
        result("c", 0.9, found=None, stopped=None),
        result("a", 0.1, product="other"),
    ]
    told = {(g.site, g.what): g.passed for g in gates("plate", before, after, limits)}
    names = ("image AUROC", "defects found", "good parts stopped")
    assert [told["a", name] for name in names] == [True, True, True]
    assert [told["b", name] for name in names] == [False, False, False]
    assert [told["c", name] for name in names] == [None, None, None]
    assert told["gone", "image AUROC"] is None
    assert not passed(gates("plate", before, after, limits)) and not passed([])
    assert passed(gates("plate", before[:1], after[:1], limits))


def test_release_gates_way_back_and_who_did_it(two: Room) -> None:
    two.registry.release(ANNA, 1, "plate", "")
    assert (alias(two, "production"), alias(two, "candidate")) == (1, 2)
    with pytest.raises(ControlError, match=r"image AUROC of south.*release it anyway"):
        two.registry.release(ANNA, 2, "plate", "we try")
    with pytest.raises(ControlError, match="say why"):
        two.registry.release(ANNA, 2, "plate", "", anyway=True)
    two.registry.release(ANNA, 2, "plate", "south is being rebuilt", anyway=True)
    assert (alias(two, "production"), alias(two, "candidate")) == (2, None)
    with pytest.raises(ControlError, match="already"):
        two.registry.release(ANNA, 2, "plate", "")
    assert two.registry.back(ANNA, "plate", "false alarms") == 1
    assert alias(two, "production") == 1
    for product, number in (("plate", 9), ("other", 1)):
        with pytest.raises(ControlError):
            two.registry.release(ANNA, number, product, "")
    with pytest.raises(ControlError, match="no earlier release"):
        two.registry.back(ANNA, "other", "")
    told = [line for line in two.trail.lines() if '"bank.' in line and '"who": "anna"' in line]
    assert ['"bank.released"' in line for line in told] == [True, True, False]
    assert '"version": 2' in told[2] and "false alarms" in told[2] and '"10.0.0.1"' in told[2]


def test_which_bank_judged_is_one_query_for_any_day(two: Room, clock: list[int]) -> None:
    start = clock[0]
    digests = {}
    with two.database.read() as session:
        digests = {n: session.get(BankVersion, n).digest for n in (1, 2)}
    two.registry.release(ANNA, 1, "plate", "")
    clock[0] = start + DAY
    two.words.take(ANNA, "north", "plate", digests[1])
    clock[0] = start + 3 * DAY
    two.registry.release(ANNA, 2, "plate", "why not", anyway=True)
    clock[0] = start + 4 * DAY
    two.words.take(ANNA, "north", "plate", digests[2])
    two.words.take(ANNA, "north", "plate", digests[2])  # once more changes nothing
    expected = {
        -1: (None, None),
        0: (None, 1),
        1: (1, 1),
        2: (1, 1),
        3: (1, 2),
        4: (2, 2),
        9: (2, 2),
    }
    for days, (by, released) in expected.items():
        with two.database.read() as session:
            before = two.database.queries
            told = two.words.judged(session, "plate", "north", start + days * DAY)
            assert two.database.queries - before == 1
        assert (told.by, told.released) == (by, released), days
        assert told.digest == (digests[by] if by else "")
    with two.database.read() as session:
        assert two.words.judged(session, "plate", "south", clock[0]).by is None
        assert two.words.judged(session, "other", "north", clock[0]).released is None


def test_a_site_pulls_what_is_released_and_says_what_it_uses(two: Room) -> None:
    north = program(two, "site", "north")
    path = "/api/products/plate/bank"
    assert north.get(path).status_code == 404
    two.registry.release(ANNA, 1, "plate", "")
    answer = north.get(path)
    digest = hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["etag"] == f'"{digest}"' and answer.headers["x-bank-version"] == "1"
    again = north.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    told = {"product": "plate", "digest": digest}
    assert north.post("/api/judging", json=told).json() == {"version": 1}
    assert north.post("/api/judging", json=told | {"site": "south"}).status_code == 403
    assert north.post("/api/judging", json=told | {"digest": "0" * 64}).status_code == 400
    assert north.post("/api/judging", json=told | {"product": "x"}).status_code == 400
    assert program(two, "admin").post("/api/judging", json=told).status_code == 403
    page = logged_in(two).get("/history?product=plate&site=north").text
    assert "bank 1" in page and digest[:12] in page


def test_a_site_that_judges_by_another_bank_is_pointed_out(two: Room) -> None:
    two.registry.release(ANNA, 1, "plate", "")
    with two.database.read() as session:
        digest = session.get(BankVersion, 2).digest
    two.words.take(ANNA, "north", "plate", digest)
    page = logged_in(two).get("/overview").text
    assert "north judges plate by bank 2, in production is 1" in page
    assert "plate: bank 2 waits for a release" in page


def test_a_person_releases_goes_back_and_notes_in_the_browser(two: Room) -> None:
    found = logged_in(two, "rita", "releaser")
    csrf = csrf_of(found, "/banks/1")
    told = {"csrf": csrf, "product": "plate", "note": ""}
    assert found.post("/banks/1/release", data=told).status_code == 303
    answer = found.post("/banks/2/release", data=told)
    assert answer.status_code == 400 and "a gate is not passed" in answer.text
    page = found.get("/banks/2").text
    assert "not passed" in page and "0.800" in page
    told |= {"note": "as agreed", "anyway": "yes"}
    assert found.post("/banks/2/release", data=told).status_code == 303
    assert found.post("/products/back", data=told).headers["location"] == "/banks/1"
    assert (
        found.post("/banks/1/note", data={"csrf": csrf, "text": "<b>seen</b>"}).status_code == 303
    )
    assert "&lt;b&gt;seen&lt;/b&gt;" in found.get("/banks/1").text
    assert found.post("/banks/1/note", data={"csrf": csrf, "text": " "}).status_code == 400
    viewer = logged_in(two, "vera", "viewer")
    assert "Release for" not in viewer.get("/banks/2").text


def test_bytes_that_are_gone_are_told_and_no_bank_is_made_up(two: Room) -> None:
    two.registry.release(CONSOLE, 1, "plate", "")
    for file in two.registry.banks.iterdir():
        file.unlink()
    answer = program(two, "viewer").get("/api/products/plate/bank")
    assert answer.status_code == 503 and "are gone" in answer.json()["error"]
    assert browser(two).get("/api/products/plate/bank").status_code == 401
